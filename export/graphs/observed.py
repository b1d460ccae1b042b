"""Inner values of a foreign graph in runs of other batches, lengths and numbers.

Which operators run along the steps, and how the batch is folded into an axis, is not to be read off a graph; it shows
in runs. A graph is run flat: of each ``If`` the branch that is taken is in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.branches import flattened, opened
from ostinato.export.graphs.feeding import Feeding, Feeds
from ostinato.export.graphs.sources import all_nodes
from ostinato.service.artifact.graphs import without_messages

_DEPTH = 4
"""So many nodes behind an operator are looked at, too: what a convolution makes too much is cut off somewhere there."""


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


class RunValues(dict[str, Array]):
    """The arrays of one run, by the names of the values."""

    def __init__(self, batch_size: int, num_steps: int, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.batch_size, self.num_steps = batch_size, num_steps

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of rows and of steps."""
        return self.batch_size, self.num_steps


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
        """Take in the values that another graph's runs had and these had not, where they are of the same sizes."""
        if any(own.sizes != others.sizes for own, others in zip(self._runs, more._runs, strict=True)):
            return
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


def observe(model: ir.Model, feeder: Feeding, operators: Collection[str], *, opposite: bool = False) -> Observed:
    """Run a graph with what operators of some kinds are given and make exposed, and what ``If`` asks.

    Args:
        opposite: of each ``If`` the branch that is not taken.

    Raises:
        CannotRun: it runs with none of the sizes tried.
    """
    names, reason = _names_at(model, operators), ""
    for sizes in feeder.tried():
        try:
            return _observed(model, feeder, sizes, names, opposite=opposite)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            reason = str(error)
    raise CannotRun(reason)


def _names_at(model: ir.Model, operators: Collection[str]) -> set[str]:
    """Of the values at operators, and at those that use what they make: others may be many, and large."""
    nodes = [node for node, _ in all_nodes(model.graph) if node.op_type in operators or node.op_type == "If"]
    users = nodes
    for _ in range(_DEPTH):
        users = [user for node in users for value in node.outputs for user, _ in value.uses()]
        nodes = [*nodes, *users]
    return {value.name or "" for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}


def _observed(
    model: ir.Model,
    feeder: Feeding,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    names: Collection[str],
    *,
    opposite: bool,
) -> Observed:
    (rows, fewer), (steps, more) = sizes
    base = feeder(rows, steps, 0)
    exposed = Exposed(model, base, names, opposite=opposite)
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
    fewest_rows = 1 if feeder.fixed(0) is None else rows
    fewest_steps = feeder.unit if feeder.fixed(1) is None else steps
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
        names: of the values; None = of all.
        opposite: of each ``If`` the branch that is not taken.
    """

    def __init__(
        self, model: ir.Model, feeds: Feeds, names: Collection[str] | None = None, *, opposite: bool = False
    ) -> None:
        flat = flattened(model, feeds, opposite=opposite)
        graph = flat.graph
        self.answers = {value.name for value in graph.outputs}
        given = {id(value) for value in graph.outputs}
        made = (value for node in graph for value in node.outputs if value.name and id(value) not in given)
        graph.outputs.extend(value for value in made if names is None or value.name in names)
        self.nodes: Sequence[ir.Node] = list(graph)
        self.inputs: Sequence[ir.Value] = [value for value in graph.inputs if not value.is_initializer()]
        self._names = [value.name or "" for value in graph.outputs]
        self._session = opened(flat)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All values of a run that are arrays, the inputs too."""
        arrays = zip(self._names, self._session.run(self._names, dict(feeds), without_messages()), strict=True)
        return dict(feeds) | {name: array for name, array in arrays if isinstance(array, np.ndarray)}
