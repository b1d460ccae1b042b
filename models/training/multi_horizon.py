"""Training over many horizons: forecasts from many origins in each window, their quantiles scored by pinball loss."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.errors import DataError, Diverged
from ostinato.models.kinds.registry import Report
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon, forecast
from ostinato.models.networks.multi_horizon_recipe import MultiHorizonRecipe, MultiHorizonTraining
from ostinato.models.networks.recurrent import Features, States
from ostinato.models.training.fitting import reproducible
from ostinato.models.training.origins import join_rows, states_at

# How many forecasts are computed at once where nothing is learned: as many as are held in memory with their memories.
_ROWS = 256


@dataclass(frozen=True)
class Trained:
    """A network with what is known of how it came about; ``validation_loss`` is the best epoch's."""

    network: AnyMultiHorizon
    features: Features
    num_epochs: int
    best_epoch: int
    validation_loss: float
    training_seconds: float


class PinballLoss:
    """The pinball loss of quantiles (Koenker and Bassett, 1978, "Regression Quantiles"), each horizon in its own unit.

    For a quantile ``q`` and an error ``e = truth - forecast`` it is ``max(q e, (q - 1) e)``, summed over the quantiles.
    A horizon's loss is divided by persistence's mean absolute error there, so that the far ones do not drown the near.
    """

    def __init__(self, quantiles: tuple[float, ...], scale: Tensor) -> None:
        self._quantiles = torch.tensor(quantiles)
        self._scale = scale

    def __call__(self, forecasts: Tensor, truth: Tensor) -> Tensor:
        """The mean over the values of ``truth [..., K]`` that are not NaN, of ``forecasts [..., K, O]``; 0 for none.

        K may be less than the horizons of the scale, which are then the first ones.
        """
        known = ~torch.isnan(truth)
        error = torch.nan_to_num(truth).unsqueeze(-1) - forecasts
        pinball = torch.maximum(self._quantiles * error, (self._quantiles - 1.0) * error).sum(-1)
        in_units = pinball / self._scale[: truth.shape[-1]]
        return torch.where(known, in_units, 0.0).sum() / known.sum().clamp(min=1)


def persistence_errors(target: Floats, horizon_steps: int) -> Tensor:
    """Mean ``|y(t + k) - y(t)|`` of a series ``[N]``, for k from 1 to ``horizon_steps``; pairs with a hole left out.

    1 where there is no pair, or never a change.
    """
    means = []
    for ahead in range(1, horizon_steps + 1):
        changes = np.abs(target[ahead:].astype(np.float64) - target[:-ahead])
        known = changes[~np.isnan(changes)]
        means.append(float(known.mean()) if known.any() else 1.0)
    return torch.tensor(means)


def futures(target: Floats, horizon_steps: int) -> Tensor:
    """For each step of a series ``[N]`` the ``K`` after it, ``[N, K]``; NaN beyond the series' end."""
    padded = np.concatenate([target[1:], np.full(horizon_steps, np.nan, np.float32)])
    return torch.from_numpy(np.lib.stride_tricks.sliding_window_view(padded, horizon_steps).copy())


def train(recipe: MultiHorizonRecipe, dataset: Dataset, report: Report) -> Trained:
    """Train on the training part and stop by the validation part; the test part is not looked at.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    started = time.perf_counter()
    features = Features.of(dataset)
    with reproducible(recipe.training.seed, recipe.training.num_threads):
        network = build_multi_horizon(features, recipe.network, recipe.data.cycles, recipe.data.least)
        fit = _Fit(network, dataset, recipe, report)
        fit.run()
    return Trained(
        network, features, fit.num_epochs, fit.best_epoch, fit.best_loss, round(time.perf_counter() - started, 1)
    )


@torch.no_grad()
def forecast_origins(network: AnyMultiHorizon, values: Floats, origins: range, num_steps: int) -> Tensor:
    """Forecasts made right after the steps ``origins``, as a session that has read all before them: ``[n, K, O]``.

    The first origin has a warm-up on the steps before it.
    """
    network.eval()
    along = states_at(network, torch.from_numpy(values), origins)
    parts = []
    while rows := [states for _, states in islice(along, _ROWS)]:
        parts.append(forecast(network, join_rows(network, rows), num_steps))
    return torch.cat(parts)


class _Fit:
    """One training run: the network, its optimiser, and the best weights so far."""

    def __init__(self, network: AnyMultiHorizon, dataset: Dataset, recipe: MultiHorizonRecipe, report: Report) -> None:
        self.num_epochs = self.best_epoch = 0
        self.best_loss = math.inf
        self._network = network
        self._dataset = dataset
        self._recipe: MultiHorizonTraining = recipe.training
        self._report = report
        horizon_steps = recipe.training.horizon_steps
        training = dataset.values[: dataset.validation_start]
        self._values = torch.from_numpy(training)
        # Of the training part alone: what lies beyond its end is not known here.
        self._futures = futures(training[:, dataset.target_index], horizon_steps)
        scale = persistence_errors(training[:, dataset.target_index], horizon_steps)
        self._loss = PinballLoss(recipe.network.quantiles, scale)
        longest_epoch = len(training) // recipe.training.num_streams
        if longest_epoch <= 2 * recipe.training.window_steps:
            raise DataError(
                f"the training part has {len(training)} steps, too few for {recipe.training.num_streams} streams of "
                f"more than two windows of {recipe.training.window_steps}: lower training.num_streams or "
                "training.window_steps"
            )
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.training.learning_rate, weight_decay=recipe.training.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, recipe.training.max_epochs)
        self._offsets = np.random.default_rng(recipe.training.seed)

    def run(self) -> None:
        """Train until the validation loss stops falling; the best epoch's weights stay."""
        best_weights = self._network.state_dict()
        shown = ""
        for epoch in range(1, self._recipe.max_epochs + 1):
            self._train_epoch(epoch, shown)
            loss = self._validation_loss()
            self.num_epochs = epoch
            shown = f"  validation {loss:.4f}"
            self._report(epoch, self._recipe.max_epochs, shown.strip())
            if loss < self.best_loss:
                self.best_loss, self.best_epoch = loss, epoch
                best_weights = copy.deepcopy(self._network.state_dict())
            elif epoch - self.best_epoch >= self._recipe.patience_epochs:
                break
        self._network.load_state_dict(best_weights)

    def _train_epoch(self, epoch: int, shown: str) -> None:
        """All windows of all streams once, the state carried on. They begin elsewhere in each epoch."""
        recipe = self._recipe
        offset = int(self._offsets.integers(recipe.window_steps))
        num_steps = (len(self._values) - offset) // recipe.num_streams
        part = slice(offset, offset + num_steps * recipe.num_streams)
        x = self._values[part].reshape(recipe.num_streams, num_steps, -1)
        truth = self._futures[part].reshape(recipe.num_streams, num_steps, -1)
        self._network.train()
        states: States = self._network.initial_state(recipe.num_streams)
        starts = range(0, num_steps, recipe.window_steps)
        total = 0.0
        for window, start in enumerate(starts, start=1):
            steps = slice(start, start + recipe.window_steps)
            loss, states = self._train_window(x[:, steps], truth[:, steps], states)
            total += loss
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} in epoch {epoch}: lower training.learning_rate")
            text = f"window {window}/{len(starts)}  loss {total / window:.4f}{shown}"
            self._report(epoch - 1, recipe.max_epochs, text)
        self._schedule.step()

    def _train_window(self, x: Tensor, truth: Tensor, states: States) -> tuple[float, States]:
        """One step of the optimiser; the state that comes back carries no gradient into the next window.

        Args:
            x: ``[B, T, F]``.
            truth: ``[B, T, K]``, the steps after each.
        """
        next_steps, rows, known = [], [], []
        for start in range(0, x.shape[1], self._recipe.origin_steps):
            chunk = x[:, start : start + self._recipe.origin_steps]
            y, *after = self._network(chunk, *states)
            states = tuple(after)
            next_steps.append(y)
            rows.append(states)
            known.append(truth[:, start + chunk.shape[1] - 1])
        forecasts = forecast(self._network, join_rows(self._network, rows), self._recipe.horizon_steps)
        next_step = torch.cat(next_steps, dim=1)
        loss = self._loss(forecasts, torch.cat(known)) + self._loss(next_step.unsqueeze(2), truth[..., :1])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_gradient_norm)
        self._optimizer.step()
        return loss.item(), tuple(part.detach() for part in states)

    def _validation_loss(self) -> float:
        dataset, recipe = self._dataset, self._recipe
        # The first forecast is made right before the part, and the last one ends in it.
        last = dataset.test_start - recipe.horizon_steps
        origins = range(dataset.validation_start - 1, last, recipe.validation_origin_steps)
        truth = futures(dataset.values[: dataset.test_start, dataset.target_index], recipe.horizon_steps)[origins]
        return self._loss(forecast_origins(self._network, dataset.values, origins, recipe.horizon_steps), truth).item()
