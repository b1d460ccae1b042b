"""A guard against NaN that would come out of a graph as a finite number.

Where torch gives NaN, onnxruntime's CPU operators LSTM and GRU give a finite number as soon as they have a bias: what
goes into a gate is clipped, and clipping loses NaN. Its maximum and minimum over an axis, or over a window, lose it,
too, and the place of an extreme is not that of the first NaN, as in torch. So what enters them is looked at in the
graph, and where the network would give NaN the row's numbers are made NaN: the cell of an LSTM, the hidden state of a
GRU, and by them whatever follows, as in the network. Where it can be shown that nothing can be NaN, as behind an
embedding or a graph's input without holes, nothing is added.

An infinity alone is not NaN: it drives the gates to their ends, in torch and here. Two of them may cancel each other,
and one times a weight of 0 is NaN: so a few columns of the weights are tried, enough of them to tell as all would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.graphs.ranges import Ranges, constant_of

_LENGTHS, _HIDDEN, _CELL = 4, 5, 6
"""Where the operators have the lengths of their rows, and what their states begin with."""
_EXTREMES = {"ReduceMax": "ReduceSum", "ReduceMin": "ReduceSum", "MaxPool": "AveragePool"}
"""Operators that lose NaN, and over the same numbers one that does not."""
_WINDOW = ("kernel_shape", "strides", "pads", "dilations", "auto_pad", "ceil_mode")
_MAX_FEATURES = 512
"""With more features than that not every pair of them is looked at, and some columns are taken as they come."""
_NUM_COLUMNS = 32


def guard(model: ir.Model, ranges: Ranges) -> list[str]:
    """Put the guard before each operator that would lose NaN and may meet it; returns the names of these nodes."""
    return _guard_graph(model.graph, ranges)


def _guard_graph(graph: ir.Graph, ranges: Ranges) -> list[str]:
    guarded = []
    for node in list(graph):
        for body in ranges.enter(node):
            guarded += _guard_graph(body, ranges)
        if node.op_type in ("LSTM", "GRU") and _guard_layer(graph, node, ranges):
            guarded.append(node.name or node.op_type)
        elif node.op_type in _EXTREMES and not (given := ranges.of(node.inputs[0])).is_finite:
            if node.op_type == "MaxPool" and given.bound == np.inf:
                _restore_infinity(graph, node)
            if not given.may_be_nan:
                continue
            _guard_extreme(graph, node)
            guarded.append(node.name or node.op_type)
        elif node.op_type in ("ArgMax", "ArgMin") and ranges.of(node.inputs[0]).may_be_nan:
            _guard_place(graph, node)
            guarded.append(node.name or node.op_type)
    return guarded


def telling_columns(weights: NDArray[Any]) -> NDArray[Any]:
    """Columns of a layer's weights that tell NaN as all of them would.

    Args:
        weights: ``[G, F]``, a row for each gate of each unit.

    Returns:
        ``[F, K]``: for ``x`` with infinities or NaN, ``x @ columns`` has NaN if and only if ``x @ weights.T`` has.
    """
    num_features = weights.shape[1]
    if num_features > _MAX_FEATURES:
        return np.ascontiguousarray(weights[:_NUM_COLUMNS].T)
    signs = np.sign(weights)
    zero = np.zeros(num_features, bool)
    any_zero = (signs == 0).any(axis=0)
    same = np.eye(num_features, dtype=bool)
    opposite = np.eye(num_features, dtype=bool)
    chosen: list[int] = []
    for index, row in enumerate(signs):
        known = row != 0
        pairs = np.outer(row, row)
        is_new = (~known & ~zero).any() or ((pairs > 0) & ~same).any() or ((pairs < 0) & ~opposite).any()
        if is_new or not chosen:
            chosen.append(index)
            zero |= ~known
            same |= pairs > 0
            opposite |= pairs < 0
        if same.all() and opposite.all() and (zero == any_zero).all():
            break
    return np.ascontiguousarray(weights[chosen].T)


def _guard_layer(graph: ir.Graph, node: ir.Node, ranges: Ranges) -> bool:
    taints = []
    lengths = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    for given, weights, given_lengths in (
        (node.inputs[0], node.inputs[1], lengths),
        (node.inputs[_HIDDEN], node.inputs[2], None),
    ):
        if given is not None and not ranges.of(given).is_finite:
            taints.append(_taint(graph, node, given, constant_of(weights), given_lengths))
    target = _CELL if node.op_type == "LSTM" else _HIDDEN
    for taint in taints:
        begun = node.inputs[target]
        assert begun is not None, "a layer's states are always given"
        node.replace_input_with(target, _insert(graph, node, "Sub", [begun, taint]))
    return bool(taints)


def _taint(
    graph: ir.Graph, node: ir.Node, given: ir.Value, weights: NDArray[Any] | None, lengths: ir.Value | None
) -> ir.Value:
    """``[1, B, 1]``: NaN for the rows of ``given`` ``[T, B, F]`` of which the layer makes NaN, 0 for the others."""
    numbers = given
    if weights is not None:
        columns = telling_columns(weights.reshape(-1, weights.shape[-1]))
        numbers = _insert(graph, node, "MatMul", [given, _constant(graph, node, columns)])
    dtype = np.float32 if weights is None else weights.dtype
    nothing = _constant(graph, node, np.zeros((), dtype))
    # NaN stays NaN, anything else becomes 0: infinities as well, which a product with 0 would not.
    numbers = _insert(graph, node, "Clip", [numbers, nothing, nothing])
    if lengths is not None:
        numbers = _insert(graph, node, "Where", [_is_within(graph, node, given, lengths), numbers, nothing])
    axes = _constant(graph, node, np.array([0, 2], np.int64))
    return _insert(graph, node, "ReduceSum", [numbers, axes])


def _is_within(graph: ir.Graph, node: ir.Node, given: ir.Value, lengths: ir.Value) -> ir.Value:
    """Which steps are before the end of their row, bool ``[T, B, 1]``."""
    scalar = [_constant(graph, node, np.array(number, np.int64)) for number in (0, 1)]
    num_steps = _insert(graph, node, "Gather", [_insert(graph, node, "Shape", [given]), scalar[0]])
    steps = _insert(graph, node, "Range", [scalar[0], num_steps, scalar[1]])
    column = _insert(graph, node, "Unsqueeze", [steps, _constant(graph, node, np.array([1], np.int64))])
    wide = _insert(graph, node, "Cast", [lengths], {"to": int(ir.DataType.INT64)})
    within = _insert(graph, node, "Less", [column, wide])
    return _insert(graph, node, "Unsqueeze", [within, _constant(graph, node, np.array([2], np.int64))])


def _guard_extreme(graph: ir.Graph, node: ir.Node) -> None:
    """Take from a maximum or minimum NaN where one of its numbers is, and 0 elsewhere."""
    given, made = node.inputs[0], node.outputs[0]
    assert given is not None
    dtype = (given.dtype or ir.DataType.FLOAT).numpy()
    nothing = _constant(graph, node, np.zeros((), dtype))
    clipped = _insert(graph, node, "Clip", [given, nothing, nothing])
    kept = ("keepdims", "noop_with_empty_axes", *_WINDOW)
    attributes = {name: node.attributes[name].value for name in kept if name in node.attributes}
    if node.op_type == "MaxPool":
        attributes["count_include_pad"] = 1  # or a window of padding alone would be 0 by 0
    taint = _insert(graph, node, _EXTREMES[node.op_type], [clipped, *node.inputs[1:]], attributes)
    _put_behind(graph, made, [ir.node("Sub", [made, taint])])


def _guard_place(graph: ir.Graph, node: ir.Node) -> None:
    """Make the place of a maximum or minimum that of the first NaN, where there is one."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    keeps = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    is_nan = _insert(graph, node, "IsNaN", [node.inputs[0]])
    marks = _insert(graph, node, "Cast", [is_nan], {"to": int(ir.DataType.FLOAT)})
    place = _insert(graph, node, "ArgMax", [marks], {"axis": axis, "keepdims": keeps})
    axes = _constant(graph, node, np.array([axis], np.int64))
    number = _insert(graph, node, "ReduceSum", [marks, axes], {"keepdims": keeps})
    has_nan = _insert(graph, node, "Cast", [number], {"to": int(ir.DataType.BOOL)})
    made = node.outputs[0]
    _put_behind(graph, made, [ir.node("Where", [has_nan, place, made])])


def _restore_infinity(graph: ir.Graph, node: ir.Node) -> None:
    """Make minus infinity of the least number of all, which a window has in its place as its largest."""
    made = node.outputs[0]
    dtype = (made.dtype or ir.DataType.FLOAT).numpy()
    least, infinity = (_constant(graph, node, np.array(number, dtype)) for number in (np.finfo(dtype).min, -np.inf))
    is_least = ir.node("Equal", [made, least])
    _put_behind(graph, made, [is_least, ir.node("Where", [is_least.outputs[0], infinity, made])])


def _put_behind(graph: ir.Graph, made: ir.Value, nodes: list[ir.Node]) -> None:
    """Put nodes behind the one that makes ``made``; what the last of them makes is in its place from there on."""
    replaced = nodes[-1].outputs[0]
    replaced.type = made.type
    given = [tuple(node.inputs) for node in nodes]
    producer = made.producer()
    assert producer is not None
    graph.insert_after(producer, nodes)
    ir.convenience.replace_all_uses_with(made, replaced, replace_graph_outputs=True)
    for node, values in zip(nodes, given, strict=True):
        for index, value in enumerate(values):
            node.replace_input_with(index, value)


def _insert(
    graph: ir.Graph,
    before: ir.Node,
    operator: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, Any] | None = None,
) -> ir.Value:
    node = ir.node(operator, inputs, attributes or {})
    graph.insert_before(before, node)
    return node.outputs[0]


def _constant(graph: ir.Graph, before: ir.Node, numbers: NDArray[Any]) -> ir.Value:
    return _insert(graph, before, "Constant", [], {"value": ir.tensor(numbers)})
