from __future__ import annotations

from datetime import datetime

import pytest

from ostinato.tables.stamps import Stamp, StampReader, to_datetime, to_moment


def clock(*parts: int) -> int:
    return to_moment(datetime(*parts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cells", "wall"),
    [
        (["2024-03-01"], clock(2024, 3, 1)),
        (["20240301"], clock(2024, 3, 1)),
        (["2024-03-01 05:00"], clock(2024, 3, 1, 5)),
        (["2024-03-01T05:00:00.25"], clock(2024, 3, 1, 5, 0, 0, 250_000)),
        (["2024-03-01T05:00:00.000001000"], clock(2024, 3, 1, 5, 0, 0, 1)),
        (["2024-03"], clock(2024, 3, 1)),
        (["2024"], clock(2024, 1, 1)),
        (["1709269200"], clock(2024, 3, 1, 5)),
        (["-1709269200"], clock(1970, 1, 1) - 1_709_269_200 * 1_000_000),
        (["1709269200.5"], clock(2024, 3, 1, 5, 0, 0, 500_000)),
        (["1709269200001"], clock(2024, 3, 1, 5, 0, 0, 1000)),
        (["1709269200000001"], clock(2024, 3, 1, 5, 0, 0, 1)),
        (["1709269200000001000"], clock(2024, 3, 1, 5, 0, 0, 1)),
        (["2024", "3", "01"], clock(2024, 3, 1)),
        (["2024", "03", "1", "5", "6", "7"], clock(2024, 3, 1, 5, 6, 7)),
        (["2024.0", "3.0", "1.0"], clock(2024, 3, 1)),
    ],
)
def test_a_stamp_is_the_moment_that_is_written(cells: list[str], wall: int) -> None:
    assert StampReader().read(2, cells) == Stamp(wall, wall)


def test_an_offset_tells_the_moment_and_what_the_clock_showed() -> None:
    reader = StampReader()
    assert reader.read(2, ["2024-03-01T05:00+02:00"]) == Stamp(clock(2024, 3, 1, 3), clock(2024, 3, 1, 5))
    assert reader.has_offsets
    reader = StampReader()
    reader.read(2, ["2024-03-01T05:00"])
    assert not reader.has_offsets


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("03/04/2024 10:00", "it may be 2024-04-03 or 2024-03-04; write it as ISO 8601"),
        ("31/12/2024", "its day comes first; write it as ISO 8601: 2024-12-31"),
        ("12/31/2024", "its month comes first; write it as ISO 8601: 2024-12-31"),
        ("7.7.2024", "write it as ISO 8601: 2024-07-07"),
        ("1/2/24", "its year has two digits"),
        ("2024/1/3 5:00", "write it as ISO 8601: 2024-01-03"),
        ("2024-01-01 10:00 CET", "after the date, ISO 8601 has a time as 17:00 or 17:00:00 and an offset from UTC"),
        ("2024-01-01 10:61", "10:61 is not a time: minute must be in 0..59"),
        ("2024-01-01T00:00:00.0000001", "finer than a microsecond"),
        ("1709269200000000001", "finer than a microsecond"),
        ("17", "as a number it would be seconds"),
        ("1.709269200e+09", "is not a time: as a number since 1970 it is written without an exponent"),
        ("yesterday", "yesterday is not a time"),
        ("2024-02-30", "2024-02-30 is not a time: "),
        ("", "the row has no time"),
    ],
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        StampReader().read(2, [text])


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("2024-01-01T00:00", "2024-01-01T01:00Z", "with an offset from UTC, and line 2 has a time without an offset"),
        ("2024-01-01T00:00Z", "2024-01-01T01:00", "without an offset from UTC, and line 2 has a time with an offset"),
        ("1709269200", "1709269200001", "milliseconds since 1970, and line 2 has seconds since 1970"),
        ("1709269200", "2024-03-01", "write all times of a table in one way"),
    ],
)
def test_times_written_in_two_ways_are_refused_with_both_lines(first: str, second: str, reason: str) -> None:
    reader = StampReader()
    reader.read(2, [first])
    with pytest.raises(ValueError, match=reason):
        reader.read(3, [second])


def test_a_date_among_dates_with_hours_is_its_midnight() -> None:
    reader = StampReader()
    assert [reader.read(2, [text]).wall for text in ("2024-03-01", "2024-03-01 01:00")] == [
        clock(2024, 3, 1),
        clock(2024, 3, 1, 1),
    ]


def test_moments_and_dates_are_turned_into_each_other() -> None:
    time = datetime(1816, 7, 1, 12, 0, 0, 7)
    assert to_datetime(to_moment(time)) == time
