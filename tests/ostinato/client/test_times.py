from __future__ import annotations

import importlib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest

from ostinato.client.times import place_of, times_of, to_texts
from ostinato.errors import InputError

pd: Any = importlib.import_module("pandas")  # which has no types
TEN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        (TEN, "2026-01-01T10:00:00+00:00"),
        (TEN.astimezone(timezone(timedelta(hours=5, minutes=45))), "2026-01-01T15:45:00+05:45"),
        (datetime(2026, 1, 1, 10), "2026-01-01T10:00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (np.datetime64("2026-01-01T10:00", "h"), "2026-01-01T10:00:00.000000"),
        (np.array("2026-01-01T10:00", "datetime64[ns]"), "2026-01-01T10:00:00.000000"),
        (pd.Timestamp(TEN), "2026-01-01T10:00:00+00:00"),
    ],
)
def test_one_time_is_a_text(at: Any, text: str) -> None:
    assert to_texts(at) == text


HOURS = [TEN, TEN + timedelta(hours=1)]
ZONED = ["2026-01-01T10:00:00+00:00", "2026-01-01T11:00:00+00:00"]


@pytest.mark.parametrize(
    "at",
    [
        HOURS,
        tuple(HOURS),
        pd.Series(HOURS),
        pd.DatetimeIndex(HOURS),
        pl.Series(HOURS, dtype=pl.Datetime("us", "UTC")),
        np.array(HOURS, object),
    ],
)
def test_several_are_texts(at: Any) -> None:
    assert to_texts(at) == ZONED


def test_numpys_have_no_offset_and_what_is_absent_stays_so() -> None:
    at = np.array(["2026-01-01T10", "NaT"], "datetime64[s]")
    assert to_texts(at) == ["2026-01-01T10:00:00.000000", None]
    assert to_texts([None, pd.NaT, TEN]) == [None, None, ZONED[0]]


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (10, "no time"),
        ([10.5], "no time"),
        (np.datetime64("NaT"), "NaT"),
        (np.datetime64(1, "ns"), "finer"),
        (pd.Timestamp(1), "finer"),
    ],
)
def test_what_is_no_time_is_refused(at: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        to_texts(at)


def test_a_chunk_says_either_how_many_steps_come_before_or_when_it_was() -> None:
    assert place_of(3, None) == {"seq": 3}
    assert place_of(3, TEN) == {"at": ZONED[0]}
    assert times_of([ZONED[0], None]) == (TEN, None)
