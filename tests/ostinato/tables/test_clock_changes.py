from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from ostinato.tables.clock_changes import ClockChange, find_clock_changes, may_come_twice, without_changes
from ostinato.tables.stamps import HOUR, SECOND, to_moment

# By standard time: when clocks are set forward in 2023 (the hour from then on is never shown), and when back (it is
# shown twice).
ZONES = {
    "Berlin": (datetime(2023, 3, 26, 2), datetime(2023, 10, 29, 2)),
    "London": (datetime(2023, 3, 26, 1), datetime(2023, 10, 29, 1)),
    "New York": (datetime(2023, 3, 12, 2), datetime(2023, 11, 5, 1)),
    "Havana": (datetime(2023, 3, 12, 0), datetime(2023, 11, 5, 0)),
    "Sydney": (datetime(2023, 10, 1, 2), datetime(2023, 4, 2, 2)),
    "Santiago": (datetime(2023, 9, 3, 0), datetime(2023, 4, 1, 23)),
}


def shown(zone: str, first: datetime, last: datetime, minutes: int) -> list[int]:
    """What a clock of the zone showed, in even steps of standard time from ``first`` to ``last``."""
    return [to_moment(wall) for wall in clock(*ZONES[zone], first, last, timedelta(minutes=minutes))]


def clock(forward: datetime, back: datetime, time: datetime, last: datetime, step: timedelta) -> Iterator[datetime]:
    while time <= last:
        is_summer = forward <= time < back if forward < back else not back <= time < forward
        yield time + timedelta(hours=1) if is_summer else time
        time += step


@pytest.mark.parametrize("minutes", [30, 60, 120])
@pytest.mark.parametrize("zone", ZONES)
def test_a_clock_that_is_changed_twice_a_year_runs_evenly_without_its_changes(zone: str, minutes: int) -> None:
    walls = shown(zone, datetime(2023, 1, 1), datetime(2023, 12, 31), minutes)
    changes = find_clock_changes(walls)
    times, _ = without_changes(walls, changes)
    assert sorted(change.is_back for change in changes) == [False, True]
    assert {later - earlier for earlier, later in pairwise(times)} == {minutes * 60 * SECOND}


def test_a_change_is_before_the_row_that_comes_after_it() -> None:
    walls = shown("Berlin", datetime(2023, 10, 29), datetime(2023, 10, 29, 5), 60)
    # Standard time 0, 1, ... is shown as 1, 2, and from 2 on as 2, 3, 4, 5.
    assert [wall // HOUR % 24 for wall in walls] == [1, 2, 2, 3, 4, 5]
    assert find_clock_changes(walls) == [ClockChange(2, is_back=True)]
    assert without_changes(walls, find_clock_changes(walls))[1] == [0, 0, HOUR, HOUR, HOUR, HOUR]


def test_rows_that_are_missing_around_a_change_do_not_hide_it() -> None:
    walls = shown("Berlin", datetime(2023, 10, 28), datetime(2023, 10, 30), 10)
    before = walls.index(to_moment(datetime(2023, 10, 29, 2, 50)))
    changes = find_clock_changes([*walls[:before], *walls[before + 2 :]])
    assert changes == [ClockChange(before, is_back=True)]


def test_a_skipped_hour_is_a_gap_in_a_file_whose_autumn_shows_no_change() -> None:
    even = shown("Berlin", datetime(2023, 4, 1), datetime(2024, 3, 31), 60)
    utc = [to_moment(datetime(2023, 1, 1)) + hour * HOUR for hour in range(365 * 24)]
    skipped = utc.index(to_moment(datetime(2023, 3, 26, 2)))
    assert find_clock_changes([*utc[:skipped], *utc[skipped + 1 :]]) == []
    assert [change.is_back for change in find_clock_changes(even)] == [True]


@pytest.mark.parametrize(
    ("city", "lost"),
    [
        ("Berlin", datetime(2023, 3, 12, 1)),  # two Sundays before, in the night, a row is missing
        ("Sydney", datetime(2023, 8, 20, 1)),  # in another month
    ],
)
def test_in_a_season_the_clock_is_changed_once(city: str, lost: datetime) -> None:
    walls = shown(city, datetime(2023, 1, 1), datetime(2023, 12, 31), 60)
    kept = [wall for wall in walls if wall != to_moment(lost)]
    changes, expected = find_clock_changes(kept), find_clock_changes(walls)
    assert len(expected) == 2
    assert [kept[change.row] for change in changes] == [walls[change.row] for change in expected]


@pytest.mark.parametrize(
    "twice",
    [
        datetime(2023, 7, 9, 2),  # a Sunday in summer
        datetime(2023, 10, 25, 2),  # a Wednesday
        datetime(2023, 10, 29, 12),  # at noon
    ],
)
def test_a_time_that_is_there_twice_on_any_other_day_is_no_change(twice: datetime) -> None:
    start = to_moment(twice - timedelta(hours=5))
    hours = [start + hour * HOUR for hour in range(12)]
    assert find_clock_changes([*hours[:6], *hours[5:]]) == []
    assert not may_come_twice(hours[5])


def test_rows_in_disorder_are_no_change() -> None:
    start = to_moment(datetime(2023, 10, 29))
    quarters = [start + quarter * 15 * 60 * SECOND for quarter in range(16)]
    assert find_clock_changes([*quarters[:10], quarters[8], quarters[8], *quarters[10:]]) == []


def test_days_have_no_hours() -> None:
    day = to_moment(datetime(2023, 10, 27))
    assert find_clock_changes([day + number * 24 * HOUR for number in (0, 1, 2, 2, 3)]) == []


def test_a_row_that_is_missing_on_the_sunday_after_the_change_is_not_taken_for_it() -> None:
    walls = shown("Berlin", datetime(2023, 1, 1), datetime(2023, 12, 31), 60)
    walls.remove(to_moment(datetime(2023, 4, 2, 2)))
    forward = [walls[change.row] for change in find_clock_changes(walls) if not change.is_back]
    assert forward == [to_moment(datetime(2023, 3, 26, 3))]
