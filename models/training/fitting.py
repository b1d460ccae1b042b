"""Fitting a network: the one training loop, whatever is trained.

``fit_epochs`` is the loop: epochs of batches, each batch one step of the optimiser, the best epoch's weights kept. What
is trained says by ``Epoch`` how its batches come about, and by ``Course`` how weights change. ``fit`` is the loop with
rows in a new order each epoch and a learning rate that rises and falls.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.models.errors import Diverged
from ostinato.models.recipe import Count, Positive, SeededRecipe
from ostinato.models.report import Report


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part.

    ``losses`` computes the loss of one batch at a time: the next one is asked for when the weights have learned from
    the one before. A generator can carry something from batch to batch, as the state of a recurrent network.
    """

    num_batches: int
    losses: Iterator[Tensor]


# Asked at the beginning of each epoch, counted from 1, the network in training mode.
BeginEpoch: TypeAlias = Callable[[int], Epoch]
# The loss of some rows of the training part, int64 [B].
RowLoss: TypeAlias = Callable[[Tensor], Tensor]
# The error of the network as it is, in evaluation mode: less is better.
Validate: TypeAlias = Callable[[], float]


class FittingRecipe(SeededRecipe):
    """How a network is trained, by AdamW (Loshchilov and Hutter, 2019), for a fixed number of epochs.

    ``learning_rate``: the highest; it is reached after a tenth of the batches and falls to 0 along a cosine (Smith and
    Topin, 2018, "Super-convergence").
    ``weight_decay``: the part of each weight that is lost in a batch is this times the learning rate.
    ``max_gradient_norm``: longer gradients are shortened to this (Pascanu et al., 2013).
    """

    batch_size: Count = 64
    num_epochs: Count = 10
    learning_rate: Positive = 5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Positive = 1.0


@dataclass(frozen=True)
class Course:
    """How weights are changed, and for how long.

    ``schedule``: of the optimiser's learning rate; it is stepped after each batch, or after each epoch where
    ``schedule_by_epoch``.
    ``max_gradient_norm``: longer gradients are shortened to this.
    ``patience_epochs``: after how many epochs without a better validation error training stops.
    ``report_batches``: progress is reported after so many batches, and after each epoch.
    """

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    max_gradient_norm: float
    max_epochs: int
    patience_epochs: int
    schedule_by_epoch: bool = False
    report_batches: int = 20


@dataclass(frozen=True)
class Fitted:
    """How training went: ``validation`` is the error of the best epoch, whose weights the network has."""

    num_epochs: int
    best_epoch: int
    validation: float
    training_seconds: float

    def sentence(self) -> str:
        """How long it took, to be shown."""
        return f"{self.num_epochs} epochs in {self.training_seconds:.0f} s, the best was number {self.best_epoch}"


@contextlib.contextmanager
def reproducible(seed: int, num_threads: int) -> Iterator[None]:
    """Seed and number of threads as a recipe says; the caller's own stay as they were."""
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)


def fit_epochs(
    network: nn.Module, course: Course, begin_epoch: BeginEpoch, validate: Validate, report: Report, label: str
) -> Fitted:
    """Train until the validation error stops falling, or ``max_epochs``; the best epoch's weights stay.

    Args:
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss or the validation error is no longer a finite number.
    """
    started = time.perf_counter()
    best, best_epoch, best_weights = math.inf, 0, network.state_dict()
    shown = ""
    for epoch in range(1, course.max_epochs + 1):
        network.train()
        _train_epoch(network, course, epoch, begin_epoch(epoch), report, shown)
        network.eval()
        validation = validate()
        if not math.isfinite(validation):
            raise Diverged(f"the validation error is {validation} in epoch {epoch}: lower training.learning_rate")
        shown = f"{label} {validation:.4f}"
        report(epoch, course.max_epochs, shown)
        if validation < best:
            best, best_epoch, best_weights = validation, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= course.patience_epochs:
            break
    network.load_state_dict(best_weights)
    return Fitted(epoch, best_epoch, best, time.perf_counter() - started)


def fit(
    network: nn.Module,
    num_rows: int,
    recipe: FittingRecipe,
    loss: RowLoss,
    validate: Validate,
    report: Report,
    label: str,
) -> Fitted:
    """Train for all epochs, each row once in each; the weights of the epoch with the least validation error stay.

    Args:
        num_rows: of the training part.
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss or the validation error is no longer a finite number.
    """
    num_batches = math.ceil(num_rows / recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=num_batches * recipe.num_epochs,
        pct_start=0.1,
        cycle_momentum=False,
    )
    course = Course(optimizer, schedule, recipe.max_gradient_norm, recipe.num_epochs, recipe.num_epochs)

    def begin_epoch(_epoch: int) -> Epoch:
        batches = torch.split(torch.randperm(num_rows), recipe.batch_size)
        return Epoch(num_batches, map(loss, batches))

    return fit_epochs(network, course, begin_epoch, validate, report, label)


def _train_epoch(
    network: nn.Module, course: Course, epoch: int, batches: Epoch, report: Report, validation: str
) -> None:
    total = 0.0
    for number, loss in enumerate(batches.losses, start=1):
        batch_loss = _train_batch(network, course, loss)
        if not math.isfinite(batch_loss):
            raise Diverged(f"the loss is {batch_loss} in epoch {epoch}: lower training.learning_rate")
        total += batch_loss
        if number % course.report_batches == 0:
            text = f"batch {number}/{batches.num_batches}  loss {total / number:.4f}  {validation}"
            report(epoch - 1, course.max_epochs, text.rstrip())
    if course.schedule_by_epoch:
        course.schedule.step()


def _train_batch(network: nn.Module, course: Course, loss: Tensor) -> float:
    course.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), course.max_gradient_norm)
    course.optimizer.step()
    if not course.schedule_by_epoch:
        course.schedule.step()
    return loss.item()
