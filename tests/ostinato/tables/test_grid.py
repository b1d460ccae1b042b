from __future__ import annotations

from datetime import datetime

import pytest

from ostinato.tables.grid import Grid
from ostinato.tables.stamps import SECOND, to_datetime, to_moment
from ostinato.tables.steps import TimeStep


def moments(*times: str) -> list[int]:
    return [to_moment(datetime.fromisoformat(time)) for time in times]


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("1 hour", ["2024-02-28 22:30", "2024-02-28 23:30", "2024-02-29 00:30"]),
        ("1 month", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
        ("1 month", ["2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30"]),
        ("1 month", ["2023-02-28", "2023-03-30", "2023-04-30"]),
        ("1 month", ["2023-02-28", "2023-03-31", "2023-04-30"]),
        ("3 months", ["2023-11-15 06:00", "2024-02-15 06:00", "2024-05-15 06:00"]),
        ("1 year", ["2023-07-01", "2024-07-01", "2025-07-01"]),
        ("1 working day", ["2024-02-28 17:00", "2024-02-29 17:00", "2024-03-01 17:00", "2024-03-04 17:00"]),
    ],
)
def test_a_grid_goes_from_moment_to_moment_as_a_calendar_does(step: str, times: list[str]) -> None:
    known = moments(*times)
    grid = Grid.of(known, TimeStep.parse(step))
    assert [grid.at(number) for number in range(len(known))] == known
    assert [grid.nearest(time) for time in known] == list(range(len(known)))
    assert [grid.distance(time) for time in known] == [0] * len(known)


def test_a_grid_is_that_of_most_rows() -> None:
    grid = Grid.of(moments("2024-01-01 00:07", "2024-01-01 01:00", "2024-01-01 02:00"), TimeStep.parse("1 hour"))
    assert to_datetime(grid.at(0)) == datetime(2024, 1, 1)


def test_a_stamp_is_near_up_to_a_tenth_of_a_step() -> None:
    [start] = moments("2024-01-01")
    grid = Grid.of([start], TimeStep.parse("1 minute"))
    assert [grid.is_near(start + seconds * SECOND) for seconds in (-7, -6, 6, 7, 30)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert [grid.nearest(start + seconds * SECOND) for seconds in (-6, 6, 66)] == [0, 0, 1]


def test_a_weekend_and_another_day_of_the_month_are_off_the_grid() -> None:
    working = Grid.of(moments("2024-02-29", "2024-03-01"), TimeStep.parse("1 working day"))
    monthly = Grid.of(moments("2024-01-15", "2024-02-15"), TimeStep.parse("1 month"))
    assert not working.is_near(*moments("2024-03-02"))
    assert not monthly.is_near(*moments("2024-03-16"))


def test_ends_of_months_are_the_ends_also_of_longer_months() -> None:
    grid = Grid.of(moments("2023-02-28", "2023-04-30"), TimeStep.parse("1 month"))
    assert to_datetime(grid.at(1)) == datetime(2023, 3, 31)
