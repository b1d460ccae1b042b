"""Changes of a clock to and from daylight saving time, as stamps without an offset show them.

Where clocks are set back an hour comes twice, and where they are set forward one is left out. No zone is looked up:
two machines with different data of zones would read one file in two ways. What counts is that the change is of one
hour, in a night to a Sunday, in a season of changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from ostinato.tables.stamps import DAY, HOUR, to_datetime

_AUTUMN, _SPRING = "autumn", "spring"
# North of the equator in spring and autumn, south of it the other way round.
_NORTH = {_SPRING: ((3, 7), (4, 8)), _AUTUMN: ((9, 20), (11, 8))}
_SOUTH = {_SPRING: ((8, 14), (11, 8)), _AUTUMN: ((2, 14), (5, 16))}
_Week: TypeAlias = tuple[int, int]
_USUAL_WEEKS: dict[_Week, tuple[_Week, ...]] = {
    (10, -1): ((3, -1), (4, 1)),
    (11, 1): ((3, 2),),
    (4, 1): ((10, 1), (9, -1)),
}
"""When most zones set clocks back, and when they set them forward, the commonest first: a month, and which of its
Sundays (-1 = last).
"""
_SUNDAY = 6


class ClockChange(NamedTuple):
    """A change of the clock right before the row of this number: back (its hour comes twice) or forward."""

    row: int
    is_back: bool


def find_clock_changes(walls: Sequence[int]) -> list[ClockChange]:
    """The changes in a series of what a clock showed, in microseconds, in the order of the file."""
    gaps = [later - earlier for earlier, later in pairwise(walls)]
    rising = Counter(gap for gap in gaps if gap > 0)
    if not rising:
        return []
    step = rising.most_common(1)[0][0]
    if step >= DAY:
        return []
    # Rows far apart do not show the hour of the change itself, but then their distance is found nowhere else.
    late = max(0, step - HOUR)
    back = [
        row
        for row, gap in enumerate(gaps, start=1)
        if _is_back(gap, step) and may_come_twice(walls[row], late) and _goes_on(walls, row)
    ]
    back = _one_a_season(walls, back, tuple(_USUAL_WEEKS))
    is_north = {_is_in(to_datetime(walls[row]), _NORTH[_AUTUMN]) for row in back}
    forward = [
        row
        for row, gap in enumerate(gaps, start=1)
        if gap == step + HOUR and _may_be_skipped(walls, walls[row - 1] + step, late, is_north)
    ]
    seen = {_week(to_datetime(walls[row])) for row in back}
    usual = [weeks for week, weeks in _USUAL_WEEKS.items() if week in seen or not seen]
    forward = _one_a_season(walls, forward, tuple(week for weeks in usual for week in weeks))
    return sorted(ClockChange(row, row in back) for row in (*back, *forward))


def may_come_twice(wall: int, late: int = 0) -> bool:
    """Whether a clock may show this time twice, as it is set back, or showed such a time at most ``late`` before it."""
    if not any(_is_in(to_datetime(wall), seasons[_AUTUMN]) for seasons in (_NORTH, _SOUTH)):
        return False
    # Set back from midnight, it is Saturday once more.
    return _is_night_to_sunday(wall, late) or _is_night_to_sunday(wall + HOUR)


def without_changes(walls: Sequence[int], changes: Sequence[ClockChange]) -> tuple[list[int], list[int]]:
    """The stamps of a clock that is never changed, and by how much each is ahead of what the other one showed."""
    by_row = {change.row: HOUR if change.is_back else -HOUR for change in changes}
    shifts, shift = [], 0
    for row in range(len(walls)):
        shift += by_row.get(row, 0)
        shifts.append(shift)
    return [wall + ahead for wall, ahead in zip(walls, shifts, strict=True)], shifts


def _is_back(gap: int, step: int) -> bool:
    """Whether the clock may have been set back by an hour from one row to the next, some of them missing or none."""
    return gap == step - HOUR or -HOUR < gap < 0


def _goes_on(walls: Sequence[int], row: int) -> bool:
    """Whether the rows from this one on rise to beyond the one before it, as after a change and not in disorder."""
    latest = row - 1
    while row + 1 < len(walls) and walls[row] <= walls[latest]:
        row += 1
        if walls[row] <= walls[row - 1]:
            return False
    return True


def _may_be_skipped(walls: Sequence[int], skipped: int, late: int, is_north: set[bool]) -> bool:
    """Whether a time may be left out as a clock is set forward; it was set back where the file has an autumn, too."""
    if not _is_night_to_sunday(skipped, late):
        return False
    return any(
        _is_in(to_datetime(skipped), seasons[_SPRING])
        and (north in is_north or not (is_north or _has_whole(walls, seasons[_AUTUMN])))
        for north, seasons in ((True, _NORTH), (False, _SOUTH))
    )


def _one_a_season(walls: Sequence[int], rows: Sequence[int], usual: Sequence[_Week]) -> list[int]:
    """One row for each half of a year, in the week in which most years have one, or else in the commonest of the usual
    ones: the others are gaps or repetitions.
    """
    weeks = {row: _week(to_datetime(walls[row])) for row in rows}
    counts = Counter(weeks.values())
    best: dict[tuple[int, bool], int] = {}

    def likelihood(row: int) -> tuple[int, int]:
        week = weeks[row]
        return counts[week], -usual.index(week) if week in usual else -len(usual)

    for row in sorted(rows, key=likelihood):
        time = to_datetime(walls[row])
        best[time.year, time.month <= 6] = row
    return sorted(best.values())


def _week(time: datetime) -> _Week:
    is_last = (time + timedelta(days=7)).month != time.month
    return time.month, -1 if is_last else (time.day + 6) // 7


def _is_night_to_sunday(wall: int, late: int = 0) -> bool:
    time = to_datetime(wall)
    return time.weekday() == _SUNDAY and wall % DAY < 4 * HOUR + late


def _is_in(time: datetime, season: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    first, last = season
    return first <= (time.month, time.day) <= last


def _has_whole(walls: Sequence[int], season: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether a file begins before a season of some year and ends after it."""
    (first_month, first_day), (last_month, last_day) = season
    first, last = to_datetime(walls[0]), to_datetime(walls[-1])
    return any(
        first <= datetime(year, first_month, first_day)
        and datetime(year, last_month, last_day) + timedelta(days=1) <= last
        for year in range(first.year, last.year + 1)
    )
