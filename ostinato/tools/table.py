"""A CSV file as a model's input: columns found by name, words turned into codes, holes kept as holes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ostinato.errors import TableError

MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "ds")
CALENDAR_COLUMNS = ("year", "month", "day", "hour", "minute")
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Column:
    """An input feature of a model, and where its values stand in a line.

    ``words``: what the codes 0, 1, ... stand for; empty where the feature is a number.
    """

    feature: str
    name: str
    position: int
    words: tuple[str, ...]
    may_miss: bool

    def value(self, word: str) -> float | None:
        """A field as the model's number; None = missing.

        Raises:
            ValueError: it is neither.
        """
        word = word.strip()
        if word in self.words:
            return float(self.words.index(word))
        if word.lower() in MISSING_WORDS:
            if self.may_miss:
                return None
            raise ValueError("the value is missing, and the model takes no missing values")
        number = _finite(word)
        if not self.words:
            if number is None:
                raise ValueError(f"{word!r} is not a finite number")
            return number
        # 07 and 7.0 are the word 7.
        if number is not None:
            for code, other in enumerate(self.words):
                if _finite(other) == number:
                    return float(code)
        raise ValueError(f"{word!r} is none of the words that the model knows: {', '.join(self.words)}")


@dataclass(frozen=True)
class Line:
    """One row of the file. ``number`` counts from 1 as an editor does; ``row`` counts the rows below the header."""

    number: int
    row: int
    label: str
    inputs: list[float | None]


class Table:
    """A CSV file with a header, as it is or compressed (.xz, .gz, .bz2), read for the input of one model.

    Args:
        model_input: the input's entry in the manifest.
        renamed: feature -> the column that holds it, where that has another name.

    Raises:
        TableError: the file cannot be read, or lacks a column.
    """

    def __init__(self, path: Path, model_input: Mapping[str, Any], renamed: Mapping[str, str] | None = None) -> None:
        self.path = path
        with self._open() as file:
            header_line = file.readline()
        self._delimiter = max(DELIMITERS, key=header_line.count)
        self.header = [name.strip() for name in next(csv.reader([header_line], delimiter=self._delimiter), [])]
        self.columns = self._find_columns(model_input, dict(renamed or {}))
        self._label_positions = _label_positions(self.header)

    def lines(self, *, first: str = "", before: int = 0, limit: int | None = None) -> tuple[list[Line], int]:
        """The lines from ``first`` on, at most ``limit``, and up to ``before`` lines ahead of them.

        Args:
            first: a row's number, counted from 1, or a time where the file has times; empty = the first row.

        Returns:
            The lines, and how many of them lie ahead of ``first``.

        Raises:
            TableError: a field cannot be read (only the lines asked for are looked at), or none is left.
        """
        rows = list(self._rows())
        start = self._find_row(rows, first)
        end = len(rows) if limit is None else min(len(rows), start + limit)
        begin = max(0, start - before)
        lines = [self._line(row, *rows[row]) for row in range(begin, end)]
        if start >= end:
            raise TableError(f"{self.path}: there is no row from {first or 'the first'} on; the file has {len(rows)}")
        return lines, start - begin

    def _open(self) -> IO[str]:
        opener: Any
        if self.path.suffix == ".xz":
            from lzma import open as opener
        elif self.path.suffix == ".gz":
            from gzip import open as opener
        elif self.path.suffix == ".bz2":
            from bz2 import open as opener
        else:
            opener = open
        try:
            file: IO[str] = opener(self.path, "rt", encoding="utf-8-sig", newline="")
        except OSError as error:
            raise TableError(f"{self.path}: {error.strerror or error}") from error
        return _Checked(file, self.path)  # type: ignore[return-value]

    def _find_columns(self, model_input: Mapping[str, Any], renamed: dict[str, str]) -> list[Column]:
        features: list[str] = model_input["features"]
        if unknown := [feature for feature in renamed if feature not in features]:
            raise TableError(f"{unknown[0]!r} is no input of the model; its inputs are {', '.join(features)}")
        columns = []
        for feature in features:
            name = renamed.get(feature, feature)
            places = [position for position, column in enumerate(self.header) if column == name]
            if len(places) != 1:
                what = "no" if not places else "more than one"
                raise TableError(
                    f"{self.path}: there is {what} column {name!r} for the model's input {feature!r}; the columns are "
                    f"{', '.join(self.header)}. --column '{feature}=NAME' names another"
                )
            words = tuple(model_input.get("categories", {}).get(feature, ()))
            columns.append(Column(feature, name, places[0], words, bool(model_input.get("missing"))))
        return columns

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of each row below the header."""
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            next(reader, None)
            try:
                for fields in reader:
                    if fields:
                        yield reader.line_num, fields
            except csv.Error as error:
                raise TableError(f"{self.path}, line {reader.line_num}: {error}") from error

    def _line(self, row: int, number: int, fields: Sequence[str]) -> Line:
        if len(fields) != len(self.header):
            raise TableError(f"{self.path}, line {number}: {len(fields)} fields; the header has {len(self.header)}")
        inputs = []
        for column in self.columns:
            try:
                inputs.append(column.value(fields[column.position]))
            except ValueError as error:
                raise TableError(f"{self.path}, line {number}, column {column.name!r}: {error}") from error
        return Line(number, row + 1, self._label(fields) or str(row + 1), inputs)

    def _label(self, fields: Sequence[str]) -> str:
        words = [fields[position].strip() for position in self._label_positions if position < len(fields)]
        if len(words) < 3 or not all(word.isdecimal() for word in words):
            return " ".join(words)
        date = "-".join([words[0], *(word.zfill(2) for word in words[1:3])])
        if len(words) == 3:
            return date
        return f"{date} {words[3].zfill(2)}:{(words[4] if len(words) > 4 else '0').zfill(2)}"

    def _find_row(self, rows: Sequence[tuple[int, list[str]]], first: str) -> int:
        if first.isdecimal() or not first:
            return max(0, int(first or 1) - 1)
        try:
            wanted = _time(first)
        except ValueError as error:
            raise TableError(f"--from {first!r}: that is neither a row's number nor a time as 2014-12-01") from error
        if not self._label_positions:
            raise TableError(
                f"{self.path}: no column is called {', '.join(TIME_COLUMNS)} or year, month, day; give a row's number"
            )
        for row, (number, fields) in enumerate(rows):
            label = self._label(fields)
            try:
                if _time(label) >= wanted:
                    return row
            except ValueError as error:
                raise TableError(f"{self.path}, line {number}: {label!r} is no time; give a row's number") from error
        return len(rows)


class _Checked:
    """A text file whose faults in reading name the file."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path

    def __enter__(self) -> _Checked:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        while line := self.readline():
            yield line

    def readline(self) -> str:
        try:
            return self._file.readline()
        except Exception as error:  # each compression has its own exceptions
            if isinstance(error, UnicodeDecodeError):
                raise TableError(f"{self._path}: it is not text in UTF-8") from error
            raise TableError(f"{self._path}: {error}") from error


def _label_positions(header: Sequence[str]) -> list[int]:
    """The columns that say when a row was: one with a time, or a calendar's; none where there are none."""
    lower = [name.lower() for name in header]
    for name in TIME_COLUMNS:
        if name in lower:
            return [lower.index(name)]
    positions = [lower.index(name) for name in CALENDAR_COLUMNS if name in lower]
    return positions if len(positions) >= 3 and CALENDAR_COLUMNS[2] in lower else []


def _time(label: str) -> datetime:
    """A time without its zone: both sides of a comparison are of one clock."""
    return datetime.fromisoformat(label).replace(tzinfo=None)


def _finite(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
