"""Codes of a foreign graph's inputs: whole numbers that are rows of a table, as long as the table is."""

from __future__ import annotations

import onnx_ir as ir

from ostinato.export.graphs.nodes import constant_of

_KEEP_CODES = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Slice", "Expand"}
)


def find_num_codes(model: ir.Model) -> dict[str, int]:
    """Name of an input that is looked up in tables -> the rows of the smallest of them."""
    found = {}
    for value in model.graph.inputs:
        if value.dtype is None or not value.dtype.is_integer():
            continue
        sizes = list(_tables(value))
        if sizes:
            found[value.name or ""] = min(sizes)
    return found


def shares_a_scale(model: ir.Model) -> bool:
    """Whether a graph quantises what it is given by what all of a run is, so that no row is its own."""
    return any(node.op_type.startswith("DynamicQuantize") for node in ir.traversal.RecursiveGraphIterator(model.graph))


def _tables(start: ir.Value) -> list[int]:
    """The rows of the tables that a value is looked up in, whatever its shape is there."""
    found: list[int] = []
    seen, waiting = set(), [start]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        for node, place in value.uses():
            if node.op_type == "Gather" and place == 1:
                axis = node.attributes.get("axis")
                table = constant_of(node.inputs[0])
                if table is not None and table.ndim > 1:
                    found.append(table.shape[axis.as_int() if axis is not None else 0])
            elif node.op_type == "OneHot" and place == 0:
                depth = constant_of(node.inputs[1])
                if depth is not None:
                    found.append(int(depth.ravel()[0]))
            elif node.op_type in _KEEP_CODES and place == 0:
                waiting += node.outputs
    return found
