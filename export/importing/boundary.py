"""The boundary of a foreign graph: its inputs and outputs made those of a manifest, in place.

Names become such as a client can say, axes of one are left out, and every tensor has a batch. A graph that takes a
fixed batch, or has no axis for one, becomes the body of a ``Scan`` over the rows: each is computed by itself, as the
file would, in whatever company it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ostinato.export.graphs.nodes import Nodes
from ostinato.export.graphs.tidy import separate_outputs
from ostinato.export.importing.layouts import AxisRoles, normal
from ostinato.export.importing.ports import Port


@dataclass(frozen=True)
class ServedTensor:
    """An input or output as it is in the file, and what it becomes.

    Attributes:
        name: in the file; ``served`` in the manifest.
        roles: its axes in the file.
    """

    name: str
    served: str
    roles: AxisRoles

    @property
    def shape(self) -> tuple[int | str, ...]:
        """In the manifest."""
        return normal(self.roles)


def serve_edges(
    model: ir.Model,
    inputs: Sequence[ServedTensor],
    outputs: Sequence[ServedTensor],
    rows: int | None,
    constants: Sequence[str] = (),
) -> None:
    """Give, in place, a graph the inputs and outputs of a manifest.

    Args:
        inputs, outputs: those that are kept, in their order; an input that is left out must have a default.
        rows: the batch that the graph takes; None = any.
        constants: inputs that stay as they are.
    """
    graph = model.graph
    separate_outputs(graph)
    opset = model.opset_imports.get("", 1)
    given = {value.name: value for value in graph.inputs}
    made = {value.name: value for value in graph.outputs}
    fixed = [given[name] for name in constants]
    kept_inputs, kept_outputs = [given[edge.name] for edge in inputs], [made[edge.name] for edge in outputs]
    graph.outputs[:] = kept_outputs
    RemoveUnusedNodesPass()(model)
    if rows is None:
        _without_units(graph, inputs, outputs, kept_inputs, kept_outputs, opset, fixed)
        return
    _over_rows(model, inputs, outputs, kept_inputs, kept_outputs, rows, fixed)


def _without_units(
    graph: ir.Graph,
    inputs: Sequence[ServedTensor],
    outputs: Sequence[ServedTensor],
    given: Sequence[ir.Value],
    made: Sequence[ir.Value],
    opset: int,
    fixed: Sequence[ir.Value],
) -> None:
    new_inputs, first, last = [], [], []
    for edge, value in zip(inputs, given, strict=True):
        units = _axes(edge.roles, "1")
        if not units:
            new_inputs.append(value)
            continue
        outer = ir.Value(name=f"served_{value.name}", type=value.type, shape=ir.Shape(edge.shape))
        nodes = _insert(outer, units, opset)
        ir.convenience.replace_all_uses_with(value, nodes[-1].outputs[0], replace_graph_outputs=True)
        first += nodes
        new_inputs.append(outer)
    new_outputs = []
    for edge, value in zip(outputs, made, strict=True):
        units = _axes(edge.roles, "1")
        nodes = _remove(value, units, opset) if units else []
        last += nodes
        new_outputs.append(nodes[-1].outputs[0] if nodes else value)
    _put_first(graph, first)
    graph.extend(last)
    graph.inputs[:] = [*new_inputs, *fixed]
    graph.outputs[:] = new_outputs
    for edge, value in zip((*inputs, *outputs), (*new_inputs, *new_outputs), strict=True):
        value.shape = ir.Shape(edge.shape)


def _over_rows(
    model: ir.Model,
    inputs: Sequence[ServedTensor],
    outputs: Sequence[ServedTensor],
    given: Sequence[ir.Value],
    made: Sequence[ir.Value],
    rows: int,
    fixed: Sequence[ir.Value],
) -> None:
    """Make the graph the body of a ``Scan`` over the rows."""
    body, opset = model.graph, model.opset_imports.get("", 1)
    first, row_inputs, last, row_outputs = [], [], [], []
    for edge, value in zip(inputs, given, strict=True):
        shape = [axis for axis in edge.shape if axis != "B"]
        row = ir.Value(name=f"row_{value.name}", type=value.type, shape=ir.Shape(shape))
        nodes = _insert(row, _axes(edge.roles, "B", "1"), opset)
        inner = nodes[-1].outputs[0] if nodes else row
        if rows > 1 and "B" in edge.roles:
            copies = np.ones(len(edge.roles), np.int64)
            copies[edge.roles.index("B")] = rows
            nodes += _with_constant("Tile", inner, copies)
            inner = nodes[-1].outputs[0]
        ir.convenience.replace_all_uses_with(value, inner, replace_graph_outputs=True)
        first += nodes
        row_inputs.append(row)
    for edge, value in zip(outputs, made, strict=True):
        nodes = []
        inner = value
        if rows > 1 and "B" in edge.roles:
            nodes += _with_constant("Gather", inner, np.array([0], np.int64), axis=edge.roles.index("B"))
            inner = nodes[-1].outputs[0]
        units = _axes(edge.roles, "B", "1")
        nodes += _remove(inner, units, opset) if units else []
        if not nodes:
            nodes = [ir.node("Identity", [inner])]
        nodes[-1].outputs[0].type = value.type
        nodes[-1].outputs[0].shape = ir.Shape([axis for axis in edge.shape if axis != "B"])
        last += nodes
        row_outputs.append(nodes[-1].outputs[0])
    _put_first(body, first)
    body.extend(last)
    for place, value in enumerate(row_outputs):
        value.name = f"row_made_{place}"
    body.inputs[:] = row_inputs
    body.outputs[:] = row_outputs
    weights = list(body.initializers.values())
    body.initializers.clear()
    body.name = "one_row"
    outer = [
        ir.Value(name=f"served_{value.name}", type=value.type, shape=ir.Shape(edge.shape))
        for edge, value in zip(inputs, given, strict=True)
    ]
    attributes: dict[str, Any] = {
        "body": body,
        "num_scan_inputs": len(outer),
        "scan_input_axes": [edge.shape.index("B") for edge in inputs],
        "scan_output_axes": [edge.shape.index("B") for edge in outputs],
    }
    scan = ir.node("Scan", outer, attributes, num_outputs=len(outputs))
    for edge, value, result in zip(outputs, row_outputs, scan.outputs, strict=True):
        result.type, result.shape, result.name = value.type, ir.Shape(edge.shape), f"served_{edge.name}"
    model.graph = ir.Graph(
        [*outer, *fixed],
        list(scan.outputs),
        nodes=[scan],
        initializers=weights,
        opset_imports=body.opset_imports,
        name="rows",
    )


def count_steps(model: ir.Model, lengths: Port, timed: str, roles: AxisRoles, axis: int) -> None:
    """Put, in place, the number of steps that an input has where the graph takes lengths: in a chunk all are whole."""
    graph = model.graph
    value, x = (next(each for each in graph.inputs if each.name == name) for name in (lengths.name, timed))
    nodes = Nodes(np.int64)
    sizes = nodes.op("Shape", x)
    count = nodes.op("Gather", sizes, nodes.integers([axis]), axis=0)
    if lengths.sizes == ():
        count = nodes.op("Reshape", count, nodes.op("Constant", value=ir.tensor(np.zeros(0, np.int64))))
    elif "B" in roles:
        count = nodes.op("Expand", count, nodes.op("Gather", sizes, nodes.integers([roles.index("B")]), axis=0))
    assert value.dtype is not None
    count = nodes.op("Cast", count, to=int(value.dtype))
    count.type = value.type
    ir.convenience.replace_all_uses_with(value, count)
    graph.inputs.remove(value)
    _put_first(graph, nodes.made)


def begin_with(
    model: ir.Model, name: str, row: NDArray[Any], roles: AxisRoles, timed: tuple[str, AxisRoles, int]
) -> None:
    """Put, in place, what every sequence begins with where the graph takes a state that nobody carries."""
    graph = model.graph
    value, x = (next(each for each in graph.inputs if each.name == wanted) for wanted in (name, timed[0]))
    nodes = Nodes(np.int64)
    begun = nodes.op("Constant", value=ir.tensor(np.expand_dims(row, roles.index("B")) if "B" in roles else row))
    if "B" in roles and "B" in timed[1]:
        rows = nodes.op("Gather", nodes.op("Shape", x), nodes.integers([timed[1].index("B")]), axis=0)
        ones = nodes.integers([1])
        sizes = nodes.op("Concat", *(rows if role == "B" else ones for role in roles), axis=0)
        begun = nodes.op("Expand", begun, sizes)
    begun.type = value.type
    ir.convenience.replace_all_uses_with(value, begun)
    graph.inputs.remove(value)
    _put_first(graph, nodes.made)


def _axes(roles: AxisRoles, *which: str) -> list[int]:
    return [axis for axis, role in enumerate(roles) if role in which]


def _insert(value: ir.Value, axes: Sequence[int], opset: int) -> list[ir.Node]:
    return _reshaping("Unsqueeze", value, axes, opset)


def _remove(value: ir.Value, axes: Sequence[int], opset: int) -> list[ir.Node]:
    return _reshaping("Squeeze", value, axes, opset)


def _reshaping(operator: str, value: ir.Value, axes: Sequence[int], opset: int) -> list[ir.Node]:
    """Axes of one put in or taken out; the axes are an attribute in graphs of former releases."""
    if not axes:
        return []
    nodes = Nodes(np.int64)
    if opset < 13:
        nodes.op(operator, value, axes=list(axes))
    else:
        nodes.op(operator, value, nodes.integers(axes))
    nodes.made[-1].outputs[0].type = value.type
    return nodes.made


def _with_constant(operator: str, value: ir.Value, array: np.ndarray, **attributes: int) -> list[ir.Node]:
    nodes = Nodes(np.int64)
    nodes.op(operator, value, nodes.constant(array), **attributes)
    nodes.made[-1].outputs[0].type = value.type
    return nodes.made


def _put_first(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    if not nodes:
        return
    start = next(iter(graph), None)
    if start is None:
        graph.extend(nodes)
    else:
        graph.insert_before(start, nodes)
