"""Rows of a data frame as a model takes them: by the names of its columns, words as codes, in order within each id."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.client.data_frame import GivenDataFrame
from ostinato.client.shapes import TensorShape
from ostinato.client.times import to_texts
from ostinato.errors import InputError
from ostinato.tables.cells import MISSING_WORDS, CellReader


class FrameRows:
    """The rows of a long frame, whose every id is a sequence.

    Args:
        id: the column that says whose a row is; None = all are of one, whose id is "".
        time: the column by which the rows of an id are ordered; None = they are in their order.

    Attributes:
        positions: id -> the rows of it, counted from 0, in their order; ids in the order of their first rows.
        times: of each row, None where there is no such column.

    Raises:
        InputError: a column is not there; a row has no id or time, or its id has another row of the same time.
    """

    def __init__(self, given: GivenDataFrame, id: str | None, time: str | None) -> None:  # noqa: A002
        self.given = given
        self.kept = [name for name in (id, time) if name is not None]
        given.check(self.kept, "which says whose a row is, or when it was")
        self.times = None if time is None else [_moment(*each, time) for each in enumerate(given.values(time))]
        self.positions: dict[str, list[int]] = {} if id is not None else {"": list(range(len(given)))}
        for row, name in enumerate([] if id is None else given.values(id)):
            if name is None:
                raise InputError(f"row {row} has no {id!r}, which says whose it is")
            self.positions.setdefault(id_text(name), []).append(row)
        if self.times is not None:
            for owner, rows in self.positions.items():
                self.positions[owner] = _in_order(rows, self.times, f"{id} {owner!r}: " if id is not None else "")

    def moments(self) -> list[str] | None:
        """The times of the rows as a service takes them; None where they are numbers, or there are none.

        Raises:
            InputError: one is finer than a microsecond.
        """
        if self.times is None or not all(isinstance(time, date) for time in self.times):
            return None
        return [str(to_texts(time)) for time in self.times]

    def arrays(self, parts: Sequence[TensorShape], model: str) -> list[NDArray[Any]]:
        """The rows of inputs, ``[N, ...]`` each, float64 with NaN for what is missing, or int64.

        Raises:
            InputError: a column is not there, or a value is none that the model takes; names row and column.
        """
        wanted = [name for part in parts for name in part.features or ()]
        if len(set(wanted)) < len(wanted):
            raise InputError(f"inputs of {model!r} have features of one name, and a column can be but one of them")
        self.given.check(wanted, f"which {model!r} takes")
        return [self._array(part) for part in parts]

    def column(self, name: str, part: TensorShape) -> NDArray[Any]:
        """The numbers of one feature, ``[N]``."""
        words = part.words.get(name, ())
        floats = None if words or part.is_whole else self.given.floats(name)
        if floats is None:
            reader = _ValueReader(name, part)
            read = [reader.number(row, value) for row, value in enumerate(self.given.values(name))]
            return np.array(read, np.int64 if part.is_whole else np.float64)
        if not part.missing and np.isnan(floats).any():
            raise _lacks(int(np.flatnonzero(np.isnan(floats))[0]), name)
        if np.isinf(floats).any():
            raise _fault(int(np.flatnonzero(np.isinf(floats))[0]), name, "an infinity is no value")
        return floats.astype(np.float64)

    def _array(self, part: TensorShape) -> NDArray[Any]:
        columns = [self.column(name, part) for name in part.features or ()]
        rows = np.stack(columns, axis=1)
        return rows.reshape(len(rows), *(part.row_shape or (1,)))

    def contexts(self, parts: Sequence[TensorShape], model: str) -> dict[str, dict[str, Any]]:
        """Id -> what its first row says of its context, by name; none where the frame has no column of it.

        Raises:
            InputError: it has some of the columns and not all; a value is none that the model takes.
        """
        names = [name for part in parts for name in part.features or ()]
        if not any(name in self.given for name in names):
            return {}
        arrays = self.arrays(parts, model)
        return {
            name: {
                part.name: array[rows[0]] if part.row_shape else array[rows[0]].item()
                for part, array in zip(parts, arrays, strict=True)
            }
            for name, rows in self.positions.items()
        }


def id_text(name: Any) -> str:
    """An id as a session is called."""
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


class _ValueReader:
    """Reads values of one column as the numbers of a model; texts as the cells of a table are read."""

    def __init__(self, name: str, part: TensorShape) -> None:
        self._name, self._part = name, part
        self._words = part.words.get(name, ())
        missing = MISSING_WORDS if part.missing_words is None else part.missing_words
        self._cells = CellReader(self._words, missing, part.dtype, part.unknown.get(name))

    def number(self, row: int, value: Any) -> float | int:
        try:
            number = None if value is None else self._read(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise _fault(row, self._name, str(error)) from error
        if number is None and not self._part.missing:
            raise _lacks(row, self._name)
        return math.nan if number is None else number

    def _read(self, value: Any) -> float | int | None:
        if not (self._words or isinstance(value, str)):
            return self._plain(value)
        text = str(int(value) if isinstance(value, bool) else value).strip()
        number = self._cells.number(text)
        if number is None and self._cells.is_unknown(text):
            near = "".join(f"; did you mean {word!r}?" for word in get_close_matches(text, self._words, 1))
            few = ", ".join(self._words[:20]) + (", ..." if len(self._words) > 20 else "")
            raise ValueError(f"{text!r} is none of the words that the model knows: {few}{near}")
        return number

    def _plain(self, value: Any) -> float | int:
        if not isinstance(value, int | float | Decimal | np.number):
            raise TypeError(f"{value!r} is no number")
        if self._part.is_whole and value != int(value):
            raise ValueError(f"{value!r} is not a whole number, and the model's input takes no other")
        number = int(value) if self._part.is_whole else float(value)
        if not math.isfinite(number):
            raise ValueError("an infinity is no value")
        return number


def _moment(row: int, value: Any, name: str) -> Any:
    if value is None:
        raise InputError(f"row {row} has no {name!r}, which says when it was")
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise _fault(row, name, f"{value!r} is no time as 2026-01-01T10:00:00Z") from error
    if isinstance(value, int | float | date):
        return value
    raise _fault(row, name, f"{value!r} is neither a time nor a number")


def _in_order(rows: Sequence[int], times: Sequence[Any], owner: str) -> list[int]:
    moments = {row: _instant(times[row]) for row in rows}
    try:
        ordered = sorted(rows, key=lambda row: moments[row])
    except TypeError as error:
        raise InputError(f"{owner}some of its times have an offset from UTC, and some have none") from error
    for before, row in pairwise(ordered):
        if moments[before] == moments[row]:
            raise InputError(f"{owner}rows {before} and {row} are of the same time, {times[row]}")
    return ordered


def _instant(time: Any) -> Any:
    """A time as it is compared with others: Python takes two of one zone for the same when its clock shows the same,
    also in the hour that it shows twice.
    """
    return time.astimezone(UTC) if isinstance(time, datetime) and time.tzinfo is not None else time


def _lacks(row: int, name: str) -> InputError:
    return _fault(row, name, "the value is missing, and the model takes no missing values")


def _fault(row: int, name: str, reason: str) -> InputError:
    return InputError(f"row {row}, column {name!r}: {reason}")


def split_rows(parts: Sequence[TensorShape], arrays: Sequence[NDArray[Any]], rows: Sequence[int]) -> Any:
    """Some of the rows, as the verbs take them: of several inputs by name."""
    chosen: Mapping[str, Any] = {part.name: array[list(rows)] for part, array in zip(parts, arrays, strict=True)}
    return dict(chosen) if len(parts) > 1 else next(iter(chosen.values()))
