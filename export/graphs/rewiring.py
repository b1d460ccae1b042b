"""A foreign graph while it is rewired: states that become its inputs and outputs, and what hinders."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.nodes import Nodes
from ostinato.export.graphs.observed import Observed
from ostinato.export.graphs.sources import ancestors, name_of, sources
from ostinato.export.graphs.tidy import bodies_of
from ostinato.service.artifact.tensors import Axis, State

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


_MOVES = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Gather", "Split", "Concat", "Identity", "Constant"}
_MOVES |= {"Flatten", "Expand", "Cast"}
_STATE_NAME = re.compile(
    r"(?i)(^|[^a-z])(h|c|hx|cx|h_?n|c_?n|mem)($|[^a-z])|state|hidden|cell|cache|init|memory|prev|past"
)


class Hindered(Exception):
    """An operator cannot be rewired; says why in a sentence."""


@dataclass(frozen=True)
class Obstacle:
    """What hinders a graph to stream: the node, its operator, and one sentence."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r}: {self.reason}"


@dataclass(frozen=True)
class Fold:
    """How the batch lies within an axis of ``before * B * after`` places, the last ones side by side."""

    before: int = 1
    after: int = 1

    @property
    def sizes(self) -> list[Axis]:
        """The axis as axes of their own."""
        before: list[Axis] = [self.before] if self.before > 1 else []
        after: list[Axis] = [self.after] if self.after > 1 else []
        sizes: list[Axis] = [*before, "B", *after]
        return sizes

    @property
    def is_plain(self) -> bool:
        """Whether the axis is the batch and nothing else."""
        return self.before == self.after == 1


@dataclass(frozen=True)
class Placement:
    """How a state lies: in the graph its batch is in one axis, maybe folded with others; outside it is an axis of its
    own.

    ``sizes``: as the graph has it, -1 in the place of the batch; ``axis``: that place; None = the graph has none, as
    it takes one row only.
    """

    sizes: tuple[int, ...]
    axis: int | None
    fold: Fold = Fold()

    @property
    def shape(self) -> tuple[Axis, ...]:
        """Outside."""
        if self.axis is None:
            return ("B", *self.sizes)  # as outside there is always one
        before, after = self.sizes[: self.axis], self.sizes[self.axis + 1 :]
        if self.fold.is_plain:
            return (*before, "B", *after)
        return (*(size for size in before if size > 1), *self.fold.sizes, *after)

    @property
    def is_plain(self) -> bool:
        """Whether outside it is as inside."""
        return self.axis is not None and self.fold.is_plain

    def inside(self, nodes: Nodes, state: ir.Value) -> ir.Value:
        """A state as the graph has it."""
        return state if self.is_plain else nodes.reshaped(state, self.sizes)

    def outside(self, nodes: Nodes, value: ir.Value) -> ir.Value:
        """A value of the graph as the state is outside."""
        sizes = [size if isinstance(size, int) else -1 for size in self.shape]
        return value if self.is_plain else nodes.reshaped(value, sizes)

    def row(self, array: Array) -> Array | None:
        """Of a value of the graph what is one row's, in the shape without the batch; None where rows differ."""
        shape = self.shape
        unfolded = array.reshape([size if isinstance(size, int) else -1 for size in shape])
        batch = shape.index("B")
        first = unfolded.take(0, axis=batch)
        same = np.array_equal(unfolded, np.broadcast_to(np.expand_dims(first, batch), unfolded.shape))
        return first if same else None


@dataclass
class Rewiring:
    """A graph with the states that it was given and the obstacles found.

    ``observed``: its values before it was changed. ``fed``: inputs that are sequences, constants or states of others.
    ``forgotten``: inputs that states of ours stand for.
    """

    model: ir.Model
    observed: Observed
    fed: Collection[str] = ()
    forgotten: set[str] = field(default_factory=set)
    states: list[State] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._around = {id(body): node for node in _nodes(self.model) for body in bodies_of(node)}
        self._taken = {value.name for value in (*self.model.graph.inputs, *self.model.graph.outputs)}
        for node in _nodes(self.model):
            self._taken |= {value.name for value in node.outputs}

    def hinder(self, node: ir.Node, reason: str) -> None:
        """Note an obstacle."""
        self.obstacles.append(Obstacle(name_of(node), node.op_type, reason))

    def fold_of(self, value: ir.Value, axis: int) -> Fold:
        """How the batch lies in an axis that has it.

        Raises:
            Hindered: rows of the batch are not apart there.
        """
        base = self.observed.base
        changed = self.observed.changed_rows(value, axis)
        sizes = self.observed.sizes(value)
        if changed is None or sizes is None:
            raise Hindered("what it is given could not be seen in a run")
        count, rows = len(changed), base.batch_size
        if base.batch_size == self.observed.narrower.batch_size:
            return Fold(1, count // rows)
        if not sizes[axis].batch or sizes[axis].rest.denominator != 1 or count % rows:
            raise Hindered("the rows of a batch are not apart in what it is given")
        if not changed.any():
            return Fold(1, count // rows)
        places = np.arange(count)
        for after in range(1, count // rows + 1):
            if (count // rows) % after == 0 and not changed[(places // after) % rows != 0].any():
                return Fold(count // rows // after, after)
        raise Hindered("the rows of a batch are mixed in what it is given")

    def initial_of(self, value: ir.Value | None, layout: Placement, last: ir.Value) -> Any:
        """What a state begins with: a number, or the nested list of a row.

        Args:
            last: what it is in the end.

        Raises:
            Hindered: it is not the same in all runs.
        """
        if value is None or self._is_forgotten(value, last):
            return 0.0
        array = self.observed.base.get(value.name or "")
        if array is None and value.const_value is not None:
            array = value.const_value.numpy()
        if array is None:
            raise Hindered("what it begins with could not be seen in a run")
        if value.const_value is None and not self.observed.is_constant(value):
            is_random = any(node.op_type in _RANDOM for node in ancestors(value))
            begin = "random numbers" if is_random else "what the graph makes of its inputs"
            raise Hindered(f"it begins with {begin}, so that no state can be known before the first step")
        return _nested(self._row(array, layout))

    def _row(self, array: Array, layout: Placement) -> Array:
        sizes = [size for size in layout.sizes if size != -1]
        axis = layout.axis
        if axis is not None and array.shape[axis] == 1:
            array = np.repeat(array, layout.fold.before * layout.fold.after, axis=axis)
        row = None if array.size % max(1, int(np.prod(sizes))) else layout.row(array)
        if row is None:
            raise Hindered("the rows of a batch begin with different numbers")
        return row

    def placement_of(self, value: ir.Value, sizes: Mapping[int, int]) -> Placement:
        """How a state lies that has the sizes of a value except for those of some axes.

        Raises:
            Hindered: it is not known which part of it is of which row.
        """
        found = self.observed.sizes(value)
        if found is None:
            raise Hindered("what it is given could not be seen in a run")
        numbers = [sizes.get(axis, int(size.rest)) for axis, size in enumerate(found)]
        others = [axis for axis in range(len(numbers)) if axis not in sizes]
        if self.observed.base.batch_size == self.observed.narrower.batch_size == 1:
            axis = next((axis for axis in others if numbers[axis] == 1), None)
            if axis is None:
                return Placement(tuple(numbers), None)
        else:
            axis = next((axis for axis in others if found[axis].batch or self._is_apart(value, axis)), None)
            if axis is None:
                raise Hindered("what it carries from step to step is one for all rows of a batch")
        if any(found[each].is_of_steps for each in others):
            raise Hindered("what it carries from step to step grows with the steps")
        numbers[axis] = -1
        return Placement(tuple(numbers), axis, self.fold_of(value, axis))

    def _is_apart(self, value: ir.Value, axis: int) -> bool:
        """Whether an axis has the rows of a batch whose size is fixed."""
        changed = self.observed.changed_rows(value, axis)
        is_fixed = self.observed.base.batch_size == self.observed.narrower.batch_size
        return is_fixed and changed is not None and bool(changed.any()) and not bool(changed.all())

    def dtype_of(self, value: ir.Value) -> ir.DataType:
        """The dtype that a value had in a run."""
        return ir.DataType.from_numpy(self.observed.base[value.name or ""].dtype)

    def settled(self, node: ir.Node, place: int) -> Array | None:
        """What a node is given in a place where that is the same in all runs, whatever their sizes and numbers."""
        value = node.inputs[place] if place < len(node.inputs) else None
        return None if value is None else self.observed.settled(value)

    def begins_with_inputs(self, value: ir.Value | None, last: ir.Value) -> bool:
        """Whether what a state begins with is made of inputs of the graph, and that is to stay so.

        Args:
            last: what it is in the end.
        """
        if value is None or value.const_value is not None or self.observed.is_constant(value):
            return False
        return any(source.is_graph_input() for source in sources(value)) and not self._is_forgotten(value, last)

    def _is_forgotten(self, value: ir.Value, last: ir.Value) -> bool:
        """Whether a state is given by an input that is there for nothing else, and by its name a state, and is not
        given back: a session carries it, from zeros on.
        """
        own = {state.input for state in self.states}
        given = [source for source in sources(value) if source.is_graph_input() and source.name not in own]
        is_moved = all(node.op_type in _MOVES for node in ancestors(value))
        is_state = all(_STATE_NAME.search(source.name or "") and source.name not in self.fed for source in given)
        if not given or not is_moved or not is_state or _is_given_back(last):
            return False
        self.forgotten |= {source.name or "" for source in given}
        return True

    def add_state(self, node: ir.Node, label: str, layout: Placement, dtype: ir.DataType, initial: Any) -> ir.Value:
        """A new input of the graph, as the state is outside."""
        name = self._free(f"{_identifier(name_of(node))}_{label}")
        given = ir.Value(name=f"{name}_in", type=ir.TensorType(dtype), shape=ir.Shape(layout.shape))
        self.model.graph.inputs.append(given)
        kind: Any = dtype.numpy().name
        state = State(
            name=name, input=f"{name}_in", output=f"{name}_out", shape=layout.shape, dtype=kind, initial=initial
        )
        self.states.append(state)
        self.words.append(
            f"{node.op_type} {name_of(node)!r}: state {label} {list(layout.shape)}, at first {_words(initial)}"
        )
        return given

    def put_state(self, node: ir.Node, placement: Placement, state: ir.Value, place: int, place_of_last: int) -> None:
        """Give a state to a node, by the place among its inputs, and take it from its outputs."""
        before, behind = Nodes(np.int64), Nodes(np.int64)
        node.replace_input_with(place, placement.inside(before, state))
        node.prepend(before.made)
        last = node.outputs[place_of_last]
        last.type, last.name = state.type, last.name or None
        last = placement.outside(behind, last)
        node.append(behind.made)
        self.end_state(state, last)

    def end_state(self, given: ir.Value, last: ir.Value) -> None:
        """Make what a state is in the end, maybe within branches of ``If``, an output of the graph."""
        state = next(state for state in self.states if state.input == given.name)
        graph = last.graph
        while graph is not None and id(graph) in self._around:
            choice = self._around[id(graph)]
            for body in bodies_of(choice):
                body.outputs.append(last if body is graph else _kept(body, given))
            choice.resize_outputs(len(choice.outputs) + 1)
            last, graph = choice.outputs[-1], choice.graph
            last.type = given.type
        made = ir.node("Identity", [last])
        self.model.graph.append(made)
        made.outputs[0].name, made.outputs[0].type = state.output, given.type
        made.outputs[0].shape = ir.Shape(state.shape)
        self.model.graph.outputs.append(made.outputs[0])

    def _free(self, name: str) -> str:
        number, free = 1, name
        while {free, f"{free}_in", f"{free}_out"} & self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken |= {free, f"{free}_in", f"{free}_out"}
        return free


def _kept(body: ir.Graph, given: ir.Value) -> ir.Value:
    """In a branch that does not use a state: what it was."""
    same = ir.node("Identity", [given])
    same.outputs[0].type = given.type
    body.append(same)
    return same.outputs[0]


def _nodes(model: ir.Model) -> list[ir.Node]:
    return list(ir.traversal.RecursiveGraphIterator(model.graph))


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "state"


def _nested(row: Array) -> Any:
    first = row.ravel()[0].item() if row.size else 0
    return first if bool(np.all(row == first)) else row.tolist()


def _words(initial: Any) -> str:
    return "a learned row" if isinstance(initial, list) else f"{initial:g}"


def _is_given_back(last: ir.Value) -> bool:
    """Whether a value is an output of the graph, but for where its numbers stand."""
    waiting, seen = [last], {id(last)}
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return True
        made = [each for user, _ in value.uses() if user.op_type in _MOVES for each in user.outputs]
        waiting.extend(each for each in made if id(each) not in seen)
        seen |= {id(each) for each in made}
    return False
