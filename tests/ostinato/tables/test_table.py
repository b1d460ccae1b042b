from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.errors import TableError
from ostinato.tables.table import Table

WriteTable = Callable[[str], Path]
Rows = list[tuple[int, list[str]]]


@pytest.fixture
def write(tmp_path: Path) -> WriteTable:
    def write_table(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write_table


def read(path: Path) -> Rows:
    return [(row.line, row.cells) for row in Table(path).rows()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(delimiter: str, write: WriteTable) -> None:
    table = Table(write("a,b,c\n1,2,3\n".replace(",", delimiter)))
    assert (table.delimiter, table.header) == (delimiter, ("a", "b", "c"))
    assert [row.cells for row in table.rows()] == [["1", "2", "3"]]


@pytest.mark.parametrize(
    ("text", "header", "cells"),
    [
        ('"a, b, c";d\n1;2\n', ("a, b, c", "d"), ["1", "2"]),  # what is in quotes does not count
        ("a;b\nx,y;2\n", ("a", "b"), ["x,y", "2"]),  # nor what is in the rows
        ("a\n1;2\n", ("a",), ["1;2"]),
    ],
)
def test_the_delimiter_is_what_cuts_the_header_into_most_cells(
    text: str, header: tuple[str, ...], cells: list[str], write: WriteTable
) -> None:
    table = Table(write(text))
    assert (table.header, next(table.rows()).cells) == (header, cells)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_are_numbered_by_the_line_of_the_file_that_they_begin_in(end: str, write: WriteTable) -> None:
    # 1, 2 blank; 3 header; 4 blank; 5 and 6 a row with a line break in quotes; 7 blank; 8 the last row.
    text = '\n  \na,b\n\n"x\ny",1\n\t\nz,2\n'.replace("\n", end)
    assert read(write(text)) == [(5, [f"x{end}y", "1"]), (8, ["z", "2"])]


def test_cells_lose_the_space_around_them_and_quotes_are_doubled_within_them(write: WriteTable) -> None:
    assert read(write(' a , "b"\n 1 , "say ""so"", twice"\n')) == [(2, ["1", 'say "so", twice'])]


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n", "a,b\n1,2,\n", "a,b,\n1,2\n"])
def test_a_delimiter_at_the_end_of_the_lines_makes_no_column(text: str, write: WriteTable) -> None:
    columns = Table(write(text)).columns(["a", "b"])
    assert (columns.lines, columns.cells) == ([2], {"a": ["1"], "b": ["2"]})


def test_an_empty_cell_of_the_only_column_is_a_row_and_a_blank_line_is_none(write: WriteTable) -> None:
    assert read(write('a\n""\n\n1\n')) == [(2, [""]), (4, ["1"])]


def test_rows_of_nothing_but_delimiters_count_unless_they_are_the_last(write: WriteTable) -> None:
    assert read(write("a,b\n1,2\n,\n,\n3,4\n,\n")) == [(2, ["1", "2"]), (3, ["", ""]), (4, ["", ""]), (5, ["3", "4"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n\n1,2\n1\n", "line 4: 1 cells, the header has 2"),
        ('a,b\n"x\ny",1\n1,2,3\n', "line 4: 3 cells, the header has 2"),
        ("a,b\n1,2\n1,5,\n", "line 3: 3 cells, the header has 2"),  # a decimal comma, and no delimiter at the end
        ("a,b\n1,2,\n1,2,3\n", "line 3: 3 cells, the header has 2"),
        ('a,b\n1,"2\n3,4\n', "line 2: its quotes cannot be read, or one is never closed"),
        ('a,b\n1,2\n"x"y,4\n', "line 3: its quotes cannot be read"),
        ('\n"a,b\n1,2\n', "line 2: its quotes cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line(text: str, message: str, write: WriteTable) -> None:
    with pytest.raises(TableError) as raised:
        read(write(text))
    assert str(raised.value).startswith(f"{write(text)}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aa;A\n", r"has no column 'a'; did you mean 'aa'\?; its columns, cut at semicolons, are 'aa', 'A'"),
        ("b;c\n", "has no column 'a'; its columns, cut at semicolons, are 'b', 'c'"),
        ("a,b, a\n", "has more than one column 'a'"),
        ("", "has no column 'a'; it is empty"),
        ("\n\n", "has no column 'a'; it is empty"),
    ],
)
def test_a_column_that_is_absent_or_there_twice_is_named(text: str, message: str, write: WriteTable) -> None:
    with pytest.raises(TableError, match=message):
        Table(write(text)).columns(["a"])


def test_a_name_that_is_there_twice_does_no_harm_to_the_others(write: WriteTable) -> None:
    assert Table(write("x,x,a\n1,2,3\n")).columns(["a"]).cells == {"a": ["3"]}


def test_a_header_alone_has_no_rows(write: WriteTable) -> None:
    assert read(write("a,b\n")) == read(write("a,b")) == []


def test_rows_are_read_one_by_one(write: WriteTable) -> None:
    rows = Table(write("a\n1\n2\n" + '"never closed\n')).rows()
    assert [next(rows).cells, next(rows).cells] == [["1"], ["2"]]
