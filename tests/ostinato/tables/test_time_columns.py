from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from ostinato.errors import TableError
from ostinato.tables.stamps import to_moment
from ostinato.tables.table import Table
from ostinato.tables.time_columns import TimeColumns, calendar_cell

CALENDAR = ("year", "month", "day", "hour")


def columns(tmp_path: Path, header: str, *names: str) -> TimeColumns:
    (tmp_path / "table.csv").write_text(header + "\n")
    return TimeColumns(Table(tmp_path / "table.csv"), names)


def test_a_fault_names_the_line_and_all_columns(tmp_path: Path) -> None:
    times = columns(tmp_path, "year,month,day,hour", *CALENDAR)
    with pytest.raises(
        TableError, match=r"table\.csv: line 7, column 'year', 'month', 'day', 'hour': 2024, 13, 1, 0 is not"
    ):
        times.read([6, 7], [["2024", "12", "1", "0"], ["2024", "13", "1", "0"]])
    with pytest.raises(TableError, match=r"line 2, column 'year', .*'x' is not a whole number"):
        times.read([2], [["2024", "x", "1", "0"]])


def test_columns_must_be_there_and_tell_a_time(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no column 'time'"):
        columns(tmp_path, "stamp,x", "time")
    with pytest.raises(TableError, match="2 columns tell no time; name one, or year, month, day, hour"):
        columns(tmp_path, "day,hour", "day", "hour")


def test_a_calendar_tells_its_own_cells_of_a_time() -> None:
    wall = to_moment(datetime(2024, 3, 1, 7))
    assert [calendar_cell(CALENDAR, name, wall) for name in ("hour", "month", "load")] == ["7", "3", None]
    assert calendar_cell(("jahr", "monat", "tag"), "tag", wall) == "1"
    assert calendar_cell(("hour",), "hour", wall) is None
