"""Feeding of a foreign graph: random inputs of as many rows and steps as are wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from ostinato.export.contracts.axes import Array

Feeds: TypeAlias = Mapping[str, Array]
InputAxes: TypeAlias = Mapping[str, tuple[int | None, int | None]]
"""Of an input of a graph which axis is the batch, and which has the steps."""

BATCH_SIZES = (3, 2)
LENGTHS = ((13, 17), (52, 68), (208, 272), (832, 1088), (1920, 3840), (15360, 19200))
"""Numbers of steps to try, until a graph runs: one has windows, another convolutions without padding."""

MAX_NUMBERS = 2**22
"""In an input of a run that is tried."""


class Feeding:
    """Random inputs of a graph.

    Args:
        axes: of inputs; an axis of another one is told by its symbol, where it has the same.
        constants: inputs that are the same in all runs.
        unit: a run is given a multiple of so many steps.
    """

    def __init__(self, graph: ir.Graph, axes: InputAxes, constants: Feeds, unit: int = 1) -> None:
        self.axes, self.unit = axes, unit
        self._inputs = [value for value in graph.inputs if not value.is_initializer()]
        self._constants = constants
        self._symbols = [self._symbols_of(which) for which in (0, 1)]
        self._other_size = LENGTHS[0][0]

    def fixed(self, which: int) -> int | None:
        """The number of rows (0) or of steps (1) that the graph is fixed to, 1 where it has none; None = it is open."""
        for value in self._inputs:
            size = self._size(value, which)
            if isinstance(size, int):
                return size
        return None if any(axes[which] is not None for axes in self.axes.values()) else 1

    @property
    def has_steps(self) -> bool:
        """Whether an input has an axis of steps."""
        return any(time is not None for _, time in self.axes.values())

    def tried(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Numbers of rows and of steps to try, each of a base run and of one that differs."""
        batch_size, num_steps = self.fixed(0), self.fixed(1)
        batch_sizes = BATCH_SIZES if batch_size is None else (batch_size, batch_size)
        for lengths in LENGTHS:
            wanted = lengths[0] * self.unit, lengths[1] * self.unit
            self._other_size = lengths[0]
            for rows in (batch_sizes, (1, 1)) if batch_size is None else (batch_sizes,):
                steps = wanted if num_steps is None else (num_steps, num_steps)
                sizes = (math.prod(self._shape(value, rows[0], steps[1])) for value in self._inputs)
                if lengths is LENGTHS[0] or max(sizes, default=0) <= MAX_NUMBERS:
                    yield rows, steps

    def __call__(self, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        """Inputs of a run."""
        rng = np.random.default_rng(seed)
        return {value.name or "": self._drawn(value, batch_size, num_steps, rng) for value in self._inputs}

    def _drawn(self, value: ir.Value, batch_size: int, num_steps: int, rng: np.random.Generator) -> Array:
        name = value.name or ""
        if name in self._constants:
            return np.asarray(self._constants[name])
        shape = self._shape(value, batch_size, num_steps)
        dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        if dtype.kind in "fV":
            return np.asarray(rng.standard_normal(shape)).astype(dtype)
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)

    def _shape(self, value: ir.Value, batch_size: int, num_steps: int) -> list[int]:
        name = value.name or ""
        axes = self.axes.get(name, (None, None))
        shape: list[int] = []
        for axis, size in enumerate(value.shape or ()):
            symbol = size.value if isinstance(size, ir.SymbolicDim) else None
            if axis == axes[0] or (symbol in self._symbols[0] and name not in self.axes):
                shape.append(batch_size)
            elif axis == axes[1] or (symbol in self._symbols[1] and name not in self.axes):
                shape.append(num_steps)
            else:
                shape.append(size if isinstance(size, int) else self._other_size)
        return shape

    def _symbols_of(self, which: int) -> set[str | None]:
        """What the axes of the batch, or of the steps, are called."""
        sizes = (self._size(value, which) for value in self._inputs)
        return {size.value for size in sizes if isinstance(size, ir.SymbolicDim)} - {None}

    def _size(self, value: ir.Value, which: int) -> int | ir.SymbolicDim | None:
        axis = self.axes.get(value.name or "", (None, None))[which]
        return None if axis is None or value.shape is None else value.shape[axis]
