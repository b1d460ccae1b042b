"""Foreign graphs opened: the sizes that their inputs are said to have no longer hold."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ostinato.export.importing.layouts import AxisRoles


def opened(model: ir.Model, roles: Mapping[str, AxisRoles] | None = None) -> ir.Model:
    """A copy whose inputs have any sizes, and whose inner values have no shapes, which would be wrong then.

    Args:
        roles: of inputs whose axes are known: what is neither batch nor steps keeps its size.
    """
    copy = model.clone()
    for value in copy.graph.inputs:
        known = (roles or {}).get(value.name or "")
        if known is not None:
            value.shape = ir.Shape([1 if role == "1" else role for role in known])
        elif value.shape is not None:
            value.shape = ir.Shape([None] * len(value.shape))
    for value in copy.graph.outputs:
        value.shape = None
    for node in ir.traversal.RecursiveGraphIterator(copy.graph):
        for value in node.outputs:
            value.shape = None
    return copy
