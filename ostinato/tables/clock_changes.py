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
from typing import NamedTuple

from ostinato.tables.stamps import DAY, HOUR, to_datetime

_AUTUMN, _SPRING = "autumn", "spring"
# North of the equator in spring and autumn, south of it the other way round.
_NORTH = {_SPRING: ((3, 7), (4, 8)), _AUTUMN: ((9, 20), (11, 8))}
_SOUTH = {_SPRING: ((8, 14), (11, 8)), _AUTUMN: ((2, 14), (5, 16))}
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
    back = [row for row, gap in enumerate(gaps, start=1) if _is_back(gap, step) and _in_season(walls[row], _AUTUMN)]
    forward = [row for row, gap in enumerate(gaps, start=1) if gap == step + HOUR]
    found = [ClockChange(row, is_back=True) for row in back if _goes_on(walls, row)]
    is_north = {_is_in(to_datetime(walls[change.row]), _NORTH[_AUTUMN]) for change in found}
    for row in forward:
        skipped = walls[row - 1] + step
        for north, seasons in ((True, _NORTH), (False, _SOUTH)):
            # The same clock was set back where the file has an autumn.
            shown = north in is_north or not (is_north or _has_whole(walls, seasons[_AUTUMN]))
            if shown and _is_in(to_datetime(skipped), seasons[_SPRING]) and _is_night_to_sunday(skipped):
                found.append(ClockChange(row, is_back=False))
    return sorted(found)


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
    for earlier, later in pairwise(walls[row:]):
        if earlier > walls[row - 1]:
            break
        if later <= earlier:
            return False
    return True


def _in_season(wall: int, season: str) -> bool:
    # Set back from midnight, it is Saturday once more.
    return any(_is_in(to_datetime(wall), seasons[season]) for seasons in (_NORTH, _SOUTH)) and (
        _is_night_to_sunday(wall) or _is_night_to_sunday(wall + HOUR)
    )


def _is_night_to_sunday(wall: int) -> bool:
    time = to_datetime(wall)
    return time.weekday() == _SUNDAY and time.hour <= 3


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
