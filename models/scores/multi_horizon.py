"""Scores of a multi-horizon forecaster: errors per horizon next to simpler forecasts, and its quantiles' coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.errors import DataError
from ostinato.models.networks.multi_horizon import AnyMultiHorizon
from ostinato.models.networks.recurrent import AnyForecaster
from ostinato.models.report import ScoreTable
from ostinato.models.scores.forecaster import check_season, last_seen_of_season, last_seen_values
from ostinato.models.training.multi_horizon import forecast_origins, futures
from ostinato.models.training.origins import join_rows, states_at

NETWORK, PERSISTENCE, SEASONAL_NAIVE, ONE_STEP = "network", "persistence", "seasonal naive", "one step, fed back"


@dataclass(frozen=True)
class HorizonScores:
    """Scores over the test part, a forecast made after every step from the one before it to the last with all K ahead.

    ``mae``: forecast -> mean absolute error at each horizon 1 to K, in the target's unit, all over the same steps:
    those whose value is known and for which every forecast is a number. The network's is its median's.
    ``coverage``: at each of ``quantiles`` which part of the values lies at or below it, over all horizons.
    ``interval_coverage``: at each horizon which part lies between the lowest and the highest quantile, both included.
    ``num_scored``: at each horizon.
    """

    mae: dict[str, tuple[float, ...]]
    quantiles: tuple[float, ...]
    coverage: tuple[float, ...]
    interval_coverage: tuple[float, ...]
    num_scored: tuple[int, ...]
    num_origins: int
    first_origin: str
    last_origin: str

    def mean_mae(self, forecast: str) -> float:
        """A forecast's error averaged over the horizons."""
        return float(np.mean(self.mae[forecast]))


def score(
    network: AnyMultiHorizon,
    quantiles: tuple[float, ...],
    dataset: Dataset,
    *,
    num_steps: int,
    season_steps: int,
    one_step: tuple[AnyForecaster, Dataset] | None = None,
    cycles: tuple[str, ...] = (),
) -> HorizonScores:
    """Score the test part; ``one_step`` is a one-step forecaster with the same series as its recipe has it."""
    origins, truth, persistence, seasonal = _known_beforehand(dataset, num_steps, season_steps)
    forecasts = forecast_origins(network, dataset.values, origins, num_steps).numpy()
    others = {
        NETWORK: forecasts[..., len(quantiles) // 2],
        PERSISTENCE: persistence,
        SEASONAL_NAIVE: seasonal,
    }
    if one_step is not None:
        forecaster, series = one_step
        others[ONE_STEP] = feed_back(forecaster, series, origins, num_steps, cycles)
    scored = ~np.isnan(truth) & ~np.isnan(np.stack(list(others.values()))).any(axis=0)
    return HorizonScores(
        mae={name: mean_absolute_errors(forecast, truth, scored) for name, forecast in others.items()},
        quantiles=quantiles,
        coverage=coverage(forecasts, truth, scored),
        interval_coverage=interval_coverage(forecasts, truth, scored),
        num_scored=tuple(int(count) for count in scored.sum(axis=0)),
        num_origins=len(origins),
        first_origin=str(dataset.times[origins[0]]),
        last_origin=str(dataset.times[origins[-1]]),
    )


def check_scores(dataset: Dataset, *, num_steps: int, season_steps: int) -> None:
    """Whether the test part can be scored at each horizon, which is known before anything is trained.

    Raises:
        DataError: it cannot.
    """
    check_season(dataset, season_steps)
    _, *known = _known_beforehand(dataset, num_steps, season_steps)
    for ahead, num_scored in enumerate((~np.isnan(np.stack(known)).any(axis=0)).sum(axis=0), start=1):
        if not num_scored:
            raise DataError(
                f"no forecast {ahead} steps ahead can be scored: nowhere in the test part is there a value of "
                f"{dataset.target!r}, one known {ahead} steps before it, and one whole seasons of {season_steps} steps "
                "(data.season_steps) before it"
            )


def mean_absolute_errors(forecasts: Floats, truth: Floats, scored: NDArray[np.bool_]) -> tuple[float, ...]:
    """At each horizon of ``[n, K]``, over what is scored; NaN where nothing is."""
    errors = np.where(scored, np.abs(forecasts.astype(np.float64) - truth), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return tuple(float(error) for error in errors / scored.sum(axis=0))


def coverage(forecasts: Floats, truth: Floats, scored: NDArray[np.bool_]) -> tuple[float, ...]:
    """At each quantile of ``[n, K, O]`` the part of the scored values at or below it."""
    return tuple(float(part) for part in (truth[..., None] <= forecasts)[scored].mean(axis=0))


def interval_coverage(forecasts: Floats, truth: Floats, scored: NDArray[np.bool_]) -> tuple[float, ...]:
    """At each horizon the part of the scored values from the lowest to the highest quantile of ``[n, K, O]``."""
    inside = (forecasts[..., 0] <= truth) & (truth <= forecasts[..., -1]) & scored
    with np.errstate(invalid="ignore"):
        return tuple(float(part) for part in inside.sum(axis=0) / scored.sum(axis=0))


def _known_beforehand(dataset: Dataset, num_steps: int, season_steps: int) -> tuple[range, Floats, Floats, Floats]:
    """The origins of the test part, the values after each, and both simple forecasts of them, ``[n, num_steps]``."""
    origins = range(dataset.test_start - 1, len(dataset.values) - num_steps)
    target = dataset.values[:, dataset.target_index]
    persistence = np.repeat(last_seen_values(target)[origins, None], num_steps, axis=1)
    truth: Floats = futures(target, num_steps)[origins].numpy()
    return origins, truth, persistence, seasonal_naive(target, origins, num_steps, season_steps)


def seasonal_naive(target: Floats, origins: range, num_steps: int, season_steps: int) -> Floats:
    """The value whole seasons before each step ahead, as known at the origin, ``[n, num_steps]``.

    It is the one a season before; of more than a season ahead, or where it is missing, the one a season earlier.
    """
    by_season = last_seen_of_season(np.concatenate([target, np.full(season_steps, np.nan, np.float32)]), season_steps)
    columns = []
    for ahead in range(1, num_steps + 1):
        # How far ahead the same phase of the season first comes: the later ones have the same forecast.
        first = (ahead - 1) % season_steps + 1
        columns.append(by_season[[origin + first for origin in origins]])
    return np.stack(columns, axis=1)


@torch.no_grad()
def feed_back(
    network: AnyForecaster, dataset: Dataset, origins: range, num_steps: int, cycles: tuple[str, ...]
) -> Floats:
    """Forecasts of a one-step network that reads its own output as the target's next value, ``[n, num_steps]``.

    Of the other features the cycles are known ahead, and what is not known is missing.
    """
    network.eval()
    along = list(states_at(network, torch.from_numpy(dataset.values), origins))
    y = torch.cat([answer for answer, _ in along])
    states = join_rows(network, [states for _, states in along])
    codes = {name: states[0][:, dataset.features.index(name)] for name in cycles}
    forecasts = [y]
    for _ in range(num_steps - 1):
        step = torch.full((len(y), len(dataset.features)), float("nan"))
        step[:, dataset.target_index] = y[:, 0]
        for name, code in codes.items():
            codes[name] = (code + 1) % len(dataset.categories[name])
            step[:, dataset.features.index(name)] = codes[name]
        answer, *after = network(step.unsqueeze(1), *states)
        y, states = answer[:, -1], tuple(after)
        forecasts.append(y)
    table: Floats = torch.cat(forecasts, dim=1).numpy()
    return table


def score_tables(scores: HorizonScores, target: str) -> list[ScoreTable]:
    """The errors per horizon, and the coverage, ready to be shown."""
    names = list(scores.mae)
    hours = range(len(scores.mae[NETWORK]))
    rows = [
        (str(k + 1), *(f"{scores.mae[name][k]:.2f}" for name in names), f"{scores.interval_coverage[k]:.3f}")
        for k in hours
    ]
    mean = ("mean", *(f"{scores.mean_mae(name):.2f}" for name in names), f"{np.mean(scores.interval_coverage):.3f}")
    low, high = scores.quantiles[0], scores.quantiles[-1]
    errors = ScoreTable(
        title=f"{target}, MAE by steps ahead, {scores.num_origins:,} origins\n"
        f"{scores.first_origin} to {scores.last_origin}",
        columns=("steps ahead", *names, f"within {low:g} to {high:g}"),
        rows=(*rows, mean),
    )
    parts = ScoreTable(
        title="values at or below each quantile, all steps ahead",
        columns=("quantile", "measured"),
        rows=tuple(
            (f"{wanted:g}", f"{measured:.3f}")
            for wanted, measured in zip(scores.quantiles, scores.coverage, strict=True)
        ),
    )
    return [errors, parts]
