"""Forecasts as a client asks for them and gets them: intervals, quantiles and sample paths beside the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypedDict

import numpy as np

from ostinato.client.answers import RowError, arrays_of, count_of, hold, outputs_of
from ostinato.client.arrays import Array, Outputs, Row, Rows
from ostinato.client.given import to_mapping
from ostinato.client.times import times_of

Known: TypeAlias = Mapping[str, Row] | Rows | None
"""What is known of the future: feature -> values of the steps ahead, or rows of the features that are not forecast."""


class ForecastOptions(TypedDict, total=False):
    """What is answered in addition to the outputs.

    ``level``: of intervals, in percent: 80, or [80, 95]. ``quantiles``: probabilities. ``num_samples``: sample paths,
    drawn from ``seed``; without a seed the service chooses one, and answers it.
    """

    level: float | Iterable[float]
    quantiles: float | Iterable[float]
    num_samples: int
    seed: int


@dataclass(frozen=True)
class Interval:
    """The ends of an interval at each step ahead, float64 ``[horizon]``; by target where there are several."""

    lower: Outputs
    upper: Outputs


@dataclass(frozen=True)
class Forecast:
    """A session's future.

    Attributes:
        outputs: ``[horizon, O]``, several by name, as of a forecast without options.
        intervals: level in percent -> interval.
        quantiles: probability -> float64 ``[horizon]``; by target where there are several.
        samples: paths, float64 ``[num_samples, horizon]``, in the same way; None where none was asked for.
        seed: that the paths were drawn from; None where none were.
        at: the times of the steps ahead; None where they are not known.
    """

    outputs: Outputs
    intervals: Mapping[float, Interval]
    quantiles: Mapping[float, Outputs]
    samples: Outputs = None
    seed: int | None = None
    at: tuple[datetime | None, ...] | None = None


@dataclass(frozen=True)
class ManyForecasts:
    """The forecasts of many sessions. Rows fail alone: look at ``errors``.

    Attributes:
        session_ids: of the R rows.
        forecasts: of each; None in rows that failed.
        errors: of the rows that failed, by row.
    """

    session_ids: tuple[str, ...]
    forecasts: tuple[Forecast | None, ...]
    errors: tuple[RowError, ...]


def forecast_body(horizon: int, known_future: Known, options: ForecastOptions) -> dict[str, Any]:
    """The members of a request; None stands for the service's default."""
    body: dict[str, Any] = {"horizon": horizon, "known_future": to_mapping(known_future), **options}
    for name in ("level", "quantiles"):
        if (given := body.get(name)) is not None:
            body[name] = [float(number) for number in np.ravel(list(given) if isinstance(given, Iterable) else given)]
    return {name: value for name, value in body.items() if value is not None}


def forecast_of(members: Mapping[str, Any], body: Mapping[str, Any]) -> Forecast:
    """The forecast that ``body`` asked for."""
    horizon = body["horizon"]
    outputs = outputs_of(members["outputs"])
    numbers = (1, horizon) if isinstance(outputs, dict) else (horizon,)
    for made in arrays_of(outputs):
        _check(made.ndim >= 2 and len(made) in numbers, f"its outputs are not those of {horizon} steps")
    intervals = {}
    for level in body.get("level", ()):
        ends = members["intervals"][name_of(level)]
        intervals[level] = Interval(*(_ahead(ends[name], (horizon,)) for name in ("lower", "upper")))
    quantiles = {each: _ahead(members["quantiles"][name_of(each)], (horizon,)) for each in body.get("quantiles", ())}
    samples: Outputs = None
    if (number := body.get("num_samples")) is not None:
        samples = _ahead(members["samples"], (number, horizon))
    seed = None if "seed" not in members else count_of(members["seed"], "seed")
    at = None if "at" not in members else times_of(members["at"])
    _check(at is None or len(at) == horizon, f"its times are not of {horizon} steps")
    return Forecast(outputs, intervals, quantiles, samples, seed, at)


def forecast_of_session(members: Mapping[str, Any], session_id: str, body: Mapping[str, Any]) -> Forecast:
    """``forecast_of`` a session that was asked for."""
    hold(members, session_id=session_id)
    return forecast_of(members, body)


def many_forecasts(members: Mapping[str, Any], body: Mapping[str, Any]) -> ManyForecasts:
    """The answer to a forecast of each of R sessions, row by row as they were sent."""
    session_ids: Sequence[str] = body["session_ids"]
    _check(members["session_ids"] == session_ids, "its rows are not those that were sent")
    rows = members["forecasts"]
    _check(len(rows) == len(session_ids), f"its forecasts are not of {len(session_ids)} rows")
    errors = tuple(
        RowError(count_of(error["row"], "row"), error["code"], error["detail"]) for error in members["errors"]
    )
    failed = {row for row, told in enumerate(rows) if told is None}
    _check(failed == {error.row for error in errors}, "its errors are not each of a row without a forecast")
    forecasts = tuple(None if told is None else forecast_of(told, body) for told in rows)
    return ManyForecasts(tuple(session_ids), forecasts, errors)


def name_of(number: float) -> str:
    """A level or a probability as the service calls it: in the fewest digits that tell it from all others."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _ahead(numbers: Any, shape: tuple[int, ...]) -> Outputs:
    """Numbers of each step ahead, float64 of ``shape``; by target where they have names."""
    if isinstance(numbers, dict):
        return {name: _ahead(each, shape) for name, each in numbers.items()}
    made: Array = np.array(numbers, np.float64)
    _check(made.shape == shape, f"{list(made.shape)} numbers where {list(shape)} were asked for")
    return made


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
