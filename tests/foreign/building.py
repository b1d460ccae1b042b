"""GraphBuilder: a graph, node by node, as ``onnx.helper`` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


class GraphBuilder:
    """Nodes, weights, inputs and outputs of a graph, in the order in which they are written.

    ``prefix`` stands before the names that are made here, as each exporter has its own; ``opset`` says whether axes are
    attributes (before 13) or inputs.
    """

    def __init__(self, opset: int, prefix: str = "", *, seed: int = 0) -> None:
        self.opset, self.prefix = opset, prefix
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(seed)
        self._count = 0

    def input(self, name: str, shape: Sequence[int | str | None], dtype: int = FLOAT) -> str:
        """An input by its name."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str | None], dtype: int = FLOAT) -> None:
        """Make what has this name an output."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def weight(self, value: Any, name: str = "") -> str:
        """An initializer; floats are float32, whole numbers int64."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        name = name or self._name("const")
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def drawn(self, *shape: int) -> np.ndarray[Any, Any]:
        """Weights of a trained network, float32."""
        return self.random.normal(scale=0.5, size=shape).astype(np.float32)

    def node(self, operator: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is given back."""
        return self.nodes_of(operator, inputs, [name or self._name(operator)], **attributes)[0]

    def nodes_of(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """A node with these outputs."""
        self._count += 1
        made = helper.make_node(operator, inputs, outputs, name=f"{self.prefix}{operator}_{self._count}", **attributes)
        self.nodes.append(made)
        return list(outputs)

    def constant(self, value: Any) -> str:
        """A node ``Constant``, as torch writes it."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        return self.node("Constant", [], value=numpy_helper.from_array(array))

    def squeeze(self, value: str, axis: int, name: str = "") -> str:
        """A value without an axis."""
        return self._with_axes("Squeeze", value, axis, name)

    def unsqueeze(self, value: str, axis: int, name: str = "") -> str:
        """A value with one more axis."""
        return self._with_axes("Unsqueeze", value, axis, name)

    def slice(self, value: str, axis: int, start: int, stop: int, name: str = "") -> str:
        """Part of a value, along an axis."""
        if self.opset < 10:
            return self.node("Slice", [value], name, axes=[axis], starts=[start], ends=[stop])
        return self.node("Slice", [value, *(self.weight([number]) for number in (start, stop, axis))], name)

    def split(self, value: str, axis: int, num: int, size: int) -> list[str]:
        """A value in parts of one size."""
        outputs = [self._name("Split") for _ in range(num)]
        if self.opset < 13:
            return self.nodes_of("Split", [value], outputs, axis=axis, split=[size] * num)
        return self.nodes_of("Split", [value, self.weight([size] * num)], outputs, axis=axis)

    def transpose(self, value: str, *order: int, name: str = "") -> str:
        """A value with its axes in another order."""
        return self.node("Transpose", [value], name, perm=list(order))

    def size(self, value: str, axis: int) -> str:
        """The size of an axis, ``[1]``."""
        shape = self.node("Shape", [value])
        return self.slice(shape, 0, axis, axis + 1)

    def graph(self, name: str = "main_graph") -> onnx.GraphProto:
        """All of it."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)

    def model(
        self, producer: str, name: str = "main_graph", domains: Sequence[tuple[str, int]] = ()
    ) -> onnx.ModelProto:
        """All of it as a file has it, checked."""
        opsets = [helper.make_opsetid(domain, version) for domain, version in (("", self.opset), *domains)]
        ir_version = 4 if self.opset < 10 else 7 if self.opset < 17 else 9 if self.opset < 21 else 10
        made = helper.make_model(self.graph(name), opset_imports=opsets, producer_name=producer, ir_version=ir_version)
        onnx.checker.check_model(made)
        return made

    def _with_axes(self, operator: str, value: str, axis: int, name: str) -> str:
        if self.opset < 13:
            return self.node(operator, [value], name, axes=[axis])
        return self.node(operator, [value, self.weight([axis])], name)

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{self.prefix}{stem}_{self._count}"
