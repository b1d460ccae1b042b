"""A table in a file, of text (CSV), Parquet or JSON: a header, and below it rows of cells as they are written."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ostinato.errors import InputError, TableError
from ostinato.tables.json_lines import is_json, json_records
from ostinato.tables.number_forms import Rewrite, find_number_forms
from ostinato.tables.openings import are_spaced, find_preamble, has_names, has_words, is_total
from ostinato.tables.parquet import is_parquet, parquet_records
from ostinato.tables.text import read_lines

DELIMITERS = (",", ";", "\t", "|")
_OPENING = 40
# So many rows tell how numbers are written.
_LOOKED_AT = 2000
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}


class TableRow(NamedTuple):
    """The cells of one row, without the space around them. ``line``: where it begins, counted from 1 as editors do."""

    line: int
    cells: list[str]


class NamedColumns(NamedTuple):
    """Some columns of a table. ``lines``: where each row begins; ``cells``: of each column, by its name.

    ``notes``: what was passed over at the end of the file.
    """

    lines: list[int]
    cells: dict[str, list[str]]
    notes: tuple[str, ...] = ()


class Table:
    """A table in a file, plain or compressed, read again each time that its rows are asked for.

    The delimiter is the one of ``,`` ``;`` tab ``|`` that cuts the header into most cells; of several, the first in
    this order. Quotes are ``"``, doubled within a cell. Blank lines are passed over, and so is a delimiter at the end
    of the header or of every row, and rows of nothing but delimiters at the end of the file.

    Of a Parquet file the columns are the header, and the rows are counted as if they were lines below it. In JSON a row
    is an object.

    What is above the header (``sep=;``, comments, a title) is passed over, and so are totals and remarks below the
    last row; a first row of numbers alone is no header, and the columns are then called ``1``, ``2``, ... Numbers with
    a decimal comma, separators of thousands or the sign of a currency become plain ones.

    Args:
        as_written: of a table of text and not of numbers: nothing of the last paragraph is done.

    Raises:
        InputError: the file cannot be read. TableError: its header cannot.
    """

    def __init__(self, path: Path, *, as_written: bool = False) -> None:
        self.path = path
        self.as_written = as_written
        self._is_parquet, self._is_json = is_parquet(path), is_json(path)
        self._num_above = 0
        headers = self._headers()
        if not headers:
            next(self._records(DELIMITERS[0]))  # raises what is wrong
        self.delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
        header = headers[self.delimiter]
        self.has_header = as_written or self._is_parquet or self._is_json or has_names(header)
        if not self.has_header:
            header = [str(place) for place in range(1, len(header) + 1)]
        elif not as_written and len(header) > 1 and not header[0] and "index" not in header:
            # As pandas writes the index.
            header = ["index", *header[1:]]
        self.header = tuple(header)
        self.notes: tuple[str, ...] = ()

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
        by = DELIMITER_NAMES.get(self.delimiter, repr(self.delimiter))
        near = "".join(f"; did you mean {word!r}?" for word in get_close_matches(name, self.header, 1))
        raise TableError(f"{self.path}: has no column {name!r}{near}; its columns, cut at {by}, are {names}")

    def rows(self) -> Iterator[TableRow]:
        """The rows below the header, one by one; those with nothing but delimiters at the end are passed over.

        Raises:
            InputError: the file cannot be read. TableError: a row has not as many cells as the header.
        """
        forms = self._forms
        for row in self._rows():
            if forms is not None:
                for place, form in forms:
                    row.cells[place] = form(row.cells[place])
            yield row

    def _rows(self) -> Iterator[TableRow]:
        records = self._records(self.delimiter)
        if self.has_header:
            next(records, None)
        width = num_columns = len(self.header)
        held: list[TableRow] = []
        for number, row in enumerate(records):
            if number == 0 and self._ends_otherwise(row.cells):
                width = len(row.cells)
            is_remark = not self.as_written and len(row.cells) == 1 < num_columns and has_words(row.cells[0])
            if not is_remark and (len(row.cells) != width or (width > num_columns and row.cells[-1])):
                raise self.fault(row.line, f"{len(row.cells)} cells, the header has {num_columns}")
            if is_remark or (width > 1 and not any(row.cells)) or (not self.as_written and is_total(row.cells)):
                held.append(row)
                continue
            for before in held:
                if len(before.cells) != width:
                    raise self.fault(before.line, f"{len(before.cells)} cells, the header has {num_columns}")
                yield before
            held.clear()
            yield row
        self.notes = tuple(
            f"line {row.line}, {next(filter(None, row.cells))[:40]!r}, is below the last row, and passed over"
            for row in held
            if any(row.cells)
        )

    @cached_property
    def _forms(self) -> list[tuple[int, Rewrite]] | None:
        """The columns whose cells are written anew, and how; None = there are none."""
        if self.as_written or self._is_parquet or self._is_json:
            return None
        rows: list[list[str]] = []
        with contextlib.suppress(InputError):  # which is raised where the row is asked for
            rows += (row.cells for row in islice(self._rows(), _LOOKED_AT))
        columns = [[cells[place] for cells in rows if place < len(cells)] for place in range(len(self.header))]
        forms = enumerate(find_number_forms(columns, self.delimiter))
        return [(place, form) for place, form in forms if form is not None] or None

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
        return NamedColumns(lines, cells, self.notes)

    def fault(self, line: int, reason: object, column: str | None = None) -> TableError:
        """The error that names the file, the line, and the column where there is one."""
        return TableError(f"{self.path}: line {line}{'' if column is None else f', column {column!r}'}: {reason}")

    def _ends_otherwise(self, cells: Sequence[str]) -> bool:
        """Whether rows, like this first one, end in a delimiter and the header does not, or the other way round."""
        surplus = len(cells) - len(self.header)
        return (surplus == 1 and not cells[-1]) or (surplus == -1 and not self.header[-1])

    def _headers(self) -> dict[str, list[str]]:
        """The header as each delimiter cuts it that can."""
        delimiters: Sequence[str] = DELIMITERS
        if not (self._is_parquet or self._is_json):
            first = list(islice(read_lines(self.path), _OPENING))
            preamble = find_preamble(first, DELIMITERS)
            if preamble.delimiter or not self.as_written:
                self._num_above = preamble.num_lines
            if preamble.delimiter:
                delimiters = (preamble.delimiter,)
            elif not self.as_written and are_spaced(first[self._num_above :], DELIMITERS):
                delimiters = (" ",)
        return {one: header for one in delimiters if (header := self._try_header(one)) is not None}

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
        if self._is_json:
            yield from (TableRow(line, cells) for line, cells in json_records(self.path))
            return
        text = ""

        def noted(line: str) -> str:
            nonlocal text
            text = line
            return line

        lines = map(noted, islice(read_lines(self.path), self._num_above, None))
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        line = 1 + self._num_above
        try:
            for cells in reader:
                # A blank line; a row whose only cell is empty is written as "".
                if len(cells) > 1 or not text.isspace():
                    yield TableRow(line, [cell.strip() for cell in cells])
                line = reader.line_num + 1 + self._num_above
        except csv.Error as error:
            raise self.fault(line, f"its quotes cannot be read, or one is never closed: {error}") from error
