"""Data frames and series as other libraries have them, as far as a client looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


class NAType:
    """A missing value that is neither equal to itself nor not, and has no truth."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    def __hash__(self) -> int:
        return 0


NA = NAType


class Series:
    """Numbers that are called something each."""

    def __init__(self, numbers: Sequence[Any], index: Iterable[Any]) -> None:
        self.numbers = numbers
        self.index = list(index)

    def __len__(self) -> int:
        return len(self.numbers)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.to_numpy()

    def to_numpy(self) -> Any:
        """Its numbers."""
        return np.array(self.numbers)


class Frame:
    """Columns by name; iterating over it gives their names."""

    def __init__(self, columns: Mapping[Any, Sequence[Any]]) -> None:
        self.columns = list(columns)
        self.index = range(len(next(iter(columns.values()))))
        self._rows = [list(row) for row in zip(*columns.values(), strict=True)]

    @classmethod
    def of_rows(cls, names: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Frame:
        """A frame whose names may stand twice."""
        frame = cls({name: [0.0] for name in names})
        frame.columns, frame._rows = list(names), [list(row) for row in rows]
        return frame

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Any:
        return iter(self.columns)

    def __getitem__(self, name: Any) -> Series:
        place = self.columns.index(name)
        return Series([row[place] for row in self._rows], self.index)

    def to_numpy(self) -> Any:
        """Its rows."""
        return np.array(self._rows)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.to_numpy()
