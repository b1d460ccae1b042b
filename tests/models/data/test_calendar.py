from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ostinato.models.data.calendar import calendar_of, unit_values

HOURS = np.datetime64("2023-12-30T00", "s") + np.arange(24 * 800) * np.timedelta64(1, "h")


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("year", lambda time: time.year),
        ("quarter", lambda time: (time.month - 1) // 3),
        ("month", lambda time: time.month - 1),
        ("week", lambda time: time.isocalendar().week - 1),
        ("day", lambda time: time.day - 1),
        ("weekday", lambda time: time.weekday()),
        ("day_of_year", lambda time: (datetime(time.year, time.month, time.day) - datetime(time.year, 1, 1)).days),
        ("hour", lambda time: time.hour),
        ("minute", lambda time: time.minute),
        ("second", lambda time: time.second),
    ],
)
def test_a_unit_is_what_a_calendar_shows(unit: str, expected: Any) -> None:
    times = HOURS + (np.arange(len(HOURS)) % 7) * np.timedelta64(61, "s")
    moments = [datetime(2023, 12, 30) + timedelta(hours=hour, seconds=61 * (hour % 7)) for hour in range(len(HOURS))]
    assert unit_values(times, unit).tolist() == list(map(expected, moments))


def columns(**named: Any) -> dict[str, Any]:
    values = np.stack([np.asarray(column, np.float32) for column in named.values()], axis=1)
    return calendar_of(values, HOURS, tuple(named), {})


def test_numbers_that_follow_from_the_time_are_found_and_others_not() -> None:
    hours, weekdays = unit_values(HOURS, "hour"), unit_values(HOURS, "weekday")
    found = columns(Hour=hours, dow=(weekdays + 1) % 7, month=unit_values(HOURS, "month") + 1, load=hours)
    assert found == {
        "Hour": {"unit": "hour", "first": 0},
        "dow": {"unit": "weekday", "codes": [1, 2, 3, 4, 5, 6, 0]},  # which begins with Sunday
        "month": {"unit": "month", "first": 1},
    }
    wrong = hours.copy()
    wrong[100] += 1
    assert columns(hour=wrong, weekday=np.zeros(len(HOURS)), year=unit_values(HOURS, "year") % 2) == {}


def test_codes_of_words_are_known_for_those_of_the_training_alone() -> None:
    hours = unit_values(HOURS, "hour").astype(np.float32)
    hours[hours == 5] = np.nan
    found = calendar_of(hours[:, None], HOURS, ("hour",), {"hour": tuple(map(str, range(24)))})
    assert found == {"hour": {"unit": "hour", "codes": [None if hour == 5 else hour for hour in range(24)]}}
    years = unit_values(HOURS, "year").astype(np.float32) - 2023
    assert calendar_of(years[:, None], HOURS, ("year",), {"year": ("2023", "2024", "2025")}) == {}
