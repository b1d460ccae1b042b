"""Fitting a network: rows in a new order each epoch, a learning rate that rises and falls, the best epoch kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from models.errors import Diverged
from models.generation_training import Fitted
from models.kinds import Report
from models.recipe import Count, Positive, Section

# The loss of some rows of the training part, int64 [B].
Loss: TypeAlias = Callable[[Tensor], Tensor]
_REPORT_EVERY = 20


class FittingRecipe(Section):
    """How a network is trained, by AdamW (Loshchilov and Hutter, 2019), for a fixed number of epochs.

    ``learning_rate``: the highest; it is reached after a tenth of the batches and falls to 0 along a cosine (Smith and
    Topin, 2018, "Super-convergence").
    ``weight_decay``: the part of each weight that is lost in a batch is this times the learning rate.
    ``max_gradient_norm``: longer gradients are shortened to this (Pascanu et al., 2013).
    ``num_threads``: another number of threads rounds its sums otherwise, so it belongs to the recipe.
    """

    seed: int = 0
    num_threads: Count = 1
    batch_size: Count = 64
    num_epochs: Count = 10
    learning_rate: Positive = 5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Positive = 1.0


def fit(
    network: nn.Module,
    num_rows: int,
    recipe: FittingRecipe,
    loss: Loss,
    validate: Callable[[], float],
    report: Report,
    label: str,
) -> Fitted:
    """Train for all epochs, each row once in each; the weights of the epoch with the least validation error stay.

    Args:
        num_rows: of the training part.
        validate: the error of the network as it stands, in evaluation mode.
        label: what that error is called where it is shown.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    return _Fit(network, num_rows, recipe, loss, report).run(validate, label)


class _Fit:
    """One training run: the network and its optimiser."""

    def __init__(self, network: nn.Module, num_rows: int, recipe: FittingRecipe, loss: Loss, report: Report) -> None:
        self._network = network
        self._num_rows = num_rows
        self._recipe = recipe
        self._loss = loss
        self._report = report
        self._num_batches = math.ceil(num_rows / recipe.batch_size)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            recipe.learning_rate,
            total_steps=self._num_batches * recipe.num_epochs,
            pct_start=0.1,
            cycle_momentum=False,
        )

    def run(self, validate: Callable[[], float], label: str) -> Fitted:
        started = time.perf_counter()
        best, best_epoch, best_weights = math.inf, 0, self._network.state_dict()
        shown = ""
        for epoch in range(1, self._recipe.num_epochs + 1):
            self._train_epoch(epoch, shown)
            self._network.eval()
            validation = validate()
            shown = f"  {label} {validation:.4f}"
            self._report(epoch, self._recipe.num_epochs, shown.strip())
            if validation < best:
                best, best_epoch, best_weights = validation, epoch, copy.deepcopy(self._network.state_dict())
        self._network.load_state_dict(best_weights)
        return Fitted(self._recipe.num_epochs, best_epoch, best, time.perf_counter() - started)

    def _train_epoch(self, epoch: int, shown: str) -> None:
        self._network.train()
        drawn = torch.randperm(self._num_rows)
        total = 0.0
        for number, rows in enumerate(torch.split(drawn, self._recipe.batch_size), start=1):
            loss = self._train_batch(rows)
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} in epoch {epoch}: lower training.learning_rate")
            total += loss
            if number % _REPORT_EVERY == 0:
                text = f"batch {number}/{self._num_batches}  loss {total / number:.4f}{shown}"
                self._report(epoch - 1, self._recipe.num_epochs, text)

    def _train_batch(self, rows: Tensor) -> float:
        loss = self._loss(rows)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_gradient_norm)
        self._optimizer.step()
        self._schedule.step()
        return loss.item()
