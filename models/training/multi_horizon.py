"""Training of multi-horizon forecasters: many origins in each window, quantiles scored by pinball loss."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import ForecasterTraining, Recipe
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon, forecast
from ostinato.models.networks.recurrent import States
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.forecasting import futures, origins_of, units
from ostinato.models.training.job import Job
from ostinato.models.training.losses import ForecastLoss
from ostinato.models.training.origins import join_rows, states_at
from ostinato.models.training.streams import SeriesStretch, check_streams, fit_panel

# How many forecasts are computed at once where nothing is learned: as many as are held in memory with their memories.
_ROWS = 256


def fit(recipe: Recipe, dataset: Dataset, job: Job) -> tuple[AnyMultiHorizon, Fitted]:
    """Train on the training part and stop by the validation part; the test part is not looked at.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    features, device = Features.of(dataset), recipe.training.device
    horizon_steps = recipe.training.horizon_steps
    # Of the training part alone: what lies beyond its end is not known here. The last step has no next one, and counts
    # as one whose next is missing.
    stretches = []
    for series in dataset.series:
        if end := series.validation_start:
            ahead = futures(series.truth[:end], horizon_steps).flatten(1)
            stretches.append(
                SeriesStretch(torch.from_numpy(series.values[:end]), ahead, torch.from_numpy(series.static))
            )
    num_steps = dataset.num_steps("training")
    check_streams(num_steps, num_steps, recipe.training)
    forecasts = Forecasts("pinball", recipe.network.quantiles, num_steps=horizon_steps)
    scale = units(dataset, features, horizon_steps)
    loss = ForecastLoss(forecasts, scale.to(device))
    network = build_multi_horizon(features, recipe.network, recipe.data.cycles, recipe.data.least).to(device)
    stretches = [SeriesStretch(*(part.to(device) for part in one)) for one in stretches]

    def window_loss(x: Tensor, truth: Tensor, _static: Tensor, states: States) -> tuple[Tensor, States]:
        return _window_loss(network, x, truth, states, recipe.training, loss)

    def validate() -> float:
        return _validation_loss(network, dataset, recipe.training, ForecastLoss(forecasts, scale))

    fitted = fit_panel(
        network, network.initial_state, stretches, recipe.training, window_loss, validate, job, "validation loss"
    )
    return network.cpu(), fitted


@torch.no_grad()
def forecast_origins(network: AnyMultiHorizon, values: Floats, origins: range, num_steps: int) -> Tensor:
    """Forecasts made right after the steps ``origins``, as a session that has read all before them: ``[n, K, O]``.

    The first origin has a warm-up on the steps before it.
    """
    network.eval()
    along = states_at(network, torch.from_numpy(values).to(next(network.parameters()).device), origins)
    parts = []
    while rows := [states for _, states in islice(along, _ROWS)]:
        parts.append(forecast(network, join_rows(network, rows), num_steps))
    return torch.cat(parts).cpu()


def _window_loss(
    network: AnyMultiHorizon,
    x: Tensor,
    truth: Tensor,
    states: States,
    recipe: ForecasterTraining,
    loss: ForecastLoss,
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
    # Of one target: [..., H, Q] and [..., H] become [..., H, 1, Q] and [..., H, 1].
    ahead = loss(forecasts.unsqueeze(-2), torch.cat(known).unsqueeze(-1))
    return ahead + loss(next_step.unsqueeze(2).unsqueeze(2), truth[..., :1].unsqueeze(-1)), states


def _validation_loss(
    network: AnyMultiHorizon, dataset: Dataset, recipe: ForecasterTraining, loss: ForecastLoss
) -> float:
    # The first forecast is made right before the part, and the last one ends in it.
    forecasts, truths = [], []
    for series, origins in origins_of(dataset, "validation", recipe.horizon_steps):
        chosen = origins[:: recipe.validation_origin_steps]
        truths.append(futures(series.truth[: series.test_start], recipe.horizon_steps)[chosen])
        forecasts.append(forecast_origins(network, series.values, chosen, recipe.horizon_steps))
    return loss(torch.cat(forecasts).unsqueeze(-2), torch.cat(truths)).item()
