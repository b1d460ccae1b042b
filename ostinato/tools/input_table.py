"""Rows of a table as steps of a model's input: columns found by name, words as codes, missing values as None."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ostinato.errors import TableError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.gaps import Gaps
from ostinato.tables.table import Table, TableRow
from ostinato.tables.time_axis import TimeAxis
from ostinato.tools.input_times import InputTimes

_NumberedRow: TypeAlias = tuple[int, TableRow]


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row as a step ``[F]``; None = missing. ``line``: of the file, ``number``: of the row; both count from 1.

    A step that no row is there for has line and number of the row before it.
    """

    line: int
    number: int
    label: str
    inputs: list[float | None]


@dataclass(frozen=True)
class InputRows:
    """Rows to send.

    Attributes:
        num_ahead: how many of them lie ahead of the first that was asked for.
        warnings: sentences about times, gaps in them, and words that the model does not know.
    """

    rows: list[InputRow]
    num_ahead: int
    warnings: list[str]


class InputTable:
    """A table read for the input of one model; training reads its own by the same rules.

    Args:
        model_input: the input's entry in the manifest.
        renamed: feature, or time column of the training -> the column that holds it, where that has another name.
        time: the columns that tell when a row was; empty = those of the training, or what is called like it.
        gaps: what is done about steps that no row is there for; None = as in the training, else they are put in.
        series_option: how a user says which column tells series apart, with ``{}`` in its place; empty = there is no
            way to.

    Raises:
        InputError: the file cannot be read. TableError: it lacks a column.
    """

    def __init__(
        self,
        path: Path,
        model_input: Mapping[str, Any],
        renamed: Mapping[str, str] | None = None,
        *,
        time: Sequence[str] = (),
        gaps: Gaps | None = None,
        series_option: str = "",
    ) -> None:
        self.table = Table(path)
        self._columns = _find_columns(self.table, model_input, dict(renamed or {}))
        self._times = InputTimes(self.table, model_input, renamed or {}, time, gaps, series_option)

    def read(self, *, first: str = "", before: int = 0, limit: int | None = None) -> InputRows:
        """The rows from ``first`` on, at most ``limit``, and up to ``before`` ahead of them; steps without one count.

        Args:
            first: a row's number, counted from 1, or a time where the table has times; empty = the first row.

        Raises:
            InputError: the file cannot be read. TableError: a cell cannot (only those of the rows asked for are looked
                at), there is no such row, or the rows are not a series in time.
        """
        return self._laid_out(*self._rows(enumerate(self.table.rows(), start=1), first, before, limit), before, limit)

    def read_each(
        self, series: str, *, first: str = "", before: int = 0, limit: int | None = None
    ) -> dict[str, InputRows]:
        """The same of each series, whose rows have one word in the column ``series``: by that word, in the order of
        their first rows. Those that have no row from ``first`` on, a time, are left out.

        Raises:
            InputError, TableError: as ``read``, or the column is not there, a cell of it empty, or no series is left.
        """
        place = self.table.position(series)
        groups: dict[str, list[_NumberedRow]] = {}
        for number, row in enumerate(self.table.rows(), start=1):
            if not row.cells[place]:
                raise self.table.fault(row.line, "it is empty, and says whose the row is", series)
            groups.setdefault(row.cells[place], []).append((number, row))
        found = {}
        for name, rows in groups.items():
            counted = [(position, row) for position, (_, row) in enumerate(rows, start=1)]
            with contextlib.suppress(_NoSuchRow):
                found[name] = self._laid_out(*self._rows(counted, first, before, limit), before, limit)
        if not found:
            raise TableError(f"{self.table.path}: there is no row from {first or 'the first'} on")
        return found

    def contexts(self, parts: Sequence[Mapping[str, Any]], series: str = "") -> dict[str, dict[str, Any]]:
        """What is the same in all steps of each series, by its name: the cells of its first row, by the names of a
        model's context. Of a tensor that the table has no columns of, or not all, nothing is told.

        Args:
            parts: entries of the manifest's context. series: the column that tells series apart; empty = it is one.
        """
        header, found = self.table.header, {}
        told = [part for part in parts if _is_flat(part) and all(name in header for name in part["features"])]
        place = self.table.position(series) if series else None
        for row in self.table.rows() if told else ():
            name = "" if place is None else row.cells[place]
            if name not in found:
                found[name] = {
                    part["name"]: [
                        _cell(row.cells[header.index(feature)], is_word=feature in part.get("categories", {}))
                        for feature in part["features"]
                    ]
                    for part in told
                }
                if place is None:
                    break
        return found

    def _laid_out(self, rows: list[_NumberedRow], num_ahead: int, before: int, limit: int | None) -> InputRows:
        axis, warnings = self._times.lay_out([row for _, row in rows])
        unknown: dict[str, _UnknownWords] = {}
        if axis is None:
            steps = [self._input_row(*row, unknown) for row in rows]
        else:
            start = axis.position(num_ahead)
            num_ahead = min(start, before)
            axis = axis.part(start - num_ahead, None if limit is None else start + limit)
            warnings += axis.all_notes()
            steps = [self._step(rows, axis, place, unknown) for place in range(len(axis.steps))]
        warnings += [words.sentence(name) for name, words in unknown.items()]
        return InputRows(steps, num_ahead, warnings)

    def _rows(
        self, numbered: Iterable[_NumberedRow], first: str, before: int, limit: int | None
    ) -> tuple[list[_NumberedRow], int]:
        """The rows asked for behind those ahead of them, and how many the latter are."""
        is_first = self._begins(first)
        ahead: deque[_NumberedRow] = deque(maxlen=before)
        rows: list[_NumberedRow] = []
        num_rows = 0
        for number, row in numbered:
            num_rows = number
            if not rows and not is_first(number, row):
                ahead.append((number, row))
                continue
            if limit is not None and len(rows) >= limit:
                break
            rows.append((number, row))
        if not rows:
            raise _NoSuchRow(
                f"{self.table.path}: there is no row from {first or 'the first'} on; the file has {num_rows}"
            )
        return [*ahead, *rows], len(ahead)

    def _begins(self, first: str) -> Callable[[int, TableRow], bool]:
        """Whether the rows asked for begin with a row of this number."""
        if first.isdecimal() or not first:
            first_number = int(first or 1)
            return lambda number, _row: number >= first_number
        is_due = self._times.begins(first)
        return lambda _number, row: is_due(row)

    def _step(
        self, rows: Sequence[_NumberedRow], axis: TimeAxis, place: int, unknown: dict[str, _UnknownWords]
    ) -> InputRow:
        """A row; or, where there is none, what is known without one: the calendar."""
        row, last_row, wall = axis.steps[place]
        if row is not None:
            return self._input_row(*rows[row], unknown)
        number, before = rows[last_row]
        inputs = [self._calendar_value(column, wall) for column in self._columns]
        return InputRow(before.line, number, self._times.label_at(wall, axis.step), inputs)

    def _calendar_value(self, column: _InputColumn, wall: int) -> float | None:
        assert self._times.columns is not None, "a step without a row lies between times"
        cell = self._times.columns.cell(column.name, wall)
        return None if cell is None else column.reader.number(cell)

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
        return InputRow(row.line, number, self._times.label(row.cells) or str(number), inputs)


class _NoSuchRow(TableError):
    """No row is as late as the first that is asked for."""


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


def _is_flat(part: Mapping[str, Any]) -> bool:
    """Whether a tensor is a row of numbers with names, or one of them."""
    return bool(part["features"]) and sum(isinstance(axis, int) for axis in part["shape"]) <= 1


def _cell(text: str, *, is_word: bool) -> float | str | None:
    """A cell as a client would send it; a number among words is one of them."""
    if text in MISSING_WORDS:
        return None
    with contextlib.suppress(ValueError):
        return text if is_word else float(text)
    return text


def _find_columns(table: Table, model_input: Mapping[str, Any], renamed: dict[str, str]) -> list[_InputColumn]:
    features: list[str] = model_input["features"]
    times = (model_input.get("times") or {}).get("columns", ())
    if unknown := [feature for feature in renamed if feature not in features and feature not in times]:
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
        reader = CellReader(
            words,
            MISSING_WORDS if missing is None else missing,
            model_input.get("dtype", "float32"),
            model_input.get("unknown", {}).get(feature),
        )
        columns.append(_InputColumn(name, position, words, bool(model_input.get("missing")), reader))
    return columns
