"""A table in a file, of text (CSV) or Parquet: a header, and below it rows of cells as they are written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ostinato.errors import TableError
from ostinato.tables.parquet import is_parquet, parquet_records
from ostinato.tables.text import read_lines

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class TableRow(NamedTuple):
    """The cells of one row, without the space around them. ``line``: where it begins, counted from 1 as editors do."""

    line: int
    cells: list[str]


class NamedColumns(NamedTuple):
    """Some columns of a table. ``lines``: where each row begins; ``cells``: of each column, by its name."""

    lines: list[int]
    cells: dict[str, list[str]]


class Table:
    """A table in a file, plain or compressed, read anew each time that its rows are asked for.

    The delimiter is the one of ``,`` ``;`` tab ``|`` that cuts the header into most cells; of several, the first in
    this order. Quotes are ``"``, doubled within a cell. Blank lines are passed over, and so is a delimiter at the end
    of the header or of every row, and rows of nothing but delimiters at the end of the file.

    Of a Parquet file the columns are the header, and the rows are counted as if they were lines below it.

    Raises:
        InputError: the file cannot be read. TableError: its header cannot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_parquet = is_parquet(path)
        headers = {delimiter: header for delimiter in DELIMITERS if (header := self._try_header(delimiter)) is not None}
        if not headers:
            next(self._records(DELIMITERS[0]))  # raises what is wrong
        self.delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
        self.header = tuple(headers[self.delimiter])

    def __repr__(self) -> str:
        return f"<Table {self.path} {self.delimiter!r} {list(self.header)}>"

    def position(self, name: str) -> int:
        """Where a column's cells are in each row.

        Raises:
            TableError: there is no such column, or more than one.
        """
        if self.header.count(name) == 1:
            return self.header.index(name)
        if not self.header:
            raise TableError(f"{self.path}: has no column {name!r}; it is empty")
        if name in self.header:
            raise TableError(f"{self.path}: has more than one column {name!r}; give each a name of its own")
        names = ", ".join(map(repr, self.header))
        by = DELIMITER_NAMES[self.delimiter]
        near = "".join(f"; did you mean {word!r}?" for word in get_close_matches(name, self.header, 1))
        raise TableError(f"{self.path}: has no column {name!r}{near}; its columns, cut at {by}, are {names}")

    def rows(self) -> Iterator[TableRow]:
        """The rows below the header, one by one; those with nothing but delimiters at the end are passed over.

        Raises:
            InputError: the file cannot be read. TableError: a row has not as many cells as the header.
        """
        records = self._records(self.delimiter)
        next(records, None)
        width = num_columns = len(self.header)
        empty: list[TableRow] = []
        for number, row in enumerate(records):
            if number == 0 and self._ends_otherwise(row.cells):
                width = len(row.cells)
            if len(row.cells) != width or (width > num_columns and row.cells[-1]):
                raise self.fault(row.line, f"{len(row.cells)} cells, the header has {num_columns}")
            if width > 1 and not any(row.cells):
                empty.append(row)
                continue
            yield from empty
            empty.clear()
            yield row

    def columns(self, names: Sequence[str]) -> NamedColumns:
        """The columns of these names.

        Raises:
            InputError: the file cannot be read. TableError: a column is not there, or ``rows`` raises it.
        """
        lines: list[int] = []
        cells: dict[str, list[str]] = {name: [] for name in names}
        places = [(self.position(name), column) for name, column in cells.items()]
        for row in self.rows():
            lines.append(row.line)
            for position, column in places:
                column.append(row.cells[position])
        return NamedColumns(lines, cells)

    def fault(self, line: int, reason: object, column: str | None = None) -> TableError:
        """The error that names the file, the line, and the column where there is one."""
        return TableError(f"{self.path}: line {line}{'' if column is None else f', column {column!r}'}: {reason}")

    def _ends_otherwise(self, cells: Sequence[str]) -> bool:
        """Whether rows, like this first one, end in a delimiter and the header does not, or the other way round."""
        surplus = len(cells) - len(self.header)
        return (surplus == 1 and not cells[-1]) or (surplus == -1 and not self.header[-1])

    def _try_header(self, delimiter: str) -> list[str] | None:
        """The header as this delimiter cuts it; None = it does not."""
        try:
            return next(self._records(delimiter), TableRow(1, [])).cells
        except TableError:
            return None

    def _records(self, delimiter: str) -> Iterator[TableRow]:
        """Header and rows."""
        if self._is_parquet:
            yield from (TableRow(line, cells) for line, cells in enumerate(parquet_records(self.path), start=1))
            return
        text = ""

        def noted(line: str) -> str:
            nonlocal text
            text = line
            return line

        lines = map(noted, read_lines(self.path))
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        line = 1
        try:
            for cells in reader:
                # A blank line; a row whose only cell is empty is written as "".
                if len(cells) > 1 or not text.isspace():
                    yield TableRow(line, [cell.strip() for cell in cells])
                line = reader.line_num + 1
        except csv.Error as error:
            raise self.fault(line, f"its quotes cannot be read, or one is never closed: {error}") from error
