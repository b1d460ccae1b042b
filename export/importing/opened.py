"""Foreign graphs opened: the sizes that their inputs are said to have no longer hold."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ostinato.export.importing.ports import Port


def opened(model: ir.Model, ports: Sequence[Port]) -> ir.Model:
    """A copy whose inputs have any sizes, and whose inner values have no shapes, which would be wrong then."""
    copy = model.clone()
    names = {port.name for port in ports}
    for value in copy.graph.inputs:
        if value.name in names and value.shape is not None:
            value.shape = ir.Shape([None] * len(value.shape))
    for value in copy.graph.outputs:
        value.shape = None
    for node in ir.traversal.RecursiveGraphIterator(copy.graph):
        for value in node.outputs:
            value.shape = None
    return copy
