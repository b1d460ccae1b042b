from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.errors import TableError
from ostinato.tables.table import Table


def table(tmp_path: Path, text: str, *, as_written: bool = False) -> Table:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    return Table(tmp_path / "a.csv", as_written=as_written)


@pytest.mark.parametrize(
    ("above", "line"),
    [("sep=;\n", 3), ("\ufeffsep=;\r\n", 3), ("# station 7\n# units: m, kg\n", 4), ("Sales of 2023\n\n", 4), ("", 2)],
)
def test_what_stands_above_the_header_is_passed_over(tmp_path: Path, above: str, line: int) -> None:
    found = table(tmp_path, f"{above}day;sold;left\n1;2;3\n")
    assert found.header == ("day", "sold", "left")
    assert [(row.line, row.cells) for row in found.rows()] == [(line, ["1", "2", "3"])]


def test_the_delimiter_that_excel_tells_is_taken(tmp_path: Path) -> None:
    found = table(tmp_path, "sep=:\na,x:b\n1,5:2\n", as_written=True)
    assert (found.header, next(found.rows()).cells) == (("a,x", "b"), ["1,5", "2"])


def test_spaces_cut_where_nothing_else_does_and_all_lines_alike(tmp_path: Path) -> None:
    found = table(tmp_path, "year   x  y\n1900  1.5   2\n1901 -3     4\n")
    assert (found.header, found.delimiter) == (("year", "x", "y"), " ")
    assert [row.cells for row in found.rows()] == [["1900", "1.5", "2"], ["1901", "-3", "4"]]
    assert table(tmp_path, "the name\nof each one\n").header == ("the name",)
    assert table(tmp_path, "the name\nof one\n", as_written=True).header == ("the name",)


def test_a_header_with_a_mark_is_one(tmp_path: Path) -> None:
    assert table(tmp_path, "#date,x\n2024-01-01,1\n").header == ("#date", "x")


@pytest.mark.parametrize("first", ["1,2.5", "2024-01-01,7", "0,0,5,13"])
def test_a_first_row_of_numbers_is_a_row(tmp_path: Path, first: str) -> None:
    found = table(tmp_path, f"{first}\n{first}\n")
    assert found.header == tuple(str(place + 1) for place in range(first.count(",") + 1))
    assert [row.line for row in found.rows()] == [1, 2]
    assert table(tmp_path, f"{first}\n", as_written=True).header == tuple(first.split(","))


@pytest.mark.parametrize("header", ["0,1,2,3", "1,2", "date,1,2", "x"])
def test_numbers_that_count_on_are_names(tmp_path: Path, header: str) -> None:
    assert table(tmp_path, f"{header}\n").header == tuple(header.split(","))


def test_an_index_without_a_name_gets_one(tmp_path: Path) -> None:
    assert table(tmp_path, ",x\n0,1\n").header == ("index", "x")
    assert table(tmp_path, ",0\n1821,269\n").header == ("index", "0")


@pytest.mark.parametrize("below", ["Total,7,8\n", "\n\nSource: my company\n", ",,\nSumme:,1,2\nAverage,1,1\n"])
def test_totals_and_remarks_below_the_last_row_are_passed_over_and_told(tmp_path: Path, below: str) -> None:
    found = table(tmp_path, f"day,a,b\n1,2,3\n{below}")
    assert [row.cells for row in found.rows()] == [["1", "2", "3"]]
    assert all("is below the last row, and passed over" in note for note in found.notes)
    assert "line" in found.notes[0]
    assert found.columns(["a"]).notes == found.notes


@pytest.mark.parametrize("last", ["Total,NOUN,3", "Sum,,", "mean,x,1"])
def test_a_last_row_with_other_words_or_nothing_behind_it_is_no_total(tmp_path: Path, last: str) -> None:
    assert len(list(table(tmp_path, f"word,tag,n\na,b,1\n{last}\n").rows())) == 2


def test_a_total_among_the_rows_is_a_row_and_a_remark_is_refused(tmp_path: Path) -> None:
    assert len(list(table(tmp_path, "day,a\nTotal,7\n2,3\n").rows())) == 2
    with pytest.raises(TableError, match="line 2: 1 cells, the header has 2"):
        list(table(tmp_path, "day,a\na remark here\n2,3\n").rows())


@pytest.mark.parametrize("last", ["2024-01-03", "7", "shop-b"])
def test_a_row_that_was_cut_off_is_no_remark(tmp_path: Path, last: str) -> None:
    with pytest.raises(TableError, match="line 3: 1 cells, the header has 2"):
        list(table(tmp_path, f"day,a\n1,2\n{last}").rows())
