from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ostinato.tables.repeats import SeriesColumn, find_series_column
from ostinato.tables.table import Table


def table(tmp_path: Path, rows: Sequence[tuple[str, ...]], header: str = "day,town,wind,load") -> Table:
    path = tmp_path / "table.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]))
    return Table(path)


BY_TOWN = [("1", "Oslo", "N", "3"), ("2", "Oslo", "N", "4"), ("1", "Rome", "N", "5"), ("2", "Rome", "S", "3")]


@pytest.mark.parametrize("rows", [BY_TOWN, sorted(BY_TOWN)])
def test_the_column_with_which_each_time_stands_once_tells_series_apart(
    rows: list[tuple[str, ...]], tmp_path: Path
) -> None:
    assert find_series_column(table(tmp_path, rows), [0]) == SeriesColumn("town", ("Oslo", "Rome"))


def test_amounts_that_hardly_repeat_tell_no_series_apart(tmp_path: Path) -> None:
    rows = [(day, "Oslo", "N", str(number)) for number, day in enumerate("112233")]
    assert find_series_column(table(tmp_path, rows), [0]) is None


def test_of_several_columns_the_one_with_fewest_series_counts(tmp_path: Path) -> None:
    rows = [(day, town, gauge, "0") for town, gauge in [("Oslo", "a"), ("Rome", "b")] for day in "12345678"]
    rows = [(day, town, f"{gauge}{int(day) // 5}", load) for day, town, gauge, load in rows]
    assert find_series_column(table(tmp_path, rows), [0]) == SeriesColumn("town", ("Oslo", "Rome"))
