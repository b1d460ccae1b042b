from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ostinato.service.artifact.series_time import NO_TIME, SeriesTime
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.series_clock import SeriesClock

BERLIN = ZoneInfo("Europe/Berlin")


def clock(features: tuple[str, ...] = ("x",), **time: Any) -> SeriesClock:
    part = Input(name="inputs", dtype="float32", shape=("B", "T", len(features)), features=features, missing=True)
    return SeriesClock(SeriesTime(**time), part)


def test_steps_of_an_hour_are_counted_by_time_itself_whatever_clocks_do() -> None:
    hours = clock(step="1 hour", zone="Europe/Berlin")
    for day, num_hours in (("2025-03-30", 23), ("2025-10-26", 25), ("2025-06-01", 24)):
        midnight = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
        after = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=BERLIN)
        first, last = hours.number_of(midnight.isoformat()), hours.number_of(after.isoformat())
        assert last - first == num_hours
        texts = [hours.text(number) for number in range(first, last)]
        assert len(set(texts)) == num_hours
        assert [hours.number_of(text) for text in texts if text] == list(range(first, last))


def test_a_local_time_that_comes_twice_is_refused_with_both_readings_and_one_that_is_skipped_too() -> None:
    hours = clock(step="1 hour", zone="Europe/Berlin")
    with pytest.raises(ValueError, match=r"twice, as 2025-10-26T02:00:00\+02:00 and as 2025-10-26T02:00:00\+01:00"):
        hours.number_of("2025-10-26T02:00:00")
    with pytest.raises(ValueError, match=r"from 2025-03-30T01:30:00\+01:00 on to 2025-03-30T03:30:00\+02:00"):
        hours.number_of("2025-03-30T02:30:00")
    first, second = (hours.number_of(f"2025-10-26T02:00:00+0{ahead}:00") for ahead in (2, 1))
    assert second == first + 1
    assert hours.number_of("2025-10-26T00:00:00Z") == first
    # All other hours need no offset.
    assert hours.number_of("2025-10-26T03:00") == second + 1


def test_without_a_zone_times_are_of_utc() -> None:
    hours = clock(step="1 hour")
    assert hours.number_of("2025-10-26T02:00:00") == hours.number_of("2025-10-26T02:00:00Z")
    assert hours.text(hours.number_of("2025-10-26T04:00:00+02:00")) == "2025-10-26T02:00:00Z"


def test_steps_of_days_are_those_of_the_zones_calendar() -> None:
    days = clock(step="1 day", zone="Europe/Berlin")
    numbers = [days.number_of(f"2025-03-{day}T00:00:00+0{1 if day < 31 else 2}:00") for day in range(28, 32)]
    assert np.diff(numbers).tolist() == [1, 1, 1]  # one of them has 23 hours
    assert days.text(numbers[-1]) == "2025-03-31T00:00:00+02:00"
    assert days.number_of("2025-03-30") == numbers[2]
    # Where midnight is skipped, what is told of it is taken for it.
    beirut = clock(step="1 day", zone="Asia/Beirut")
    number = beirut.number_of("2024-03-31")
    told = beirut.text(number)
    assert told is not None
    assert beirut.number_of(told) == number


def test_months_keep_their_day_and_end_where_they_are_short() -> None:
    months = clock(step="1 month", origin=datetime(2023, 1, 31), day=31)
    number = months.number_of("2024-01-31T00:00:00Z")
    assert [months.text(number + ahead) for ahead in range(4)] == [
        "2024-01-31T00:00:00Z",
        "2024-02-29T00:00:00Z",
        "2024-03-31T00:00:00Z",
        "2024-04-30T00:00:00Z",
    ]
    assert months.number_of("2025-02-28T00:00:00Z") == number + 13
    with pytest.raises(ValueError, match="2024-03-31T00:00:00Z and 2024-04-30T00:00:00Z"):
        months.number_of("2024-04-28T00:00:00Z")
    quarters = clock(step="3 months", origin=datetime(2024, 1, 1))
    assert quarters.number_of("2024-07-01T00:00:00Z") == quarters.number_of("2024-04-01T00:00:00Z") + 1


def test_working_days_leave_out_weekends() -> None:
    days = clock(step="1 working day")
    friday, monday = days.number_of("2025-10-24"), days.number_of("2025-10-27")
    assert monday == friday + 1
    with pytest.raises(ValueError, match="2025-10-24T00:00:00Z and 2025-10-27T00:00:00Z"):
        days.number_of("2025-10-25")


def test_a_time_off_the_grid_is_refused_with_its_neighbours_and_one_that_is_nearly_a_step_is_taken_for_it() -> None:
    hours = clock(step="1 hour")
    ten = hours.number_of("2026-01-01T10:00:00Z")
    for near in ("2026-01-01T10:06:00Z", "2026-01-01T09:54:00.5Z"):
        assert hours.number_of(near) == ten
    for off in ("2026-01-01T10:07:00Z", "2026-01-01T10:53:00Z"):
        with pytest.raises(ValueError, match="2026-01-01T10:00:00Z and 2026-01-01T11:00:00Z"):
            hours.number_of(off)
    halves = clock(step="1 hour", origin=datetime(2010, 1, 1, 0, 30))
    assert halves.text(halves.number_of("2026-01-01T10:30:00Z")) == "2026-01-01T10:30:00Z"
    with pytest.raises(ValueError, match="09:30:00Z and 2026-01-01T10:30:00Z"):
        halves.number_of("2026-01-01T10:00:00Z")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("now", "RFC 3339"),
        ("1767261600", "RFC 3339"),
        ("2026-W01-1", "RFC 3339"),
        ("2026-01-01T10", "RFC 3339"),
        ("2026-02-30T10:00:00Z", "day"),
        ("2026-01-01T10:00:00.0000001Z", "finer"),
        ("1066-10-14T10:00:00Z", "years"),
        ("9999-12-31T23:00:00-05:00", "years"),
    ],
)
def test_what_is_no_time_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        clock(step="1 hour").numbers([text], 1)
    assert refused.value.field == "at[0]"


def test_times_of_a_chunk_are_one_for_the_first_or_one_for_each_and_rise() -> None:
    hours = clock(step="1 hour")
    first = hours.number_of("2026-01-01T10:00:00Z")
    assert hours.numbers("2026-01-01T10:00:00Z", 3).tolist() == [first, first + 1, first + 2]
    assert hours.numbers(["2026-01-01T10:00:00Z", "2026-01-01T13:00:00Z"], 2).tolist() == [first, first + 3]
    with pytest.raises(InvalidInput, match="1 times for 2 steps"):
        hours.numbers(["2026-01-01T10:00:00Z"], 2)
    with pytest.raises(InvalidInput, match="does not come after") as refused:
        hours.numbers(["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T11:03:00Z"], 3)
    assert refused.value.field == "at[2]"


def test_a_calendar_is_that_of_the_zone_and_a_number_that_the_training_had_not_is_missing() -> None:
    codes = [None, *range(100, 123)]
    calendar: dict[str, Any] = {
        "hour": {"unit": "hour", "codes": codes},
        "weekday": {"unit": "weekday", "first": 1},
        "month": {"unit": "month", "first": 1},
        "day_of_year": {"unit": "day_of_year", "first": 1},
    }
    features = ("hour", "load", "weekday", "month", "day_of_year")
    hours = clock(features, step="1 hour", zone="Europe/Berlin", calendar=calendar)
    assert (hours.places, hours.sent.width if hours.sent else 0) == ([1], 1)
    # 23:00 in UTC on New Year's Eve, a Thursday, is midnight on a Friday in Berlin.
    rows = hours.rows(hours.numbers("2026-12-31T23:00:00Z", 2))
    np.testing.assert_array_equal(rows, np.array([[np.nan, np.nan, 5, 1, 1], [100, np.nan, 5, 1, 1]], np.float32))
    leap = hours.rows(hours.numbers("2024-12-31T12:00:00+01:00", 1))
    assert leap[0, 4] == 366


def test_irregular_times_are_any_and_need_one_for_each_step() -> None:
    any_time = clock(("x", "gap"), interval={"feature": "gap", "unit": "minute"})
    first, second = any_time.numbers(["2026-01-01T10:07:00.25Z", "2026-01-01T10:07:00.5Z"], 2).tolist()
    assert second - first == 250_000
    assert any_time.text(first) == "2026-01-01T10:07:00.250000Z"
    with pytest.raises(InvalidInput, match="irregular series: give one for each"):
        any_time.numbers("2026-01-01T10:07:00Z", 2)


def test_times_that_no_date_has_are_not_told() -> None:
    years = clock(step="1 year")
    assert years.text(NO_TIME) is None
    assert years.text(years.number_of("2026-01-01") + 20_000) is None
    assert years.future(NO_TIME, 2) == [None, None]


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize("step", ["15 minutes", "1 hour", "6 hours", "1 day", "1 week", "1 month", "1 working day"])
def test_every_step_of_two_years_is_the_one_that_its_own_words_say(zone: str, step: str) -> None:
    of_zone = clock(step=step, zone=zone, origin=datetime(2020, 1, 6))
    number = of_zone.number_of("2024-01-01T00:00:00" if step != "1 month" else "2024-01-06")
    texts = []
    while (text := of_zone.text(number)) is not None and text < "2026":
        assert of_zone.number_of(text) == number
        utc = of_zone.utc(number)
        assert utc is not None
        assert of_zone.number_of(utc) == number
        texts.append(text)
        number += 7 if step == "15 minutes" else 1
    moments = [datetime.fromisoformat(text).astimezone(UTC) for text in texts]
    assert all(earlier < later for earlier, later in pairwise(moments))
