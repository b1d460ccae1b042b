"""Steps of time: how far the rows of a series are apart, told in words or found in the rows."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import NamedTuple

from ostinato.tables.stamps import DAY, HOUR, SECOND, to_datetime

_UNITS = {
    "day": DAY,
    "hour": HOUR,
    "minute": 60 * SECOND,
    "second": SECOND,
    "millisecond": 1000,
    "microsecond": 1,
}
_NATURAL = tuple(
    sorted(
        {count * unit for unit in (1, 1000, SECOND) for count in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500)}
        | {count * unit for unit in (SECOND, 60 * SECOND) for count in (1, 2, 5, 10, 12, 15, 20, 30)}
        | {count * HOUR for count in (1, 2, 3, 4, 6, 8, 12, 24, 168)}
    )
)
"""What people choose as a step where the stamps themselves do not say it to the second."""

NEAR = 0.1
"""By which part of a step a stamp may be off the grid and still be the step that it is nearest to."""
STRAY = 0.05
"""Which part of the rows may be off a grid that all others are on."""
_MAX_GROWTH, _MAX_GROWTH_SEEN = 4, 12
"""How many steps there may be for a row, where no two rows are a step apart, and where some are."""
_WORKING_SPAN = 28 * DAY


class TimeStep(NamedTuple):
    """A step: so many microseconds, months, or days from Monday to Friday, or rows; the others are 0.

    Months and working days are not all of one length, so they are counted in a calendar. ``rows`` is of tables whose
    rows are numbered, and have no times.
    """

    microseconds: int = 0
    months: int = 0
    working_days: int = 0
    rows: int = 0

    @classmethod
    def parse(cls, text: str) -> TimeStep:
        """The step that words say: ``1 hour``, ``15 minutes``, ``0.1 seconds``, ``1 month``, ``1 working day``.

        Raises:
            ValueError: they do not say one.
        """
        found = re.fullmatch(r"\s*(?:([0-9]+)(?:\.([0-9]{1,6}))?\s+)?(working day|[a-z]+?)s?\s*", text)
        whole, fraction, unit = found.groups() if found else (None, None, "")
        count, scale = int((whole or "1") + (fraction or "")), 10 ** len(fraction or "")
        if unit in ("week", *_UNITS):
            microseconds, rest = divmod(count * (7 * DAY if unit == "week" else _UNITS[unit]), scale)
            if microseconds and not rest:
                return cls(microseconds)
        elif count and scale == 1 and unit in ("month", "year"):
            return cls(months=count * (12 if unit == "year" else 1))
        elif count == scale == 1 and unit == "working day":
            return cls(working_days=1)
        elif count and scale == 1 and unit == "step":
            return cls(rows=count)
        raise ValueError(f"{text!r} is not a step; write it as '1 hour', '15 minutes', '1 month' or '1 working day'")

    def __str__(self) -> str:
        if self.working_days:
            return "1 working day"
        if self.rows:
            return _counted(self.rows, "step")
        if self.months:
            return _counted(self.months // 12, "year") if self.months % 12 == 0 else _counted(self.months, "month")
        unit, size = next((unit, size) for unit, size in _UNITS.items() if self.microseconds % size == 0)
        return _counted(self.microseconds // size, unit)

    @property
    def is_of_calendar(self) -> bool:
        """Whether it is counted by the dates of a clock on the wall, as every step of whole days is."""
        return not self.microseconds or self.microseconds % DAY == 0


def find_step(times: Sequence[int]) -> TimeStep | None:
    """The step of a series, some of whose rows may be missing; None = it has none, or less than two rows.

    Args:
        times: rising, in microseconds.
    """
    if len(times) < 2:
        return None
    if len({time % DAY for time in times}) == 1:
        if months := _months(times):
            return TimeStep(months=months)
        if _are_working_days(times):
            return TimeStep(working_days=1)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    spacing = _spacing(times, gaps) or _near_spacing(gaps)
    return TimeStep(spacing) if spacing else None


def month_of(time: int) -> int:
    """The months since the year 0."""
    date = to_datetime(time)
    return date.year * 12 + date.month - 1


def is_month_end(time: int) -> bool:
    """Whether a date is the last of its month."""
    date = to_datetime(time)
    return date.day == monthrange(date.year, date.month)[1]


def _spacing(places: Sequence[int], gaps: Sequence[int]) -> int:
    """The distance of which all others are multiples, or most are where a few rows are strays; 0 = there is none.

    It must be that of half the rows, or leave few of them to be put in: all times are whole seconds apart.
    """
    counts = Counter(gaps)
    common = gcd(*counts)
    usual = max(counts, key=lambda gap: (counts[gap], -gap))
    if common < usual and len(places) >= 1 / STRAY:
        phases = Counter(place % usual for place in places)
        if len(places) - max(phases.values()) <= STRAY * len(places):
            return usual
    max_growth = _MAX_GROWTH_SEEN if common in counts else _MAX_GROWTH
    fills_few = (places[-1] - places[0]) // common <= max_growth * len(gaps)
    return common if 2 * counts[common] >= len(gaps) or fills_few else 0


def _near_spacing(gaps: Sequence[int]) -> int:
    """The round distance that most are near to, for stamps that are some seconds early or late; 0 = there is none."""
    ordered = sorted(gaps)
    median = ordered[len(ordered) // 2]
    place = bisect_left(_NATURAL, median)
    spacing = min(_NATURAL[max(0, place - 1) : place + 1], key=lambda natural: abs(natural - median))

    def is_near(gap: int) -> bool:
        rest = gap % spacing
        return gap > spacing / 2 and min(rest, spacing - rest) <= NEAR * spacing

    num_near = sum(map(is_near, gaps))
    # A stray row spoils the distance to its left and to its right.
    return spacing if len(gaps) - num_near <= max(2, 2 * STRAY * len(gaps)) and 2 * num_near > len(gaps) else 0


def _months(times: Sequence[int]) -> int:
    """How many months the rows are apart, all on one day of the month or on its last; 0 = they are not."""
    if min(later - earlier for earlier, later in pairwise(times)) < 28 * DAY:
        return 0
    days = [to_datetime(time).day for time in times]
    if any(day < max(days) and not is_month_end(time) for day, time in zip(days, times, strict=True)):
        return 0
    months = [month_of(time) for time in times]
    return _spacing(months, [later - earlier for earlier, later in pairwise(months)])


def _are_working_days(times: Sequence[int]) -> bool:
    """Whether there is a row for most days from Monday to Friday, for four weeks or more, and none for a weekend."""
    days = [time // DAY for time in times]
    if times[-1] - times[0] < _WORKING_SPAN or any(weekday(day) > 4 for day in days):
        return False
    return len(days) >= 0.8 * (working_day_of(days[-1])[0] - working_day_of(days[0])[0] + 1)


def weekday(day: int) -> int:
    """0 for a Monday; ``day`` counts from 1970-01-01, a Thursday."""
    return (day + 3) % 7


def working_day_of(day: int) -> tuple[int, int]:
    """The working days since 1970 until a day, and by how many days it is after the last of them."""
    weeks, rest = divmod(day + 3, 7)
    return weeks * 5 + min(rest, 4), max(0, rest - 4)


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
