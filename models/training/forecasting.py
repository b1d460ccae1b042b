"""Truncated backpropagation through time over windows with the state carried on, early stopping, honest scores."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.errors import DataError, Diverged
from ostinato.models.networks.recurrent import AnyForecaster, Features, States, build_forecaster
from ostinato.models.recipe import Recipe, TrainingRecipe
from ostinato.models.training.fitting import reproducible

# How many steps before a scored part a network sees without being scored, so that its state is that of a live session.
WARM_UP_STEPS = 336


@dataclass(frozen=True)
class Progress:
    """Where training stands after a window.

    ``loss`` is the mean of the epoch's windows so far, in units of the target's typical change; ``validation_mae`` that
    of the epoch before, in the target's unit.
    """

    epoch: int
    max_epochs: int
    window: int
    num_windows: int
    loss: float
    validation_mae: float | None


Report: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Scores:
    """Mean absolute errors one step ahead, in the target's unit, all three over the same scored steps."""

    mae: float
    persistence_mae: float
    seasonal_naive_mae: float
    num_scored_steps: int
    first_time: str
    last_time: str

    @property
    def improvement_over_persistence(self) -> float:
        """By which fraction the network's error is below that of persistence."""
        return 1.0 - self.mae / self.persistence_mae


@dataclass(frozen=True)
class Trained:
    """A network with what is known of how it came about and how good it is."""

    network: AnyForecaster
    features: Features
    num_epochs: int
    training_seconds: float
    validation_mae: float
    test: Scores


def train(recipe: Recipe, dataset: Dataset, report: Report = lambda _progress: None) -> Trained:
    """Train on the training part, stop by the validation part, score once on the test part.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    started = time.perf_counter()
    features = Features.of(dataset)
    with reproducible(recipe.training.seed, recipe.training.num_threads):
        fit = _Fit(build_forecaster(features, recipe.network), dataset, recipe.training, report)
        num_epochs, validation_mae = fit.run()
        test = score(fit.network, dataset, recipe.data.season_steps)
    return Trained(fit.network, features, num_epochs, time.perf_counter() - started, validation_mae, test)


def masked_mean_absolute_error(forecast: Tensor, target: Tensor) -> Tensor:
    """The mean of ``|forecast - target|`` over the steps whose target is not NaN; 0 where there is none.

    A missing target has no part in the error and none in the gradient.
    """
    scored = ~torch.isnan(target)
    error = torch.where(scored, forecast - torch.nan_to_num(target), 0.0)
    return error.abs().sum() / scored.sum().clamp(min=1)


def windows(
    values: Floats, target_index: int, num_streams: int, window_steps: int, offset: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs ``[B, T, F]`` and targets ``[B, T, 1]`` of one epoch, in the order in which the state is carried.

    The series ``[N, F]`` from ``offset`` on is cut into ``num_streams`` equal streams, one per row of the batch; each
    stream is cut into windows. A target is the step after its input and never lies beyond the series.
    """
    num_steps = (len(values) - 1 - offset) // num_streams
    inputs = _streams(values[offset : offset + num_steps * num_streams], num_streams)
    nexts = values[offset + 1 : offset + 1 + num_steps * num_streams, target_index : target_index + 1]
    targets = _streams(nexts, num_streams)
    for start in range(0, num_steps, window_steps):
        yield inputs[:, start : start + window_steps], targets[:, start : start + window_steps]


def score(network: AnyForecaster, dataset: Dataset, season_steps: int) -> Scores:
    """Score the test part one step ahead, beside persistence and the seasonal naive forecast."""
    start, end = dataset.test_start, len(dataset.values)
    target = dataset.values[:, dataset.target_index]
    # The forecast made at step t is for t + 1, so the first one for the test part is made one step before it.
    forecast = forecast_part(network, dataset.values, start - 1, end - 1)
    persistence = last_seen_values(target)[start - 1 : end - 1]
    seasonal = last_seen_of_season(target, season_steps)[start:end]
    truth = target[start:end]
    scored = ~np.isnan(truth) & ~np.isnan(persistence) & ~np.isnan(seasonal)
    times = dataset.times[start:end][scored]
    return Scores(
        mae=_mean_absolute(forecast - truth, scored),
        persistence_mae=_mean_absolute(persistence - truth, scored),
        seasonal_naive_mae=_mean_absolute(seasonal - truth, scored),
        num_scored_steps=int(scored.sum()),
        first_time=str(times[0]) if len(times) else "",
        last_time=str(times[-1]) if len(times) else "",
    )


@torch.no_grad()
def forecast_part(network: AnyForecaster, values: Floats, start: int, end: int) -> Floats:
    """The forecasts ``[end - start]`` made at the steps ``start`` to ``end``, with a warm-up on the steps before."""
    warm_start = max(0, start - WARM_UP_STEPS)
    network.eval()
    forecast, *_ = network(torch.from_numpy(values[warm_start:end]).unsqueeze(0), *network.initial_state(1))
    part: Floats = forecast[0, start - warm_start :, 0].numpy()
    return part


class _Fit:
    """One training run: the network, its optimiser, and the best weights so far."""

    def __init__(self, network: AnyForecaster, dataset: Dataset, recipe: TrainingRecipe, report: Report) -> None:
        self.network = network
        self._dataset = dataset
        self._recipe = recipe
        self._report = report
        self._training = dataset.values[: dataset.validation_start]
        longest_epoch = (len(self._training) - 1) // recipe.num_streams
        if longest_epoch <= 2 * recipe.window_steps:
            raise DataError(
                f"the training part has {len(self._training)} steps, too few for {recipe.num_streams} streams of more "
                f"than two windows of {recipe.window_steps}: lower training.num_streams or training.window_steps"
            )
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, recipe.max_epochs)
        self._offsets = np.random.default_rng(recipe.seed)

    def run(self) -> tuple[int, float]:
        """Train until the validation error stops falling; the best weights stay. Epochs trained, and their best MAE."""
        best_mae, best_epoch, best_weights = math.inf, 0, self.network.state_dict()
        validation_mae: float | None = None
        for epoch in range(1, self._recipe.max_epochs + 1):
            self._train_epoch(epoch, validation_mae)
            validation_mae = _validation_mae(self.network, self._dataset)
            if validation_mae < best_mae:
                best_mae, best_epoch = validation_mae, epoch
                best_weights = copy.deepcopy(self.network.state_dict())
            elif epoch - best_epoch >= self._recipe.patience_epochs:
                break
        self.network.load_state_dict(best_weights)
        return epoch, best_mae

    def _train_epoch(self, epoch: int, validation_mae: float | None) -> None:
        """All windows once. They begin elsewhere in each epoch, so that gradients are not always cut at one place."""
        recipe = self._recipe
        offset = int(self._offsets.integers(recipe.window_steps))
        batches = list(
            windows(self._training, self._dataset.target_index, recipe.num_streams, recipe.window_steps, offset)
        )
        self.network.train()
        state: States = self.network.initial_state(recipe.num_streams)
        total = 0.0
        for window, (x, target) in enumerate(batches, start=1):
            loss, state = self._train_window(x, target, state)
            total += loss
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} in epoch {epoch}: lower training.learning_rate")
            self._report(Progress(epoch, recipe.max_epochs, window, len(batches), total / window, validation_mae))
        self._schedule.step()

    def _train_window(self, x: Tensor, target: Tensor, state: States) -> tuple[float, States]:
        """One step of the optimiser; the state that comes back carries no gradient into the next window."""
        forecast, *after = self.network(x, *state)
        loss = masked_mean_absolute_error(forecast, target) / self.network.change_std
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.max_gradient_norm)
        self._optimizer.step()
        return loss.item(), tuple(part.detach() for part in after)


def _validation_mae(network: AnyForecaster, dataset: Dataset) -> float:
    start, end = dataset.validation_start, dataset.test_start
    forecast = forecast_part(network, dataset.values, start - 1, end - 1)
    truth = dataset.values[start:end, dataset.target_index]
    return _mean_absolute(forecast - truth, ~np.isnan(truth))


def _streams(series: Floats, num_streams: int) -> Tensor:
    return torch.from_numpy(series.reshape(num_streams, -1, series.shape[1]))


def _mean_absolute(error: Floats, scored: NDArray[np.bool_]) -> float:
    return float(np.abs(error[scored].astype(np.float64)).mean())


def last_seen_values(series: Floats) -> Floats:
    """Each step's last value that is not NaN, ``[N]``; NaN before the first."""
    rows = np.where(np.isnan(series), 0, np.arange(len(series)))
    return series[np.maximum.accumulate(rows)]


def last_seen_of_season(series: Floats, season_steps: int) -> Floats:
    """For each step the value one season before it; where that is missing, the one a season earlier, and so on."""
    forecast = np.full_like(series, np.nan)
    for phase in range(season_steps):
        forecast[phase + season_steps :: season_steps] = last_seen_values(series[phase::season_steps])[:-1]
    return forecast
