"""Training of multi-horizon forecasters: many origins in each window, quantiles scored by pinball loss."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon, forecast
from ostinato.models.networks.multi_horizon_recipe import MultiHorizonRecipe, MultiHorizonTraining
from ostinato.models.networks.recurrent import Features, States
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.origins import join_rows, states_at
from ostinato.models.training.streams import check_streams, fit_streams

# How many forecasts are computed at once where nothing is learned: as many as are held in memory with their memories.
_ROWS = 256


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


def fit(recipe: MultiHorizonRecipe, dataset: Dataset, job: Job) -> tuple[AnyMultiHorizon, Fitted]:
    """Train on the training part and stop by the validation part; the test part is not looked at.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    horizon_steps = recipe.training.horizon_steps
    training = dataset.values[: dataset.validation_start]
    check_streams(len(training), len(training), recipe.training)
    target = training[:, dataset.target_index]
    loss = PinballLoss(recipe.network.quantiles, persistence_errors(target, horizon_steps))
    network = build_multi_horizon(Features.of(dataset), recipe.network, recipe.data.cycles, recipe.data.least)

    def window_loss(x: Tensor, truth: Tensor, states: States) -> tuple[Tensor, States]:
        return _window_loss(network, x, truth, states, recipe.training, loss)

    def validate() -> float:
        return _validation_loss(network, dataset, recipe.training, loss)

    inputs = torch.from_numpy(training)
    # Of the training part alone: what lies beyond its end is not known here.
    ahead = futures(target, horizon_steps)
    fitted = fit_streams(
        network,
        network.initial_state,
        inputs,
        ahead,
        recipe.training,
        window_loss,
        validate,
        job,
        "validation loss",
    )
    return network, fitted


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


def _window_loss(
    network: AnyMultiHorizon,
    x: Tensor,
    truth: Tensor,
    states: States,
    recipe: MultiHorizonTraining,
    loss: PinballLoss,
) -> tuple[Tensor, States]:
    """The loss of all forecasts made in a window and of all its next steps, and the states after it.

    Args:
        x: ``[B, T, F]``.
        truth: ``[B, T, K]``, the steps after each.
    """
    next_steps, rows, known = [], [], []
    for start in range(0, x.shape[1], recipe.origin_steps):
        chunk = x[:, start : start + recipe.origin_steps]
        y, *after = network(chunk, *states)
        states = tuple(after)
        next_steps.append(y)
        rows.append(states)
        known.append(truth[:, start + chunk.shape[1] - 1])
    forecasts = forecast(network, join_rows(network, rows), recipe.horizon_steps)
    next_step = torch.cat(next_steps, dim=1)
    return loss(forecasts, torch.cat(known)) + loss(next_step.unsqueeze(2), truth[..., :1]), states


def _validation_loss(
    network: AnyMultiHorizon, dataset: Dataset, recipe: MultiHorizonTraining, loss: PinballLoss
) -> float:
    # The first forecast is made right before the part, and the last one ends in it.
    last = dataset.test_start - recipe.horizon_steps
    origins = range(dataset.validation_start - 1, last, recipe.validation_origin_steps)
    truth = futures(dataset.values[: dataset.test_start, dataset.target_index], recipe.horizon_steps)[origins]
    return loss(forecast_origins(network, dataset.values, origins, recipe.horizon_steps), truth).item()
