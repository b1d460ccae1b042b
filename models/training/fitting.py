"""Fitting a network: the one training loop, whatever is trained.

``fit_epochs`` is the loop: epochs of batches, each batch one step of the optimiser, the best epoch's weights kept, a
checkpoint after each epoch. What is trained says by ``Epoch`` how its batches come about. ``fit_rows`` is the loop with
rows in a new order each epoch.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.models.errors import Diverged, RecipeError
from ostinato.models.recipe import TrainingRecipe
from ostinato.models.training.job import Job
from ostinato.models.training.optimisation import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    penalty,
    set_learning_rate,
)

# Progress within an epoch is reported so often.
REPORT_SECONDS = 0.2
# More than any training has: no two epochs of two seeds draw the same numbers.
_EPOCHS = 1_000_003


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part.

    ``losses`` computes the loss of one batch at a time: the next one is asked for when the weights have learned from
    the one before. A generator can carry something from batch to batch, as the state of a recurrent network.
    """

    num_batches: int
    losses: Iterator[Tensor]


# Asked at the beginning of each epoch, counted from 1, the network in training mode. What it draws at random must come
# from torch, or from epoch_random: both begin anew in each epoch, so that a resumed training draws the same.
BeginEpoch: TypeAlias = Callable[[int], Epoch]
# The loss of some rows of the training part, int64 [B].
RowLoss: TypeAlias = Callable[[Tensor], Tensor]
# The error of the network as it is, in evaluation mode: less is better.
Validate: TypeAlias = Callable[[], float]


@dataclass(frozen=True)
class PastEpoch:
    """One epoch that has ended.

    ``loss``: the mean of its batches, penalties left out. ``validation``: the error after it.
    ``learning_rate``, ``gradient_norm``: of the last batch; the mean over its batches, before any clipping.
    """

    loss: float
    validation: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Fitted:
    """How training went: ``validation`` is the error of the best epoch, whose weights the network has.

    ``num_epochs``: 0 where the weights were found in one step, without a gradient.
    ``label``: what the validation error is called where it is shown.
    ``members``: how that of each went, of an ensemble.
    """

    num_epochs: int
    best_epoch: int
    validation: float
    training_seconds: float
    history: tuple[PastEpoch, ...] = ()
    label: str = "validation error"
    members: tuple[Fitted, ...] = ()

    @classmethod
    def of_members(cls, members: Sequence[Fitted]) -> Fitted:
        """How the training of an ensemble went: all epochs and seconds, and the mean of the validation errors."""
        return cls(
            sum(member.num_epochs for member in members),
            0,
            sum(member.validation for member in members) / len(members),
            sum(member.training_seconds for member in members),
            label=members[0].label,
            members=tuple(members),
        )

    def sentence(self) -> str:
        """How long it took, to be shown."""
        if self.members and self.num_epochs:
            return f"{len(self.members)} members, {self.num_epochs} epochs in {self.training_seconds:.0f} s"
        if not self.num_epochs:
            return f"found in one step, by ridge regression, in {self.training_seconds:.1f} s"
        return f"{self.num_epochs} epochs in {self.training_seconds:.0f} s, the best was number {self.best_epoch}"


@contextlib.contextmanager
def reproducible(recipe: TrainingRecipe) -> Iterator[None]:
    """Seed and number of threads as a recipe says; the caller's own stay as they were."""
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)


def epoch_random(recipe: TrainingRecipe, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch: they follow from the seed and the epoch alone."""
    return np.random.default_rng((abs(recipe.seed), epoch))


def fit_epochs(
    network: nn.Module, recipe: TrainingRecipe, begin_epoch: BeginEpoch, validate: Validate, job: Job, label: str
) -> Fitted:
    """Train until the validation error stops falling, or ``max_epochs``; the best epoch's weights stay.

    Args:
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss or the validation error is no longer a finite number.
        RecipeError: it asks for members, and the caller trains one network (``train_members`` has all of them).
        RunError: the checkpoint to resume is of another training.
    """
    if recipe.members > 1:
        raise RecipeError("training.members: a recipe of this kind trains one network and no ensemble: leave it out")
    course = _Course(network, recipe, job, label)
    course.resume()
    while not course.is_over():
        course.train_epoch(begin_epoch)
        course.end_epoch(validate())
    return course.finish()


def fit_rows(
    network: nn.Module, num_rows: int, recipe: TrainingRecipe, loss: RowLoss, validate: Validate, job: Job, label: str
) -> Fitted:
    """Train on rows, each once in each epoch; as ``fit_epochs``.

    Args:
        num_rows: of the training part.
    """

    def begin_epoch(_epoch: int) -> Epoch:
        batches = torch.split(torch.randperm(num_rows), recipe.batch_size)
        return Epoch(len(batches), map(loss, batches))

    return fit_epochs(network, recipe, begin_epoch, validate, job, label)


def computed(losses: Iterator[Tensor], recipe: TrainingRecipe) -> Iterator[Tensor]:
    """Each loss as the recipe's precision has it, and as float32 itself; what learns from it is float32."""
    reduced = recipe.precision != "float32"
    kind = torch.device(recipe.device).type
    while True:
        with torch.autocast(kind, getattr(torch, recipe.precision), enabled=reduced):
            loss = next(losses, None)
        if loss is None:
            return
        yield loss.float()


@dataclass
class _Course:
    """A training under way: what has been learned, and what came of each epoch."""

    network: nn.Module
    recipe: TrainingRecipe
    job: Job
    label: str
    history: list[PastEpoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0
    _begun: float = field(default_factory=time.perf_counter)
    _losses: list[float] = field(default_factory=list)
    _norms: list[float] = field(default_factory=list)
    _rate: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer: Optimizer = build_optimizer(self.network, self.recipe)

    def resume(self) -> None:
        """Begin where the checkpoint is, if there is one."""
        checkpoint = self.job.checkpoints.read()
        if checkpoint is None:
            return
        checkpoint.restore(self.network, self.optimizer)
        self.best = checkpoint.best
        self.best_epoch, self.seconds = checkpoint.content["best_epoch"], checkpoint.content["seconds"]
        self.history = [PastEpoch(**past) for past in checkpoint.content["history"]]
        self.job.tell(f"resumed after epoch {len(self.history)} of {self.recipe.max_epochs}")
        self._report()

    def is_over(self) -> bool:
        """Whether all epochs are done, or patience is."""
        patience = self.recipe.patience_epochs
        waited = len(self.history) - self.best_epoch
        return len(self.history) >= self.recipe.max_epochs or (patience is not None and waited >= patience)

    def train_epoch(self, begin_epoch: BeginEpoch) -> None:
        """Learn from all batches of the next epoch once."""
        number = len(self.history) + 1
        self._losses, self._norms = [], []
        shown = time.perf_counter()
        self.network.train()
        torch.manual_seed((self.recipe.seed * _EPOCHS + number) % 2**63)
        epoch = begin_epoch(number)
        for loss in computed(epoch.losses, self.recipe):
            self._train_batch(loss, number, epoch.num_batches)
            if time.perf_counter() - shown > REPORT_SECONDS:
                shown = time.perf_counter()
                done = len(self._losses)
                self._report(f"batch {done}/{epoch.num_batches}  loss {sum(self._losses) / done:.4f}  ")
        self.network.eval()

    def end_epoch(self, validation: float) -> None:
        """Note what came of an epoch, and keep it.

        Raises:
            Diverged: the validation error is no finite number.
        """
        number = len(self.history) + 1
        if not math.isfinite(validation):
            raise Diverged(f"the validation error is {validation} in epoch {number}: lower training.learning_rate")
        if not self.best or validation < self.history[self.best_epoch - 1].validation:
            self.best, self.best_epoch = copy.deepcopy(self.network.state_dict()), number
        count = max(1, len(self._losses))
        self.history.append(PastEpoch(sum(self._losses) / count, validation, self._rate, sum(self._norms) / count))
        self._report()
        self.job.checkpoints.write(
            self.network,
            self.best,
            self.optimizer,
            {
                "best_epoch": self.best_epoch,
                "seconds": self._seconds(),
                "history": [asdict(past) for past in self.history],
            },
        )

    def finish(self) -> Fitted:
        """Put the best weights in their place."""
        self.network.load_state_dict(self.best)
        self.network.eval()
        return Fitted(
            len(self.history),
            self.best_epoch,
            self.history[self.best_epoch - 1].validation,
            self._seconds(),
            tuple(self.history),
            self.label,
        )

    def _train_batch(self, loss: Tensor, number: int, num_batches: int) -> None:
        batch_loss = loss.item()
        if not math.isfinite(batch_loss):
            raise Diverged(f"the loss is {batch_loss} in epoch {number}: lower training.learning_rate")
        epochs = number - 1 + len(self._losses) / num_batches
        self._rate = learning_rate(self.recipe, epochs, [past.validation for past in self.history])
        set_learning_rate(self.optimizer, self._rate)
        self.optimizer.zero_grad()
        (loss + penalty(self.network, self.recipe)).backward()  # type: ignore[no-untyped-call]
        self._norms.append(clip_gradients(self.network, self.recipe))
        self.optimizer.step()
        self._losses.append(batch_loss)

    def _report(self, within: str = "") -> None:
        before = f"{self.label} {self.history[-1].validation:.4f}" if self.history else ""
        self.job.report(len(self.history), self.recipe.max_epochs, f"{within}{before}".rstrip())

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self._begun
