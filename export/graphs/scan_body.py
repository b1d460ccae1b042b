"""The body of a ``Scan``: nodes of one step, with names that no other body has."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ostinato.export.graphs.nodes import Nodes


class ScanBody(Nodes):
    """Nodes of one step of a scan; ``prefix`` makes their names the only ones, which else begin anew in each body."""

    def __init__(self, prefix: str, dtype: Any, numbers: Any) -> None:
        super().__init__(numbers)
        self._prefix = prefix
        self._type = dtype

    def given(self, name: str, size: int, dtype: Any = None) -> ir.Value:
        """An input ``[B, size]``."""
        kind = ir.TensorType(self._type if dtype is None else dtype)
        return ir.Value(name=f"{self._prefix}/{name}", type=kind, shape=ir.Shape([None, size]))

    def graph(self, inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Graph:
        """The body."""
        for index, node in enumerate(self.made):
            for number, value in enumerate(node.outputs):
                value.name = value.name or f"{self._prefix}/{index}.{number}"
        for value in outputs:
            value.type = ir.TensorType(self._type)
        return ir.Graph(inputs, outputs, nodes=self.made, name=f"{self._prefix}/step")
