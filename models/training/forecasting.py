"""Training of forecasters that answer at each step: by the loss of the recipe, over the values that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.models.data.series import Dataset, Floats, Series
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.recurrent import Forecaster, States, StaticForecaster, build_forecaster
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.losses import ForecastLoss
from ostinato.models.training.ridge import fit_readout
from ostinato.models.training.streams import SeriesStretch, Stretch, check_streams, cut_windows, fit_panel

# How many steps before a scored part a network sees without being scored, so that its state is that of a live session.
WARM_UP_STEPS = 336
# How many series are read side by side where nothing is learned.
_ROWS = 64


def fit(recipe: Recipe, dataset: Dataset, job: Job) -> tuple[Forecaster, Fitted]:
    """Train on the training part and stop by the loss of the validation part.

    The same recipe, data and library versions give the same weights on the same kind of machine.

    Raises:
        Diverged: the loss is no longer a finite number.
        DataError: the training part is too short for the recipe's streams.
    """
    features, forecasts = Features.of(dataset), Forecasts.of(recipe)
    stretches = training_stretches(dataset, forecasts.num_steps)
    if not recipe.has_closed_form:
        check_streams(dataset.num_steps("training"), sum(len(one.targets) for one in stretches), recipe.training)
    network = build_forecaster(features, recipe.network, forecasts, recipe.data.cycles, recipe.network.head)
    network = network.to(recipe.training.device)
    stretches = [SeriesStretch(*(part.to(recipe.training.device) for part in one)) for one in stretches]
    scale = units(dataset, features, forecasts.num_steps)
    loss = ForecastLoss(forecasts, scale.to(recipe.training.device))
    shape = tuple(scale.shape)
    judge, label = judge_of(recipe, dataset)
    unknown = [recipe.data.features.index(name) for name in hidden_features(recipe)]

    def of_window(x: Tensor, target: Tensor, static: Tensor, states: States) -> tuple[Tensor, States]:
        if unknown:
            x = hide(x, unknown, recipe.training.horizon_steps, recipe.training.hidden_rate)
        answers, *after = run(network, x, static, states)
        apart = forecasts.apart(answers, len(features.targets))
        return loss(apart, target.reshape(*target.shape[:-1], *shape)), tuple(after)

    def validate() -> float:
        return validation_loss(network, dataset, judge)

    if recipe.has_closed_form:
        fitted = fit_readout(network, recipe.network, stretches, validate, job, label)
    else:
        fitted = fit_panel(network, network.initial_state, stretches, recipe.training, of_window, validate, job, label)
    return network.cpu(), fitted


def judge_of(recipe: Recipe, dataset: Dataset) -> tuple[ForecastLoss, str]:
    """The loss of the validation part, and what it is called where it is shown."""
    forecasts = Forecasts.of(recipe)
    scale = units(dataset, Features.of(dataset), forecasts.num_steps)
    if forecasts.loss == "absolute" and scale.numel() == 1:
        return ForecastLoss(forecasts, torch.ones_like(scale)), "validation loss (MAE)"
    return ForecastLoss(forecasts, scale), "validation loss"


def hidden_features(recipe: Recipe) -> tuple[str, ...]:
    """The features that nobody knows while a forecast is fed back: neither targets, nor known ahead."""
    training = recipe.training
    if recipe.network.forecast != "fed_back" or training.horizon_steps == 1 or not training.hidden_rate:
        return ()
    known = {*recipe.data.targets, *recipe.data.known_future, *recipe.data.cycles}
    return tuple(name for name in recipe.data.features if name not in known)


def hide(x: Tensor, places: Sequence[int], num_steps: int, rate: float) -> Tensor:
    """Steps ``[B, T, F]`` with some features missing in some stretches of ``num_steps``, drawn for each row."""
    num_stretches = -(-x.shape[1] // num_steps)
    drawn = (torch.rand(len(x), num_stretches) < rate).repeat_interleave(num_steps, dim=1)[:, : x.shape[1]]
    is_hidden = torch.zeros(x.shape[-1], dtype=torch.bool)
    is_hidden[list(places)] = True
    return x.masked_fill((drawn.unsqueeze(-1) & is_hidden).to(x.device), torch.nan)


def run(network: nn.Module, x: Tensor, static: Tensor, states: States) -> States:
    """Answers ``[B, T, O]`` and the states after them, whether the network is told of the series or not."""
    if isinstance(first_of(network), StaticForecaster):
        return network(x, static, *states)  # type: ignore[no-any-return]
    return network(x, *states)  # type: ignore[no-any-return]


def training_stretches(dataset: Dataset, num_steps: int) -> list[SeriesStretch]:
    """Of each series the steps of its training part that have a next one, and the ``num_steps`` after each in it."""
    made = []
    for series in dataset.series:
        end = series.validation_start
        if end < 2:
            continue
        truth = futures(series.truth[:end], num_steps)[: end - 1].flatten(1)
        made.append(SeriesStretch(torch.from_numpy(series.values[: end - 1]), truth, torch.from_numpy(series.static)))
    return made


def units(dataset: Dataset, features: Features, num_steps: int) -> Tensor:
    """In what the loss of each step ahead and target is counted, ``[H, K]``.

    One step ahead it is the target's unit; of several, how far the target moves by then, at its mean.
    """
    if num_steps == 1:
        return torch.tensor([[target.unit for target in features.targets]])
    columns = []
    for index, target in enumerate(features.targets):
        parts = [series.truth[: series.validation_start, index] for series in dataset.series]
        columns.append(persistence_errors(parts, num_steps) if target.place is not None else [target.unit] * num_steps)
    return torch.tensor(columns).T.contiguous()


def persistence_errors(parts: Sequence[Floats], num_steps: int) -> list[float]:
    """Mean ``|y(t + k) - y(t)|`` of series ``[N]``, for k from 1 to ``num_steps``; pairs with a hole left out.

    1 where there is no pair, or never a change.
    """
    means = []
    for ahead in range(1, num_steps + 1):
        changes = np.concatenate([np.abs(part[ahead:].astype(np.float64) - part[:-ahead]) for part in parts])
        known = changes[~np.isnan(changes)]
        means.append(float(known.mean()) if known.any() else 1.0)
    return means


def futures(truth: Floats, num_steps: int) -> Tensor:
    """For each step of targets ``[N, K]`` the ``H`` after it, ``[N, H, K]``; NaN beyond the end."""
    padded = np.concatenate([truth[1:], np.full((num_steps, truth.shape[1]), np.nan, np.float32)])
    table = np.lib.stride_tricks.sliding_window_view(padded, num_steps, axis=0)
    return torch.from_numpy(table.transpose(0, 2, 1).copy())


def windows(values: Floats, target_index: int, num_streams: int, window_steps: int, offset: int) -> Iterator[Stretch]:
    """Inputs ``[B, T, F]`` and targets ``[B, T, 1]`` of one epoch over a series ``[N, F]``, as ``cut_windows`` does.

    A target is the step after its input and never lies beyond the series.
    """
    inputs, targets = torch.from_numpy(values[:-1]), torch.from_numpy(values[1:, target_index : target_index + 1])
    return cut_windows(inputs, targets, num_streams, window_steps, offset)


@torch.no_grad()
def answers_of(network: nn.Module, spans: Sequence[tuple[Series, int, int]]) -> list[Tensor]:
    """The answers ``[end - start, H, K, P]`` made at the steps ``start`` to ``end`` of each series.

    Each has a warm-up on the steps before.
    """
    network.eval()
    told = cast(Forecaster, first_of(network))
    device, forecasts = told.initial_values.device, told.forecasts
    made: list[Tensor] = [torch.empty(0)] * len(spans)
    for places in _side_by_side(spans):
        chosen = [spans[place] for place in places]
        firsts = [max(0, start - WARM_UP_STEPS) for _, start, _ in chosen]
        longest = max(end - first for first, (_, _, end) in zip(firsts, chosen, strict=True))
        x = torch.full((len(chosen), longest, chosen[0][0].values.shape[1]), torch.nan)
        for row, (first, (series, _, end)) in enumerate(zip(firsts, chosen, strict=True)):
            x[row, : end - first] = torch.from_numpy(series.values[first:end])
        static = torch.from_numpy(np.stack([series.static for series, _, _ in chosen]))
        answers, *_ = run(
            network, x.to(device), static.to(device), cast(Forecaster, network).initial_state(len(chosen))
        )
        apart = forecasts.apart(answers.cpu(), len(told.places))
        for row, (place, first, (_, start, end)) in enumerate(zip(places, firsts, chosen, strict=True)):
            made[place] = apart[row, start - first : end - first]
    return made


def forecast_part(network: Forecaster, series: Series, start: int, end: int) -> Floats:
    """The point forecasts ``[end - start]`` of the only target at the steps ``start`` to ``end`` of a series."""
    [answers] = answers_of(network, [(series, start, end)])
    part: Floats = answers[:, 0, 0, network.forecasts.point].numpy()
    return part


def origins_of(dataset: Dataset, part: str, num_steps: int) -> list[tuple[Series, range]]:
    """The steps after which forecasts are made whose ``num_steps`` all lie in a part, for each series that has some.

    The first one is right before the part, or the first step of a series that begins in it.
    """
    found = []
    for series in dataset.series:
        start, end = series.span(part)
        origins = range(max(start - 1, 0), end - num_steps)
        if len(origins):
            found.append((series, origins))
    return found


def _side_by_side(spans: Sequence[tuple[Series, int, int]]) -> list[list[int]]:
    """Places among the spans, those of like lengths together."""
    order = sorted(range(len(spans)), key=lambda place: spans[place][2] - spans[place][1])
    return [order[start : start + _ROWS] for start in range(0, len(order), _ROWS)]


def validation_loss(network: nn.Module, dataset: Dataset, loss: ForecastLoss) -> float:
    """Of a forecaster, or an ensemble of them.

    Over the forecasts that are made from right before the validation part on, as far as they end in it.
    """
    num_steps = cast(Forecaster, first_of(network)).forecasts.num_steps
    found = origins_of(dataset, "validation", 1)
    answers = answers_of(network, [(series, origins.start, origins.stop) for series, origins in found])
    truths = [
        futures(series.truth[: series.test_start], num_steps)[origins.start : origins.stop] for series, origins in found
    ]
    together = loss(torch.cat(answers).double(), torch.cat(truths).double())
    return together.item()


def mean_absolute(error: Floats, scored: NDArray[np.bool_]) -> float:
    """The mean absolute error over the scored steps of ``[N]``, in float64."""
    return float(np.abs(error[scored].astype(np.float64)).mean())
