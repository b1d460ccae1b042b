"""Calendar of a series: where its grid lies, and which of its features the times of its steps tell, by which numbers.

A feature is told by the calendar where it is called like one of its units, and every step of the training part bears it
out: one value of the unit has one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.columns import Floats, Times
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.tables.grid import Grid
from ostinato.tables.stamps import to_datetime
from ostinato.tables.steps import TimeStep

_NAMES = {
    "year": ("year",),
    "quarter": ("quarter",),
    "month": ("month", "month_of_year"),
    "week": ("week", "week_of_year", "weekofyear", "isoweek"),
    "day": ("day", "day_of_month", "dayofmonth"),
    "weekday": ("weekday", "dayofweek", "day_of_week", "dow"),
    "day_of_year": ("dayofyear", "day_of_year", "doy"),
    "hour": ("hour", "hours", "hour_of_day", "hr"),
    "minute": ("minute", "minutes"),
    "second": ("second", "seconds"),
}
_NUM_VALUES = {
    "quarter": 4,
    "month": 12,
    "week": 53,
    "day": 31,
    "weekday": 7,
    "day_of_year": 366,
    "hour": 24,
    "minute": 60,
    "second": 60,
}


def time_of(
    recipe: DataRecipe,
    step: str | None,
    trained: Sequence[tuple[Floats, Times]],
    categories: Mapping[str, Sequence[str]],
    *,
    is_local: bool,
) -> dict[str, Any]:
    """What a manifest says of a series' time besides its step: a moment of its grid, of months the day that they are
    on, and the features that a calendar tells; empty where steps are rows.

    Args:
        step: in words. trained: of the training part of each series the values ``[N, F]``, and when each step was, by
            its clock. is_local: whether that is not UTC's.
    """
    if step is None or not recipe.time or (parsed := TimeStep.parse(step)).rows:
        return {}
    grid = Grid.of(trained[0][1].astype("datetime64[us]").astype(np.int64).tolist(), parsed)
    values, times = (np.concatenate(parts) for parts in zip(*trained, strict=True))
    features = ["" if name in recipe.targets else name for name in recipe.features]
    return {
        "origin": to_datetime(grid.anchor).isoformat(),
        "day": grid.day,
        "calendar": calendar_of(values, times, features, categories),
        "is_local": is_local,
    }


def calendar_of(
    values: Floats, times: Times, features: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The features that a calendar tells, and how, as a manifest has them.

    Args:
        values: of the training part, ``[N, F]``; times: when each step was, by its clock.
    """
    found = {}
    for place, name in enumerate(features):
        unit = next((unit for unit, names in _NAMES.items() if name.lower() in names), None)
        if unit is None:
            continue
        told = _told(values[:, place], unit_values(times, unit), unit, is_code=name in categories)
        if told is not None:
            found[name] = told
    return found


def unit_values(times: Times, unit: str) -> NDArray[np.int64]:
    """What a calendar shows at each time, ``[N]``, counted from 0 within the next larger unit; a year is itself."""
    days, months, years = (times.astype(f"datetime64[{each}]") for each in "DMY")
    if unit == "week":
        weeks = {day: to_datetime(day * 86_400_000_000).isocalendar().week - 1 for day in set(_counts(days).tolist())}
        return np.array([weeks[day] for day in _counts(days).tolist()], np.int64)
    hours, minutes, seconds = (times.astype(f"datetime64[{each}]") for each in "hms")
    return {
        "year": _counts(years) + 1970,
        "quarter": _counts(months) % 12 // 3,
        "month": _counts(months) % 12,
        "day": _counts(days) - _counts(months.astype("datetime64[D]")),
        "weekday": (_counts(days) + 3) % 7,
        "day_of_year": _counts(days) - _counts(years.astype("datetime64[D]")),
        "hour": _counts(hours) - 24 * _counts(days),
        "minute": _counts(minutes) - 60 * _counts(hours),
        "second": _counts(seconds) - 60 * _counts(minutes),
    }[unit]


def _told(numbers: Floats, values: NDArray[np.int64], unit: str, *, is_code: bool) -> dict[str, Any] | None:
    """How a feature's numbers follow from the unit's values; None where they do not."""
    known = ~np.isnan(numbers)
    numbers, values = numbers[known], values[known]
    seen, places = np.unique(values, return_inverse=True)
    if len(seen) < 2:
        return None
    table = np.zeros(len(seen), numbers.dtype)
    table[places] = numbers
    if (table[places] != numbers).any() or len(np.unique(table)) < 2:
        return None
    first = float(table[0]) - int(seen[0])
    # The number of a word is known for words of the training alone; of a number, from one all others follow.
    if not is_code and first == int(first) and (table == seen + first).all():
        return {"unit": unit, "first": int(first)}
    if unit == "year":
        return None
    codes: list[float | None] = [None] * _NUM_VALUES[unit]
    for value, number in zip(seen.tolist(), table.tolist(), strict=True):
        codes[value] = float(number)
    return {"unit": unit, "codes": codes}


def _counts(times: Times) -> NDArray[np.int64]:
    return times.astype(np.int64)
