"""Inner values of a foreign graph in runs of other batches, lengths and numbers.

Which operators run along the steps, and how the batch is folded into an axis, is not to be read off a graph; it shows
in runs. A graph is run flat: of each ``If`` the branch that is taken stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.branches import flattened, opened
from ostinato.service.artifact.graphs import without_messages

Feeds: TypeAlias = Mapping[str, Array]
Feeder: TypeAlias = Callable[[int, int, int], dict[str, Array]]
"""Batch size, number of steps and a seed to the inputs of a run."""
InputAxes: TypeAlias = Mapping[str, tuple[int | None, int | None]]
"""Of an input of a graph which axis is the batch, and which has the steps."""

BATCH_SIZES = (3, 2)
LENGTHS = ((13, 17), (52, 68), (208, 272), (832, 1088), (1920, 3840), (15360, 19200))
"""Numbers of steps to try, until a graph runs: one has windows, another convolutions without padding."""
_OTHER_SIZE = 4


class CannotRun(Exception):
    """A graph runs with none of the sizes that were tried; says why, in onnxruntime's words."""


@dataclass(frozen=True)
class Size:
    """The size of an axis, of ``B`` rows and ``T`` steps: ``B^batch (per_step T + rest)``."""

    batch: bool
    per_step: Fraction
    rest: Fraction

    @property
    def is_of_steps(self) -> bool:
        """Whether it grows with the steps."""
        return self.per_step != 0


class Feeding:
    """Random inputs of a graph.

    Args:
        constants: inputs that are the same in all runs.
    """

    def __init__(self, graph: ir.Graph, axes: InputAxes, constants: Feeds) -> None:
        self.axes = axes
        self._inputs = [value for value in graph.inputs if not value.is_initializer()]
        self._constants = constants

    def fixed(self, which: int) -> int | None:
        """The number of rows (0) or of steps (1) that the graph is fixed to; None where it is open."""
        for value in self._inputs:
            axis = self.axes.get(value.name or "", (None, None))[which]
            size = None if axis is None or value.shape is None else value.shape[axis]
            if isinstance(size, int):
                return size
        return None

    @property
    def has_steps(self) -> bool:
        """Whether an input has an axis of steps."""
        return any(time is not None for _, time in self.axes.values())

    def __call__(self, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        """Inputs of a run."""
        rng = np.random.default_rng(seed)
        return {value.name or "": self._drawn(value, batch_size, num_steps, rng) for value in self._inputs}

    def _drawn(self, value: ir.Value, batch_size: int, num_steps: int, rng: np.random.Generator) -> Array:
        name = value.name or ""
        if name in self._constants:
            return np.asarray(self._constants[name])
        batch, time = self.axes.get(name, (None, None))
        shape = [size if isinstance(size, int) else _OTHER_SIZE for size in value.shape or ()]
        for axis, size in ((batch, batch_size), (time, num_steps)):
            if axis is not None:
                shape[axis] = size
        dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        if dtype.kind in "fV":
            return np.asarray(rng.standard_normal(shape)).astype(dtype)
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)


class RunValues(dict[str, Array]):
    """The arrays of one run, by the names of the values."""

    def __init__(self, batch_size: int, num_steps: int, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.batch_size, self.num_steps = batch_size, num_steps


class Observed:
    """Values of a graph in a base run and in others: fewer rows, more steps, another first row, other numbers.

    ``smallest``: runs of one row, of one step, and of both; empty where it cannot run them.
    """

    def __init__(
        self,
        base: RunValues,
        narrower: RunValues,
        longer: RunValues,
        first_row: RunValues,
        other: RunValues,
        smallest: Sequence[RunValues] = (),
    ) -> None:
        self.base, self.narrower, self.longer, self.first_row, self.other = base, narrower, longer, first_row, other
        self.smallest = smallest

    def merge(self, more: Observed) -> None:
        """Take in the values that another graph's runs had and these had not."""
        for own, others in zip(self._runs, more._runs, strict=True):
            own |= {name: array for name, array in others.items() if name not in own}

    def settled(self, value: ir.Value) -> Array | None:
        """What a value is in all runs; None where they differ."""
        if value.const_value is not None:
            return value.const_value.numpy()
        arrays = [run.get(value.name or "") for run in self._runs]
        first = arrays[0]
        is_same = first is not None and all(array is not None and np.array_equal(first, array) for array in arrays)
        return first if is_same else None

    def truths(self, value: ir.Value) -> set[bool]:
        """What a condition is in all the runs."""
        if value.const_value is not None:
            return {bool(np.all(value.const_value.numpy()))}
        name = value.name or ""
        return {bool(np.all(run[name])) for run in (*self._runs, *self.smallest) if name in run}

    @property
    def _runs(self) -> tuple[RunValues, ...]:
        return self.base, self.narrower, self.longer, self.first_row, self.other

    def sizes(self, value: ir.Value | None) -> tuple[Size, ...] | None:
        """Of each axis; None where the value was not computed."""
        if value is not None and value.const_value is not None:
            return tuple(Size(False, Fraction(0), Fraction(size)) for size in value.const_value.shape.numpy())
        name = "" if value is None else value.name or ""
        arrays = [run.get(name) for run in (self.base, self.narrower, self.longer)]
        shapes = [array.shape for array in arrays if array is not None]
        if len(shapes) < len(arrays) or len({len(shape) for shape in shapes}) > 1:
            return None
        return tuple(self._size(*each) for each in zip(*shapes, strict=True))

    def _size(self, base: int, narrower: int, longer: int) -> Size:
        is_of_batch = base != narrower
        rows = self.base.batch_size if is_of_batch else 1
        more = self.longer.num_steps - self.base.num_steps
        per_step = Fraction(longer - base, more * rows) if more else Fraction(0)
        return Size(is_of_batch, per_step, Fraction(base, rows) - per_step * self.base.num_steps)

    def changed_rows(self, value: ir.Value, axis: int) -> NDArray[np.bool_] | None:
        """Which places along an axis are other where only the first row of the batch is."""
        before, after = (run.get(value.name or "") for run in (self.base, self.first_row))
        if before is None or after is None or before.shape != after.shape:
            return None
        others = tuple(each for each in range(before.ndim) if each != axis)
        changed: NDArray[np.bool_] = np.any((before != after) & ~((before != before) & (after != after)), axis=others)
        return changed

    def is_constant(self, value: ir.Value) -> bool:
        """Whether other numbers in the inputs leave it as it is."""
        before, after = (run.get(value.name or "") for run in (self.base, self.other))
        return before is not None and after is not None and np.array_equal(before, after)


def observe(model: ir.Model, axes: InputAxes, constants: Feeds, *, opposite: bool = False) -> Observed:
    """RunValues a graph with all its values exposed.

    Args:
        opposite: of each ``If`` the branch that is not taken.

    Raises:
        CannotRun: it runs with none of the sizes tried.
    """
    feeder = Feeding(model.graph, axes, constants)
    reason = ""
    for sizes in _tried(feeder):
        try:
            return _observed(model, feeder, sizes, opposite=opposite)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            reason = str(error)
    raise CannotRun(reason)


def _tried(feeder: Feeding) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Numbers of rows and of steps, each of a base run and of one that differs."""
    batch_size, num_steps = feeder.fixed(0), feeder.fixed(1)
    if not feeder.has_steps:
        num_steps = 1
    batch_sizes = BATCH_SIZES if batch_size is None else (batch_size, batch_size)
    for lengths in LENGTHS if num_steps is None else [(num_steps, num_steps)]:
        yield batch_sizes, lengths
        if batch_size is None:
            yield (1, 1), lengths


def _observed(
    model: ir.Model, feeder: Feeding, sizes: tuple[tuple[int, int], tuple[int, int]], *, opposite: bool
) -> Observed:
    (rows, fewer), (steps, more) = sizes
    base = feeder(rows, steps, 0)
    exposed = Exposed(model, base, opposite=opposite)
    other = feeder(rows, steps, 1)
    first_row = {name: _with_first_row(feeder, name, base[name], other[name]) for name in base}
    return Observed(
        RunValues(rows, steps, exposed.run(base)),
        RunValues(fewer, steps, exposed.run(feeder(fewer, steps, 2))),
        RunValues(rows, more, exposed.run(feeder(rows, more, 3))),
        RunValues(rows, steps, exposed.run(first_row)),
        RunValues(rows, steps, exposed.run(other)),
        _smallest(exposed, feeder, rows, steps),
    )


def _smallest(exposed: Exposed, feeder: Feeding, rows: int, steps: int) -> list[RunValues]:
    """Runs of one row, of one step and of both, as far as the graph is open; none where it cannot run one of them."""
    fewest_rows, fewest_steps = (1 if feeder.fixed(which) is None else size for which, size in enumerate((rows, steps)))
    sizes = {(fewest_rows, fewest_steps), (fewest_rows, steps), (rows, fewest_steps)}
    try:
        return [RunValues(*each, exposed.run(feeder(*each, 5))) for each in sorted(sizes)]
    except Exception:  # onnxruntime's own exceptions share no base class
        return []


def _with_first_row(feeder: Feeding, name: str, base: Array, other: Array) -> Array:
    axis = feeder.axes.get(name, (None, None))[0]
    if axis is None:
        return base
    mixed = np.moveaxis(base.copy(), axis, 0)
    mixed[0] = np.moveaxis(other, axis, 0)[0]
    return np.moveaxis(mixed, 0, axis)


class Exposed:
    """A graph under onnxruntime that gives all values outside of loops' bodies.

    Args:
        feeds: inputs that tell which branch of each ``If`` is taken.
        opposite: of each ``If`` the branch that is not taken.
    """

    def __init__(self, model: ir.Model, feeds: Feeds, *, opposite: bool = False) -> None:
        flat = flattened(model, feeds, opposite=opposite)
        graph = flat.graph
        given = {id(value) for value in graph.outputs}
        graph.outputs.extend(value for node in graph for value in node.outputs if value.name and id(value) not in given)
        self.nodes: Sequence[ir.Node] = list(graph)
        self.inputs: Sequence[ir.Value] = [value for value in graph.inputs if not value.is_initializer()]
        self._names = [value.name or "" for value in graph.outputs]
        self._session = opened(flat)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All values of a run that are arrays, the inputs too."""
        arrays = zip(self._names, self._session.run(self._names, dict(feeds), without_messages()), strict=True)
        return dict(feeds) | {name: array for name, array in arrays if isinstance(array, np.ndarray)}
