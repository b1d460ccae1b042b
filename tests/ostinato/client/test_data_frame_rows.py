from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ostinato.client.data_frame import GivenDataFrame
from ostinato.client.data_frame_rows import FrameRows
from ostinato.client.shapes import TensorShape
from ostinato.errors import InputError

MONTHS = {"month": ("1", "2", "12"), "wind": ("N", "SE")}


def shape(*features: str, **options: Any) -> TensorShape:
    return TensorShape.of({"name": "x", "shape": ["B", "T", len(features)], "features": features, **options})


def rows_of(frame: Any, time: str | None = None) -> FrameRows:
    return FrameRows(GivenDataFrame(frame), "id", time)


@pytest.mark.parametrize("months", [[12, 1], [12.0, 1.0], ["12", "01"], pd.Categorical([12, 1])])
def test_numbers_of_a_column_with_words_are_words(months: Any) -> None:
    frame = pd.DataFrame({"id": ["a", "a"], "wind": ["SE", "N"], "month": months})
    [made] = rows_of(frame).arrays([shape("month", "wind", categories=MONTHS)], "m")
    assert made.tolist() == [[2.0, 1.0], [0.0, 0.0]]


def test_words_that_stand_for_others_and_words_for_what_is_missing() -> None:
    frame = pl.DataFrame({"id": [1] * 4, "wind": ["SE", "calm", None, "-"]})
    part = shape("wind", categories={"wind": ["N", "SE"]}, unknown={"wind": "N"}, missing=True, missing_words=["-"])
    [made] = rows_of(frame).arrays([part], "m")
    np.testing.assert_array_equal(made[:, 0], [1.0, 0.0, np.nan, np.nan])


def test_a_missing_value_of_a_model_that_takes_none_is_told_by_row_and_column() -> None:
    for column in (pd.Series([1.0, np.nan]), pd.array([1, None], dtype="Int64")):
        with pytest.raises(InputError, match="row 1, column 'x': the value is missing"):
            rows_of(pd.DataFrame({"id": ["a", "a"], "x": column})).arrays([shape("x")], "m")


def test_whole_numbers_stay_exact() -> None:
    number = 2**53 + 1
    [made] = rows_of(pd.DataFrame({"id": ["a"], "x": [number]})).arrays([shape("x", dtype="int64")], "m")
    assert made.dtype == np.int64
    assert made.tolist() == [[number]]
    with pytest.raises(InputError, match=r"row 0, column 'x': 1\.5 is not a whole number"):
        rows_of(pd.DataFrame({"id": ["a"], "x": [1.5]})).arrays([shape("x", dtype="int64")], "m")


def test_rows_of_an_id_are_in_the_order_of_their_times_across_zones() -> None:
    times = ["2026-01-01T10:00:00+01:00", "2026-01-01T08:30:00Z", "2026-01-01T08:00:00Z"]
    rows = rows_of(pd.DataFrame({"id": ["a"] * 3, "at": times}), "at")
    assert rows.positions == {"a": [2, 1, 0]}
    mixed = pd.DataFrame({"id": ["a"] * 2, "at": ["2026-01-01T10:00:00+01:00", "2026-01-01T08:30:00"]})
    with pytest.raises(InputError, match="id 'a': some of its times have an offset"):
        rows_of(mixed, "at")


def test_the_hour_that_a_clock_shows_twice_is_two_hours() -> None:
    # Of one zone Python compares what the clock shows: 02:00 of winter would come before 02:30 of summer, and twice.
    berlin, fall_back = ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, tzinfo=UTC)
    times = [(fall_back + timedelta(minutes=30 * place)).astimezone(berlin) for place in (2, 1, 3, 0)]
    assert [f"{time:%H:%M%z}" for time in times] == ["02:00+0100", "02:30+0200", "02:30+0100", "02:00+0200"]
    for column in (pl.Series(times), np.array(times, object)):
        rows = rows_of(pl.DataFrame({"id": ["a"] * 4, "at": column}), "at")
        assert rows.positions == {"a": [3, 1, 0, 2]}
        assert [text[11:] for text in rows.moments() or ()] == [
            "02:00:00+01:00", "02:30:00+02:00", "02:30:00+01:00", "02:00:00+02:00",
        ]  # fmt: skip
    with pytest.raises(InputError, match="rows 0 and 1 are of the same time, 2026-10-25 02:00:00"):
        rows_of(pl.DataFrame({"id": ["a"] * 2, "at": pl.Series([times[0], times[0]])}), "at")


def test_numbers_are_ids_as_they_are_written() -> None:
    assert list(rows_of(pd.DataFrame({"id": [7.0, 8.0]})).positions) == ["7", "8"]


def test_two_columns_of_one_name_are_refused_where_they_are_asked_for() -> None:
    frame = pd.DataFrame([["a", 1.0, 2.0]], columns=["id", "x", "x"])
    with pytest.raises(InputError, match="more than one column 'x'"):
        rows_of(frame).arrays([shape("x")], "m")


@pytest.mark.parametrize("given", [pl.LazyFrame({"id": ["a"]}), {"id": ["a"]}, pd.Series(["a"]), [[1.0]]])
def test_what_is_no_frame_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="a data frame of pandas or polars is asked for"):
        GivenDataFrame(given)


def test_the_context_of_an_id_is_what_its_first_row_says() -> None:
    frame = pd.DataFrame({"id": ["b", "a", "b"], "height": [3.0, 4.0, 5.0], "at": [2, 1, 1]})
    part = TensorShape.of({"name": "site", "shape": ["B", 1], "features": ["height"]})
    assert rows_of(frame, "at").contexts([part], "m") == {"b": {"site": [5.0]}, "a": {"site": [4.0]}}
    assert rows_of(frame[["id"]]).contexts([part], "m") == {}
