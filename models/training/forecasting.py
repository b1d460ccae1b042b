"""Training of forecasters one step ahead, by the mean absolute error of the steps whose target is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.data.series_recipe import Recipe
from ostinato.models.networks.recurrent import AnyForecaster, Features, States, build_forecaster
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.streams import Stretch, check_streams, cut_windows, fit_streams

# How many steps before a scored part a network sees without being scored, so that its state is that of a live session.
WARM_UP_STEPS = 336


def fit(recipe: Recipe, dataset: Dataset, job: Job) -> tuple[AnyForecaster, Fitted]:
    """Train on the training part and stop by the mean absolute error in the validation part.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    training = dataset.values[: dataset.validation_start]
    inputs, targets = next_steps(training, dataset.target_index)
    check_streams(len(training), len(inputs), recipe.training)
    network = build_forecaster(Features.of(dataset), recipe.network)

    def loss(x: Tensor, target: Tensor, states: States) -> tuple[Tensor, States]:
        forecast, *after = network(x, *states)
        return masked_mean_absolute_error(forecast, target) / network.change_std, tuple(after)

    def validate() -> float:
        return _validation_mae(network, dataset)

    fitted = fit_streams(
        network,
        network.initial_state,
        inputs,
        targets,
        recipe.training,
        loss,
        validate,
        job,
        "validation loss (MAE)",
    )
    return network, fitted


def masked_mean_absolute_error(forecast: Tensor, target: Tensor) -> Tensor:
    """The mean of ``|forecast - target|`` over the steps whose target is not NaN; 0 where there is none.

    A missing target has no part in the error and none in the gradient.
    """
    scored = ~torch.isnan(target)
    error = torch.where(scored, forecast - torch.nan_to_num(target), 0.0)
    return error.abs().sum() / scored.sum().clamp(min=1)


def windows(values: Floats, target_index: int, num_streams: int, window_steps: int, offset: int) -> Iterator[Stretch]:
    """Inputs ``[B, T, F]`` and targets ``[B, T, 1]`` of one epoch over a series ``[N, F]``, as ``cut_windows`` does.

    A target is the step after its input and never lies beyond the series.
    """
    return cut_windows(*next_steps(values, target_index), num_streams, window_steps, offset)


def next_steps(values: Floats, target_index: int) -> Stretch:
    """The steps of a series ``[N, F]`` that have a next one, ``[N - 1, F]``, and the targets then, ``[N - 1, 1]``."""
    return torch.from_numpy(values[:-1]), torch.from_numpy(values[1:, target_index : target_index + 1])


@torch.no_grad()
def forecast_part(network: AnyForecaster, values: Floats, start: int, end: int) -> Floats:
    """The forecasts ``[end - start]`` made at the steps ``start`` to ``end``, with a warm-up on the steps before."""
    warm_start = max(0, start - WARM_UP_STEPS)
    network.eval()
    forecast, *_ = network(torch.from_numpy(values[warm_start:end]).unsqueeze(0), *network.initial_state(1))
    part: Floats = forecast[0, start - warm_start :, 0].numpy()
    return part


def _validation_mae(network: AnyForecaster, dataset: Dataset) -> float:
    start, end = dataset.validation_start, dataset.test_start
    forecast = forecast_part(network, dataset.values, start - 1, end - 1)
    truth = dataset.values[start:end, dataset.target_index]
    return mean_absolute(forecast - truth, ~np.isnan(truth))


def mean_absolute(error: Floats, scored: NDArray[np.bool_]) -> float:
    """The mean absolute error over the scored steps of ``[N]``, in float64."""
    return float(np.abs(error[scored].astype(np.float64)).mean())
