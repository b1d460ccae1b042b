from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from ostinato.tables.stamps import DAY, HOUR, SECOND, to_moment
from ostinato.tables.steps import TimeStep, find_step


def moments(times: Sequence[str]) -> list[int]:
    return [to_moment(datetime.fromisoformat(time)) for time in times]


def every(step: timedelta, numbers: Sequence[int], start: str = "2024-06-03") -> list[int]:
    return [to_moment(datetime.fromisoformat(start) + number * step) for number in numbers]


@pytest.mark.parametrize(
    ("text", "step", "said"),
    [
        ("1 hour", TimeStep(HOUR), "1 hour"),
        ("hour", TimeStep(HOUR), "1 hour"),
        ("90 minutes", TimeStep(90 * 60 * SECOND), "90 minutes"),
        ("0.1 seconds", TimeStep(100_000), "100 milliseconds"),
        ("1.5 hours", TimeStep(90 * 60 * SECOND), "90 minutes"),
        ("2 weeks", TimeStep(14 * DAY), "14 days"),
        ("1 month", TimeStep(months=1), "1 month"),
        ("1 year", TimeStep(months=12), "1 year"),
        ("1 working day", TimeStep(working_days=1), "1 working day"),
    ],
)
def test_a_step_is_told_in_words(text: str, step: TimeStep, said: str) -> None:
    assert TimeStep.parse(text) == step
    assert str(step) == said
    assert TimeStep.parse(said) == step


@pytest.mark.parametrize(
    "text", ["", "0 hours", "1", "1.5 months", "2 working days", "-1 hour", "1 fortnight", "0.0001 milliseconds"]
)
def test_words_that_tell_no_step_are_refused_with_those_that_do(text: str) -> None:
    with pytest.raises(ValueError, match="is not a step; write it as '1 hour'"):
        TimeStep.parse(text)


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (every(timedelta(hours=1), [0, 1, 2, 5, 6]), "1 hour"),
        (every(timedelta(hours=1), [0, 2, 5]), "1 hour"),  # no two rows are an hour apart
        (every(timedelta(hours=1), [0, 1, 7, 29]), "1 hour"),  # two are, and that is few
        (every(timedelta(hours=3), [0, 1, 2]), "3 hours"),
        (every(timedelta(milliseconds=100), [0, 1, 3]), "100 milliseconds"),
        (every(timedelta(days=1), [0, 1, 2, 9]), "1 day"),
        (every(timedelta(days=7), [0, 1, 2]), "7 days"),
        (every(timedelta(days=28), [0, 1, 2, 3]), "28 days"),
        (moments(["2024-01-01", "2024-02-01", "2024-04-01"]), "1 month"),
        (moments(["2024-01-31", "2024-02-29", "2024-03-31", "2024-05-31"]), "1 month"),
        (moments(["2024-01-30", "2024-02-29", "2024-03-30"]), "1 month"),
        (moments(["2001-01-01", "2001-04-01", "2001-10-01"]), "3 months"),
        (moments(["2001-01-01", "2002-01-01", "2005-01-01"]), "1 year"),
        (every(timedelta(days=1), [day for day in range(40) if day % 7 < 5 and day != 9]), "1 working day"),
        (every(timedelta(days=1), [day for day in range(12) if day % 7 < 5]), "1 day"),  # too short to tell
        (
            every(timedelta(days=1), [day for day in range(40) if day % 7 < 5 or day == 12]),
            "1 day",
        ),  # one is a Saturday
        (every(timedelta(days=1), [day for day in range(40) if day % 7 in (0, 2)]), "1 day"),  # two days a week
    ],
)
def test_the_step_is_found_in_rows_some_of_which_are_missing(times: list[int], step: str) -> None:
    assert str(find_step(times)) == step


@pytest.mark.parametrize(
    ("text", "is_of_calendar"),
    [("1 hour", False), ("36 hours", False), ("1 day", True), ("1 week", True), ("1 month", True), ("1 year", True)],
)
def test_whole_days_are_counted_by_the_calendar(text: str, is_of_calendar: bool) -> None:
    assert TimeStep.parse(text).is_of_calendar is is_of_calendar


def test_a_few_stray_rows_do_not_make_the_step_finer() -> None:
    times = sorted([*every(timedelta(hours=1), range(100)), *every(timedelta(minutes=30), [7, 21])])
    assert str(find_step(times)) == "1 hour"


def test_stamps_that_are_some_seconds_off_show_a_round_step() -> None:
    times = [
        time + late * SECOND
        for time, late in zip(every(timedelta(minutes=15), range(30)), [3, 0, 8, 1, 5] * 6, strict=True)
    ]
    assert str(find_step(times)) == "15 minutes"


def test_rows_that_are_nearly_all_missing_show_no_step() -> None:
    # A row for every twelfth step is the least.
    assert str(find_step(every(timedelta(minutes=1), [0, 9, 10, 30, 48]))) == "1 minute"
    assert find_step(every(timedelta(minutes=1), [0, 9, 10, 30, 49])) is None


@pytest.mark.parametrize("times", [[], [5], [0, 7 * SECOND, 20 * SECOND, 900 * SECOND, 905 * SECOND, 4000 * SECOND]])
def test_no_step_is_found_where_there_is_none(times: list[int]) -> None:
    assert find_step(times) is None
