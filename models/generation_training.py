"""Training an encoder-decoder on pairs: length-bucketed batches, scheduled sampling, clipping, early stopping."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from models.errors import Diverged
from models.kinds import Report
from models.pairs import IGNORED, Pairs, bucketed_batches
from models.recipe import Count, Fraction, Positive, Section
from models.seq2seq import Seq2Seq

# What to stop by, of the network as it stands: less is better.
Validate: TypeAlias = Callable[[Seq2Seq], float]
_REPORT_EVERY = 20


class GenerationTraining(Section):
    """How it is trained, by Adam (Kingma and Ba, 2015).

    ``warm_up_epochs``: over how many epochs the learning rate rises; it then falls to 0 at ``max_epochs`` along a
    cosine (Loshchilov and Hutter, 2017, "SGDR").
    ``patience_epochs``: after how many epochs without a better validation error training stops.
    ``label_smoothing``: what part of the probability all codes share (Szegedy et al., 2016).
    ``sampling_rate``: scheduled sampling rises from 0 in the first epoch to this in the last; 0 is teacher forcing.
    ``max_gradient_norm``: longer gradients are shortened to this (Pascanu et al., 2013).
    ``num_threads``: another number of threads rounds its sums otherwise, so it belongs to the recipe.
    """

    seed: int = 0
    num_threads: Count = 1
    batch_size: Count = 128
    max_epochs: Count = 10
    patience_epochs: Count = 4
    learning_rate: Positive = 2e-3
    warm_up_epochs: Annotated[float, Field(ge=0)] = 0.5
    label_smoothing: Fraction = 0.0
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_gradient_norm: Positive = 1.0


@dataclass(frozen=True)
class Fitted:
    """How training went: ``validation`` is the best epoch's, whose weights the network has."""

    num_epochs: int
    best_epoch: int
    validation: float
    training_seconds: float


def fit(
    network: Seq2Seq, pairs: Pairs, recipe: GenerationTraining, validate: Validate, report: Report, label: str
) -> Fitted:
    """Train until the validation error stops falling, or ``max_epochs``; the best epoch's weights stay.

    Args:
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    return _Fit(network, pairs, recipe, report).run(validate, label)


def loss_of(scores: Tensor, target_out: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in nats over the true steps of ``scores [B, T, V]`` and ``target_out [B, T]``."""
    return nn.functional.cross_entropy(
        scores.flatten(0, 1), target_out.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )


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


class _Fit:
    """One training run: the network, its optimiser, and the best weights so far."""

    def __init__(self, network: Seq2Seq, pairs: Pairs, recipe: GenerationTraining, report: Report) -> None:
        self._network = network
        self._pairs = pairs
        self._recipe = recipe
        self._report = report
        self._random = np.random.default_rng(recipe.seed)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
        num_batches = math.ceil(len(pairs) / recipe.batch_size)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda update: learning_rate_factor(update / num_batches, recipe)
        )

    def run(self, validate: Validate, label: str) -> Fitted:
        started = time.perf_counter()
        best, best_epoch, best_weights = math.inf, 0, self._network.state_dict()
        shown = ""
        for epoch in range(1, self._recipe.max_epochs + 1):
            self._train_epoch(epoch, shown)
            self._network.eval()
            validation = validate(self._network)
            shown = f"  {label} {validation:.4f}"
            self._report(epoch, self._recipe.max_epochs, shown.strip())
            if validation < best:
                best, best_epoch, best_weights = validation, epoch, copy.deepcopy(self._network.state_dict())
            elif epoch - best_epoch >= self._recipe.patience_epochs:
                break
        self._network.load_state_dict(best_weights)
        return Fitted(epoch, best_epoch, best, time.perf_counter() - started)

    def _train_epoch(self, epoch: int, shown: str) -> None:
        recipe = self._recipe
        sampling_rate = recipe.sampling_rate * (epoch - 1) / max(1, recipe.max_epochs - 1)
        batches = bucketed_batches(self._pairs, recipe.batch_size, self._random)
        self._network.train()
        total = 0.0
        for number, rows in enumerate(batches, start=1):
            loss = self._train_batch(self._pairs.batch(rows), sampling_rate)
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} in epoch {epoch}: lower training.learning_rate")
            total += loss
            if number % _REPORT_EVERY == 0:
                self._report(
                    epoch - 1, recipe.max_epochs, f"batch {number}/{len(batches)}  loss {total / number:.4f}{shown}"
                )

    def _train_batch(self, batch: Pairs, sampling_rate: float) -> float:
        scores = self._network(batch.source, batch.lengths, batch.target_in, sampling_rate)
        loss = loss_of(scores, batch.target_out, self._recipe.label_smoothing)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_gradient_norm)
        self._optimizer.step()
        self._schedule.step()
        return loss.item()


def learning_rate_factor(epochs: float, recipe: GenerationTraining) -> float:
    """What the learning rate is multiplied by after so many epochs, parts of one counted: between 0 and 1."""
    if epochs < recipe.warm_up_epochs:
        # The first batch learns too.
        return max(0.01, epochs / recipe.warm_up_epochs)
    progress = (epochs - recipe.warm_up_epochs) / max(recipe.max_epochs - recipe.warm_up_epochs, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
