from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ostinato.errors import TableError
from ostinato.tables.stamps import DAY, to_moment
from ostinato.tables.table import Table
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.time_forms import find_time_form
from ostinato.tables.timed_table import AxisRules

DAYS = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(60)]
MONTHS = [datetime(1990 + month // 12, month % 12 + 1, 1) for month in range(40)]


def moments(cells: list[str]) -> list[int]:
    form = find_time_form(cells)
    assert form is not None
    return [form.moment(cell) for cell in cells]


@pytest.mark.parametrize(
    "written",
    [
        *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%m/%d/%y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%d-%b-%y"),
        *("%B %d, %Y", "%a, %d %b %Y", "%-d/%-m/%Y", "%-m/%-d/%y"),
    ],
)
def test_days_are_read_in_the_order_that_makes_all_of_them_dates(written: str) -> None:
    assert moments([day.strftime(written) for day in DAYS]) == [to_moment(day) for day in DAYS]


@pytest.mark.parametrize(
    "written", ["%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%Y/%m/%d %-H:%M", "%d.%m.%Y, %H:%M:%S", "%d.%m.%Y %H:%M UTC"]
)
def test_a_time_of_day_may_stand_behind_a_date(written: str) -> None:
    times = [day + timedelta(hours=hour) for day in DAYS for hour in (0, 1, 12, 13, 23)]
    assert moments([time.strftime(written) for time in times]) == [to_moment(time) for time in times]


@pytest.mark.parametrize("written", ["%d/%m/%Y", "%m/%d/%Y"])
def test_where_no_number_is_above_12_the_order_whose_steps_are_regular_is_taken(written: str) -> None:
    assert moments([month.strftime(written) for month in MONTHS]) == [to_moment(month) for month in MONTHS]


def test_with_points_between_the_day_comes_first() -> None:
    assert moments(["01.02.2024", "03.02.2024"]) == [to_moment(datetime(2024, 2, 1)), to_moment(datetime(2024, 2, 3))]


def test_what_nothing_tells_has_no_form(tmp_path: Path) -> None:
    cells = ["03/04/2024", "05/06/2024", "07/11/2024"]
    assert find_time_form(cells) is None
    (tmp_path / "a.csv").write_text("when,x\n" + "".join(f"{cell},1\n" for cell in cells))
    times = TimeColumns(Table(tmp_path / "a.csv"), ["when"])
    with pytest.raises(TableError, match=r"line 2, column 'when': .* may be 2024-04-03 or 2024-03-04; write"):
        times.read([2, 3, 4], [[cell] for cell in cells])


@pytest.mark.parametrize(
    ("cells", "months", "first"),
    [
        (["2023Q4", "2024Q1"], 3, datetime(2023, 10, 1)),
        (["2023-Q4", "2024-Q1"], 3, datetime(2023, 10, 1)),
        (["Q4 2023", "Q1 2024"], 3, datetime(2023, 10, 1)),
        (["2023M12", "2024M01"], 1, datetime(2023, 12, 1)),
        (["202312", "202401"], 1, datetime(2023, 12, 1)),
        (["Dec 2023", "Jan 2024"], 1, datetime(2023, 12, 1)),
        (["Dec-68", "Jan-69"], None, datetime(2068, 12, 1)),
        (["1949.917", "1950.000"], 1, datetime(1949, 12, 1)),
        (["1949.0", "1950.0"], 12, datetime(1949, 1, 1)),
    ],
)
def test_months_quarters_and_years_are_their_first_day(cells: list[str], months: int | None, first: datetime) -> None:
    found = moments(cells)
    assert found[0] == to_moment(first)
    if months:
        assert found[1] == to_moment(first.replace(year=first.year + (first.month + months - 1) // 12, month=1))


@pytest.mark.parametrize(
    ("cells", "walls"),
    [(["0", "1", "2"], [0, 1, 2]), (["998", "1000", "1002"], [998, 1000, 1002]), (["7.0", "8.0"], [7, 8])],
)
def test_small_whole_numbers_are_numbers_of_steps(cells: list[str], walls: list[int]) -> None:
    form = find_time_form(cells)
    assert form is not None
    assert form.is_count
    assert moments(cells) == walls


def test_small_numbers_with_fractions_are_seconds() -> None:
    assert [moment - DAY for moment in moments(["0.00", "0.02", "0.04"])] == [0, 20_000, 40_000]


def test_a_cell_that_is_written_otherwise_is_refused_with_its_line(tmp_path: Path) -> None:
    cells = [day.strftime("%d/%m/%Y") for day in DAYS]
    cells[40] = "02/31/2024"
    (tmp_path / "a.csv").write_text("when,x\n" + "".join(f"{cell},1\n" for cell in cells))
    times = TimeColumns(Table(tmp_path / "a.csv"), ["when"])
    with pytest.raises(TableError, match="line 42, column 'when': 02/31/2024 is not a time: 31 is no month; in the"):
        times.read(range(2, 62), [[cell] for cell in cells])


def test_numbered_steps_that_are_absent_are_put_in_and_told_by_number(tmp_path: Path) -> None:
    numbers = [0, 2, 4, 8, 10, 12]
    (tmp_path / "a.csv").write_text("t,x\n" + "".join(f"{number},1\n" for number in numbers))
    times = TimeColumns(Table(tmp_path / "a.csv"), ["t"])
    axis = times.read(range(2, 8), [[str(number)] for number in numbers]).lay_out(AxisRules())
    assert [step.wall for step in axis.steps] == [0, 2, 4, 6, 8, 10, 12]
    assert str(axis.step) == "2 steps"
    assert "1 of 7 steps of 2 steps has no row, in 1 gap, the first after line 4, 6;" in axis.all_notes()[0]
    again = times.read(range(2, 4), [["4"], ["2"]])
    with pytest.raises(TableError, match=r"line 3: 2 comes before|line 3: 2 does not come after"):
        again.lay_out(AxisRules())
