"""Answers as columns of a data frame: one for each number of a model's outputs, filled row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.client.arrays import Outputs
from ostinato.client.shapes import ModelTensors, TensorShape
from ostinato.errors import InputError


class AnswerColumns:
    """Columns of ``num_rows`` rows, NaN where there is no answer.

    Args:
        taken: names that are next to them.

    Raises:
        InputError: an output has such a name, or several rows for a step.
    """

    def __init__(self, shape: ModelTensors, num_rows: int, taken: Sequence[str]) -> None:
        self._parts = shape.outputs
        self._names = [_names(part, shape.outputs) for part in shape.outputs]
        for name in (name for names in self._names for name in names):
            if name in taken:
                raise InputError(f"the model has an output {name!r}, which is a column of the frame: rename that")
        if several := [part.name for part in shape.outputs if part.per_frame > 1]:
            raise InputError(f"output {several[0]!r} has several rows for a step: ask by session(...).step")
        # float64 holds whole numbers, too, until it is known whether all rows have one.
        self._values = [np.full((num_rows, len(names)), np.nan) for names in self._names]

    def put(self, rows: Sequence[int], outputs: Outputs, chosen: Any = slice(None)) -> None:
        """Put outputs ``[n, ...]`` where they belong; ``chosen``: which of the n, as an index of arrays."""
        named = outputs if isinstance(outputs, dict) else {self._parts[0].name: outputs}
        for name, made in named.items():
            self.put_part(name, rows, np.asarray(made)[chosen])

    def put_part(self, name: str, rows: Sequence[int], made: NDArray[Any]) -> None:
        """The same of one output."""
        place = next(place for place, part in enumerate(self._parts) if part.name == name)
        self._values[place][list(rows)] = made.reshape(len(rows), -1)

    def columns(self) -> dict[str, NDArray[Any]]:
        """By their names: float32; int64 where the output is whole numbers and no row is without."""
        found: dict[str, NDArray[Any]] = {}
        for part, names, values in zip(self._parts, self._names, self._values, strict=True):
            is_whole = part.is_whole and not np.isnan(values).any()
            dtype = np.int64 if is_whole else np.float64 if part.is_whole else np.float32
            found |= {name: values[:, place].astype(dtype) for place, name in enumerate(names)}
        return found


def _names(part: TensorShape, parts: Sequence[TensorShape]) -> list[str]:
    """What the numbers of an output are called: as its features are, behind its own name where others are so, too."""
    count = Counter(feature for other in parts for feature in other.features or ())
    if part.features is not None and len(part.features) == part.num_features:
        return [name if count[name] == 1 else f"{part.name}.{name}" for name in part.features]
    return [f"{part.name}.{place}" if part.num_features > 1 else part.name for place in range(part.num_features)]
