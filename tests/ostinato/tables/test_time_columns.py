from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from ostinato.errors import TableError
from ostinato.tables.stamps import to_moment
from ostinato.tables.table import Table
from ostinato.tables.time_columns import TimeColumns, calendar_cell
from ostinato.tables.timed_table import AxisRules

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


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (["2024013122", "2024013123", "2024020100"], "2024013122 may be 2024-01-31 22:00 or a number since 1970"),
        (["202401312230", "202401312245"], "202401312230 may be 2024-01-31 22:30 or a number since 1970"),
        (["20240131223000", "20240131223015"], "20240131223000 may be 2024-01-31 22:30:00 or a number since 1970"),
    ],
)
def test_dates_whose_hours_follow_without_a_mark_are_not_taken_for_seconds(
    cells: list[str], written: str, tmp_path: Path
) -> None:
    times = columns(tmp_path, "time,x", "time")
    with pytest.raises(TableError, match=rf"table\.csv: line 2, column 'time': {written}"):
        times.read(range(2, 2 + len(cells)), [[cell] for cell in cells])


def test_seconds_since_1970_may_look_like_dates_where_not_all_of_them_do(tmp_path: Path) -> None:
    # Of 2030 and later; the first is an hour on the 21st of December 2019, too.
    read = columns(tmp_path, "time,x", "time").read(range(2, 6), [[str(2019122120 + 10 * row)] for row in range(4)])
    axis = read.lay_out(AxisRules())
    assert (str(axis.step), len(axis.steps)) == ("10 seconds", 4)
