"""Graphs of windows become graphs of frames: the steps that windows share are carried, as one state more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from pydantic import TypeAdapter

from ostinato.export.errors import ExportError
from ostinato.export.graphs.nodes import Nodes
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Dtype, State

WindowAxes: TypeAlias = tuple[int | str, ...]
"""Of an input as the graph of windows has it: sizes, ``"B"``, ``"W"`` for the steps of a window, and ``"T"`` where a
run takes many windows.
"""

_LEAST_OPSET = 11  # of Range, and of Slice with a negative start
_DTYPE: TypeAdapter[Dtype] = TypeAdapter(Dtype)
_TO_THE_END = np.iinfo(np.int64).max


def frame_graph(
    model: ir.Model, inputs: Mapping[str, WindowAxes], framing: Framing
) -> tuple[ir.Model, tuple[State, ...]]:
    """Make, in place, of a graph that is given whole windows one that is given frames, as ``framing`` has them.

    Each input of windows becomes one of frames, ``[B, size, ...]`` or ``[B, T, size, ...]``, whatever the order of its
    axes was; what a window has of the steps before its frame is a state, ``[B, past, ...]``, which is zeros before the
    first step. Numbers are only moved, so that a window has the bits that it had.

    Args:
        inputs: name of each input that is a window -> its axes; all with ``"T"``, or none.

    Returns:
        The model, and the states: one for each input, or none where a frame is all that the network sees.

    Raises:
        ExportError: an input is not in the graph, or its axes are not those of windows.
    """
    opset = model.graph.opset_imports.get("", 0)
    if opset < _LEAST_OPSET:
        raise ExportError(f"the graph is of opset {opset}; framing needs {_LEAST_OPSET}: convert it first")
    names = {value.name for value in _all_values(model.graph)}
    states = []
    for name, axes in inputs.items():
        state = _frame_input(model.graph, name, axes, framing, names)
        if state is not None:
            states.append(state)
    return model, tuple(states)


def steps_shape(axes: WindowAxes) -> WindowAxes:
    """The shape of such an input in a manifest, ``("B", "T", ...)``: ``T`` are the steps that a session is sent."""
    return ("B", "T", *(axis for axis in axes if isinstance(axis, int)))


def _frame_input(
    graph: ir.Graph, name: str, axes: WindowAxes, framing: Framing, names: set[str | None]
) -> State | None:
    place, old = _input(graph, name, axes)
    is_many, sizes = "T" in axes, [axis for axis in axes if isinstance(axis, int)]
    frame = ir.Value(name=name, type=old.type, shape=ir.Shape(["B", *(["T"] if is_many else []), framing.size, *sizes]))
    nodes = Nodes(np.int64)
    state, window = None, frame
    if framing.past:
        past = ir.Value(name=_fresh(f"{name}_past", names), type=old.type, shape=ir.Shape(["B", framing.past, *sizes]))
        window, left = (_windows if is_many else _window)(nodes, past, frame, framing, sizes)
        left.name, left.type, left.shape = _fresh(f"{name}_past_next", names), old.type, past.shape
        graph.inputs.append(past)
        graph.outputs.append(left)
        state = State(
            name=f"{name}_past",
            input=str(past.name),
            output=str(left.name),
            shape=("B", framing.past, *sizes),
            dtype=_dtype(old),
            bounded=True,  # of steps that were looked at when they came
        )
    elif framing.window < framing.size:
        at = nodes.integers([1 + is_many])
        first = nodes.integers([framing.size - framing.window])
        window = nodes.op("Slice", frame, first, nodes.integers([framing.size]), at)
    order = _order(axes)
    if order != sorted(order):
        window = nodes.op("Transpose", window, perm=order)
    if window is not frame:
        window.type = old.type
    ir.convenience.replace_all_uses_with(old, window)
    graph.inputs[place] = frame
    for node in nodes.made:
        for value in node.outputs:
            value.name = value.name or _fresh(f"{name}_framing", names)
    if nodes.made:
        first_node = next(iter(graph), None)
        if first_node is None:
            graph.extend(nodes.made)
        else:
            graph.insert_before(first_node, nodes.made)
    return state


def _window(
    nodes: Nodes, past: ir.Value, frame: ir.Value, framing: Framing, sizes: list[int]
) -> tuple[ir.Value, ir.Value]:
    """The window of a frame ``[B, hop, ...]``, and what the next one shares with it."""
    del sizes
    window = nodes.op("Concat", past, frame, axis=1)
    end = nodes.integers([_TO_THE_END])
    return window, nodes.op("Slice", window, nodes.integers([framing.hop]), end, nodes.integers([1]))


def _windows(
    nodes: Nodes, past: ir.Value, frames: ir.Value, framing: Framing, sizes: list[int]
) -> tuple[ir.Value, ir.Value]:
    """The windows ``[B, T, window, ...]`` of frames ``[B, T, hop, ...]``, and what the next shares with them."""
    steps = nodes.op("Concat", past, nodes.op("Reshape", frames, nodes.integers([0, -1, *sizes])), axis=1)
    zero, one = (nodes.op("Constant", value=ir.tensor(np.array(number, np.int64))) for number in (0, 1))
    count = nodes.op("Gather", nodes.op("Shape", frames), one, axis=0)
    begins = nodes.op("Mul", nodes.op("Range", zero, count, one), nodes.integers([framing.hop]))
    column = nodes.op("Reshape", begins, nodes.integers([-1, 1]))
    places = nodes.op("Add", column, nodes.integers(range(framing.window)))
    windows = nodes.op("Gather", steps, places, axis=1)
    end = nodes.integers([_TO_THE_END])
    return windows, nodes.op("Slice", steps, nodes.integers([-framing.past]), end, nodes.integers([1]))


def _input(graph: ir.Graph, name: str, axes: WindowAxes) -> tuple[int, ir.Value]:
    """A graph's input of windows, and its place.

    Raises:
        ExportError: there is none, or its axes are others.
    """
    places = {value.name: place for place, value in enumerate(graph.inputs)}
    if name not in places:
        raise ExportError(f"the graph has no input {name!r} to frame; it has {', '.join(map(str, places))}")
    value = graph.inputs[places[name]]
    symbols = sorted(axis for axis in axes if isinstance(axis, str))
    if symbols not in (["B", "W"], ["B", "T", "W"]):
        raise ExportError(f"{name!r}: {list(axes)} are no axes of windows: one 'B', one 'W', perhaps 'T', else sizes")
    if value.shape is not None and len(value.shape) != len(axes):
        raise ExportError(f"{name!r} has {len(value.shape)} axes in the graph, and {list(axes)} are {len(axes)}")
    return places[name], value


def _order(axes: WindowAxes) -> list[int]:
    """Where in ``[B, T, W, ...]`` each axis of the graph's own input is."""
    ahead: dict[str, int] = {
        symbol: place for place, symbol in enumerate(each for each in ("B", "T", "W") if each in axes)
    }
    sizes = iter(range(len(ahead), len(axes)))
    return [next(sizes) if isinstance(axis, int) else ahead[axis] for axis in axes]


def _dtype(value: ir.Value) -> Dtype:
    assert value.dtype is not None
    return _DTYPE.validate_python(str(value.dtype.numpy()))


def _fresh(name: str, names: set[str | None]) -> str:
    """A name that nothing in the graph has."""
    found, number = name, 1
    while found in names:
        number += 1
        found = f"{name}_{number}"
    names.add(found)
    return found


def _all_values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from attribute.as_graph().inputs
                yield from attribute.as_graph().initializers.values()
