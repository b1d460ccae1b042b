"""Evaluation of a forecaster by rolling origins: forecasts of an offline run from many steps of a table, next to those
of persistence, the seasonal naive forecast and ETS over the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tools.ets import ETS, ets_points
from ostinato.tools.horizon_scores import (
    MODEL,
    Floats,
    HorizonScores,
    TargetForecasts,
    naive_points,
    naive_scale,
    quantile_features,
    score,
    together,
    truth_ahead,
)
from ostinato.tools.input_table import InputRows
from ostinato.tools.merged_input import split_steps
from ostinato.tools.offline_forecasts import OfflineForecaster

_SEASONS = {"1 hour": 24, "30 minutes": 48, "15 minutes": 96, "1 day": 7, "1 month": 12, "1 week": 52}


@dataclass(frozen=True)
class EvaluationOptions:
    """How forecasts are evaluated.

    Attributes:
        horizon: steps ahead.
        num_origins: of each series, at most; spread evenly over its rows from the first that was asked for. 0 = all.
        season_steps: of the seasonal naive forecast, of ETS and of MASE; 1 = there is no season.
        known: inputs whose future is read from the table.
        with_ets: whether ETS is fitted, too.
        context: what is the same in all steps of every series.
        contexts: of series by name, where each has its own.
    """

    horizon: int = 24
    num_origins: int = 100
    season_steps: int = 1
    known: tuple[str, ...] = ()
    with_ets: bool = False
    context: Any = None
    contexts: Mapping[str, Any] = field(default_factory=dict)


def season_of(step: str | None) -> int:
    """How many steps a season has that people think in, of a table's step in words; 1 where there is none."""
    return _SEASONS.get(step or "", 1)


def evaluate(
    forecaster: OfflineForecaster,
    inputs: Sequence[Mapping[str, Any]],
    series: Mapping[str, InputRows],
    options: EvaluationOptions,
    report: Callable[[int, int, str], None] = lambda _done, _total, _text: None,
) -> tuple[list[HorizonScores], int]:
    """The scores of each target, over all series together, and how many origins there were.

    Args:
        inputs: entries of the manifest, whose features the rows have behind each other.
        series: rows by name; of each the rows ahead of the first that was asked for are run and not scored.

    Raises:
        InputError: no series is long enough; or a row is none of the model's. RunFailed: the graph failed.
    """
    features = [feature for part in inputs for feature in part["features"]]
    origins = {name: _origins(rows, options) for name, rows in series.items()}
    total = sum(map(len, origins.values()))
    work = total * (1 + options.with_ets * len(forecaster.sources))
    if not total:
        longest = max(len(rows.rows) - rows.num_ahead for rows in series.values())
        raise InputError(f"no forecast {options.horizon} steps ahead can be scored: there are {longest} rows to score")
    parts: dict[str, list[TargetForecasts]] = {target: [] for target in forecaster.sources}
    done = 0

    def told(text: str) -> Callable[[int, int], None]:
        before = done
        return lambda number, _total: report(before + number, work, text)

    for name, rows in series.items():
        if not origins[name]:
            continue
        table = np.array([[np.nan if each is None else each for each in row.inputs] for row in rows.rows], np.float64)
        made = forecaster.forecasts(
            split_steps(inputs, [row.inputs for row in rows.rows]),
            origins[name],
            options.horizon,
            [_known(rows, features, origin, options) for origin in origins[name]],
            context=options.contexts.get(name, options.context),
            report=told(name),
        )
        done += len(origins[name])
        for target in parts:
            values = table[:, features.index(target)]
            found = _of_target(forecaster, target, values, made, origins[name], options)
            if options.with_ets:
                ets = ets_points(
                    values,
                    origins[name],
                    options.horizon,
                    options.season_steps,
                    told(f"{name} {ETS}".strip()),
                )
                found = replace(found, points={**found.points, ETS: ets})
                done += len(origins[name])
            parts[target].append(found)
    return [score(together(each)) for each in parts.values()], total


def _origins(rows: InputRows, options: EvaluationOptions) -> list[int]:
    first, last = max(rows.num_ahead, 1) - 1, len(rows.rows) - 1 - options.horizon
    if last < first:
        return []
    count = last - first + 1
    wanted = min(options.num_origins or count, count)
    return [int(place) for place in np.unique(np.linspace(first, last, wanted).round())]


def _known(rows: InputRows, features: Sequence[str], origin: int, options: EvaluationOptions) -> dict[str, list[Any]]:
    ahead = rows.rows[origin + 1 : origin + options.horizon]
    return {name: [row.inputs[features.index(name)] for row in ahead] for name in options.known}


def _of_target(
    forecaster: OfflineForecaster,
    target: str,
    values: Floats,
    made: NDArray[Any],
    origins: Sequence[int],
    options: EvaluationOptions,
) -> TargetForecasts:
    """One target's forecasts from the outputs ``[n, H, O]`` of one series."""
    source, season, horizon = forecaster.sources[target], options.season_steps, options.horizon
    points = {MODEL: made[:, :, forecaster.features.index(source)], **naive_points(values, origins, horizon, season)}
    quantiles = quantile_features(forecaster.features, source)
    places = [forecaster.features.index(name) for name in quantiles.values()]
    levels, told = tuple(quantiles), made[:, :, places] if places else None
    if told is None:
        levels, told = forecaster.spread(target, made)
    scale = naive_scale(values[: origins[0] + 1], season)
    return TargetForecasts(
        target,
        truth_ahead(values, origins, horizon),
        points,
        np.full(len(origins), scale),
        levels,
        told,
    )
