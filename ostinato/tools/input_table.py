"""Rows of a table as steps of a model's input: columns found by name, words as codes, missing values as None."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ostinato.errors import TableError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.table import Table, TableRow

TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "ds")
CALENDAR_COLUMNS = ("year", "month", "day", "hour", "minute")


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row as a step ``[F]``; None = missing. ``line``: of the file, ``number``: of the row; both count from 1."""

    line: int
    number: int
    label: str
    inputs: list[float | None]


@dataclass(frozen=True)
class InputRows:
    """Rows to send.

    Attributes:
        num_ahead: how many of them lie ahead of the first that was asked for.
        warnings: sentences about words that the model does not know, one for each column that has any.
    """

    rows: list[InputRow]
    num_ahead: int
    warnings: list[str]


class InputTable:
    """A table read for the input of one model; training reads its own by the same rules.

    Args:
        model_input: the input's entry in the manifest.
        renamed: feature -> the column that holds it, where that has another name.

    Raises:
        InputError: the file cannot be read. TableError: it lacks a column.
    """

    def __init__(self, path: Path, model_input: Mapping[str, Any], renamed: Mapping[str, str] | None = None) -> None:
        self.table = Table(path)
        self._columns = _find_columns(self.table, model_input, dict(renamed or {}))
        self._label_positions = _label_positions(self.table.header)

    def read(self, *, first: str = "", before: int = 0, limit: int | None = None) -> InputRows:
        """The rows from ``first`` on, at most ``limit``, and up to ``before`` rows ahead of them.

        Args:
            first: a row's number, counted from 1, or a time where the table has times; empty = the first row.

        Raises:
            InputError: the file cannot be read. TableError: a cell cannot (only those of the rows asked for are looked
                at), or there is no such row.
        """
        is_first = self._begins(first)
        ahead: deque[tuple[int, TableRow]] = deque(maxlen=before)
        rows: list[InputRow] = []
        unknown: dict[str, _UnknownWords] = {}
        num_rows = num_ahead = 0
        for number, row in enumerate(self.table.rows(), start=1):
            num_rows = number
            if not rows and not is_first(number, row):
                ahead.append((number, row))
                continue
            if limit is not None and len(rows) - num_ahead >= limit:
                break
            if not rows:
                num_ahead = len(ahead)
                rows += [self._input_row(*each, unknown) for each in ahead]
            rows.append(self._input_row(number, row, unknown))
        if not rows:
            raise TableError(
                f"{self.table.path}: there is no row from {first or 'the first'} on; the file has {num_rows}"
            )
        return InputRows(rows, num_ahead, [words.sentence(name) for name, words in unknown.items()])

    def _begins(self, first: str) -> Callable[[int, TableRow], bool]:
        """Whether the rows asked for begin with a row of this number."""
        if first.isdecimal() or not first:
            first_number = int(first or 1)
            return lambda number, _row: number >= first_number
        try:
            wanted = datetime.fromisoformat(first)
        except ValueError as error:
            raise TableError(f"--from {first!r}: that is neither a row's number nor a time as 2014-12-01") from error
        if not self._label_positions:
            raise TableError(
                f"{self.table.path}: no column is called {', '.join(TIME_COLUMNS)} or year, month, day; "
                "give a row's number"
            )
        return lambda _number, row: self._is_due(row, wanted)

    def _is_due(self, row: TableRow, wanted: datetime) -> bool:
        label = self._label(row.cells)
        try:
            time = datetime.fromisoformat(label)
        except ValueError as error:
            raise self.table.fault(row.line, f"{label!r} is no time; give a row's number") from error
        if time.tzinfo and wanted.tzinfo:
            return time >= wanted
        # Where one has no zone, both are of one clock.
        return time.replace(tzinfo=UTC) >= wanted.replace(tzinfo=UTC)

    def _input_row(self, number: int, row: TableRow, unknown: dict[str, _UnknownWords]) -> InputRow:
        inputs = []
        for column in self._columns:
            text = row.cells[column.position]
            try:
                value = column.reader.number(text)
                if value is None and column.reader.is_unknown(text):
                    if not column.may_miss:
                        words = ", ".join(column.words)
                        raise ValueError(f"{text!r} is none of the words that the model knows: {words}")
                    unknown.setdefault(column.name, _UnknownWords(text, row.line)).num_cells += 1
                elif value is None and not column.may_miss:
                    raise ValueError("the value is missing, and the model takes no missing values")
            except ValueError as error:
                raise self.table.fault(row.line, error, column.name) from error
            inputs.append(value)
        return InputRow(row.line, number, self._label(row.cells) or str(number), inputs)

    def _label(self, cells: Sequence[str]) -> str:
        words = [cells[position] for position in self._label_positions]
        if len(words) < 3 or not all(word.isdecimal() for word in words):
            return " ".join(words)
        date = "-".join([words[0], *(word.zfill(2) for word in words[1:3])])
        if len(words) == 3:
            return date
        return f"{date} {words[3].zfill(2)}:{(words[4] if len(words) > 4 else '0').zfill(2)}"


@dataclass(frozen=True)
class _InputColumn:
    """Where the cells of an input feature are, and how they are read."""

    name: str
    position: int
    words: tuple[str, ...]
    may_miss: bool
    reader: CellReader


@dataclass
class _UnknownWords:
    """Cells of one column with words that the model does not know; the first of them, and its line."""

    first: str
    line: int
    num_cells: int = 0

    def sentence(self, name: str) -> str:
        hold = "cell holds a word" if self.num_cells == 1 else "cells hold words"
        return (
            f"column {name!r}: {self.num_cells:,} {hold} that the model does not know, as {self.first!r} in line "
            f"{self.line}; to the model they are missing values, as in its training"
        )


def _find_columns(table: Table, model_input: Mapping[str, Any], renamed: dict[str, str]) -> list[_InputColumn]:
    features: list[str] = model_input["features"]
    if unknown := [feature for feature in renamed if feature not in features]:
        raise TableError(f"{unknown[0]!r} is no input of the model; its inputs are {', '.join(features)}")
    missing = model_input.get("missing_words")
    columns = []
    for feature in features:
        name = renamed.get(feature, feature)
        try:
            position = table.position(name)
        except TableError as error:
            raise TableError(f"{error}. --column '{feature}=NAME' says which column holds {feature!r}") from error
        words = tuple(model_input.get("categories", {}).get(feature, ()))
        reader = CellReader(words, MISSING_WORDS if missing is None else missing, model_input.get("dtype", "float32"))
        columns.append(_InputColumn(name, position, words, bool(model_input.get("missing")), reader))
    return columns


def _label_positions(header: Sequence[str]) -> list[int]:
    """The columns that say when a row was: one with a time, or a calendar's; none where there are none."""
    lower = [name.lower() for name in header]
    for name in TIME_COLUMNS:
        if name in lower:
            return [lower.index(name)]
    positions = [lower.index(name) for name in CALENDAR_COLUMNS if name in lower]
    return positions if len(positions) >= 3 and CALENDAR_COLUMNS[2] in lower else []
