"""A data frame that was given, and new ones of its kind: the one place that knows pandas from polars.

Neither is imported here: who gives a frame has imported its library.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.client.given import is_no_value
from ostinato.errors import InputError

_LIBRARIES = ("pandas", "polars")
_NUM_NAMED = 20


class GivenDataFrame:
    """Columns by name, with those that pandas has in a named index; a missing value is None.

    Raises:
        InputError: it is no data frame of pandas or polars.
    """

    def __init__(self, frame: Any) -> None:
        library = library_of(frame)
        is_lazy = hasattr(frame, "collect")
        if library is None or is_lazy or not hasattr(frame, "columns"):
            hint = ": collect() it first" if is_lazy else ""
            raise InputError(f"a data frame of pandas or polars is asked for, and this is {type(frame).__name__}{hint}")
        self._frame, self._library = frame, library
        self._index = [name for name in getattr(getattr(frame, "index", None), "names", ()) if name is not None]
        self._columns = list(frame.columns)

    def __len__(self) -> int:
        return len(self._frame)

    @property
    def names(self) -> list[str]:
        """Of the columns, and then of the index."""
        return [name for name in [*self._columns, *self._index] if isinstance(name, str)]

    def __contains__(self, name: str) -> bool:
        return name in self._columns or name in self._index

    def check(self, names: Sequence[str], owner: str) -> None:
        """Whether all of these are there, each once; ``owner`` says whose they are.

        Raises:
            InputError: one is not; names those that are nearest to it.
        """
        absent = [name for name in names if name not in self]
        if absent:
            told = [repr(name) + _near(name, self.names) for name in absent[:_NUM_NAMED]]
            more = f" and {len(self.names) - _NUM_NAMED} more" if len(self.names) > _NUM_NAMED else ""
            has = (", ".join(self.names[:_NUM_NAMED]) + more) or "none"
            raise InputError(f"the data frame has no column {', '.join(told)}, {owner}; its columns are {has}")
        if twice := [name for name in names if self._columns.count(name) > 1]:
            raise InputError(f"the data frame has more than one column {twice[0]!r}")

    def values(self, name: str) -> list[Any]:
        """A column as Python's own values."""
        values = self._column(name).tolist() if self._library.__name__ == "pandas" else self._column(name).to_list()
        return [None if _is_missing(value) else value for value in values]

    def floats(self, name: str) -> NDArray[np.floating[Any]] | None:
        """A column of floats as it is, NaN where a value is missing; None where it holds anything else."""
        column = self._column(name)
        if getattr(column, "dtype", None) not in ("float64", "float32") and "Float" not in str(column.dtype):
            return None
        array = np.asarray(column.to_numpy(na_value=np.nan) if self._is_nullable(column) else column.to_numpy())
        return array if array.dtype.kind == "f" else None

    def beside(self, kept: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> Any:
        """A frame of the same rows in the same order: those columns of its own that are kept, and new ones. What is
        in pandas' index stays there.
        """
        own = [name for name in kept if name in self._columns]
        if self._library.__name__ == "pandas":
            made = self._frame[own].copy()
            for name, values in columns.items():
                made[name] = values
            return made
        return self._frame.select(own).with_columns([self._library.Series(*each) for each in columns.items()])

    def _column(self, name: str) -> Any:
        return self._frame[name] if name in self._columns else self._frame.index.get_level_values(name)

    def _is_nullable(self, column: Any) -> bool:
        return self._library.__name__ == "pandas" and str(column.dtype).startswith("Float")


def library_of(given: Any) -> Any:
    """The library that a data frame or series is of; None where it is neither."""
    for kind in type(given).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _LIBRARIES:
            return sys.modules[name]
    return None


def new_frame(library: Any, columns: Mapping[str, Any]) -> Any:
    """A data frame of a library that ``library_of`` found."""
    return library.DataFrame(dict(columns))


def moments_column(library: Any, moments: Sequence[datetime | None], zone: str) -> Any:
    """Moments, each with its offset, as a column of a library's, by a zone's clock; None is missing."""
    if library.__name__ == "pandas":
        return library.to_datetime(list(moments), utc=True).tz_convert(zone)
    at_utc = [None if moment is None else moment.astimezone(UTC) for moment in moments]
    return library.Series(at_utc, dtype=library.Datetime("us", "UTC")).dt.convert_time_zone(zone)


def _is_missing(value: Any) -> bool:
    return value is None or is_no_value(value) or (isinstance(value, float) and value != value)


def _near(name: str, names: Sequence[str]) -> str:
    lower = {each.lower(): each for each in names}
    near = get_close_matches(name.lower(), lower, 1)
    return f" (did you mean {lower[near[0]]!r}?)" if near else ""
