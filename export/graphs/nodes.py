"""Nodes of an ONNX graph, made one after the other to stand for another operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


class Nodes:
    """Nodes in the order in which they were made.

    Args:
        dtype: of the numbers.

    Attributes:
        made: the nodes.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self.made: list[ir.Node] = []

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        return self.ops(op_type, inputs, attributes, num_outputs=1)[0]

    def ops(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any], *, num_outputs: int
    ) -> Sequence[ir.Value]:
        """The outputs of a new node."""
        self.made.append(ir.node(op_type, inputs, attributes, num_outputs=num_outputs))
        return self.made[-1].outputs

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """An array in the dtype of the numbers."""
        return self.op("Constant", value=ir.tensor(np.ascontiguousarray(array, self._dtype)))

    def number(self, number: float) -> ir.Value:
        """A number without axes."""
        return self.constant(np.array(number))

    def integers(self, values: Sequence[int]) -> ir.Value:
        """Axes, or indices: int64."""
        return self.op("Constant", value=ir.tensor(np.array(values, np.int64)))

    def log(self, x: ir.Value) -> ir.Value:
        """``log(x)``, as the logarithm of a sum of one number."""
        last = self.integers([-1])
        return self.op("ReduceLogSum", self.op("Unsqueeze", x, last), last, keepdims=0)

    def softplus(self, x: ir.Value) -> ir.Value:
        """``log(1 + exp(x)) = max(x, 0) + 2 atanh(e / (2 + e))`` with ``e = exp(-|x|)``."""
        e = self.op("Exp", self.op("Neg", self.op("Abs", x)))
        half = self.op("Atanh", self.op("Div", e, self.op("Add", e, self.number(2.0))))
        return self.op("Add", self.op("Max", x, self.number(0.0)), self.op("Mul", half, self.number(2.0)))

    def expm1(self, x: ir.Value) -> ir.Value:
        """``exp(x) - 1 = tanh(x / 2) (exp(x) + 1)``, which loses no digits near 0."""
        tanh = self.op("Tanh", self.op("Mul", x, self.number(0.5)))
        return self.op("Mul", tanh, self.op("Add", self.op("Exp", x), self.number(1.0)))

    def sum_over(self, x: ir.Value, axis: int, rank: int, size: int) -> ir.Value:
        """The sum over one axis, which stays, as a product with ones."""
        order = [*(other for other in range(rank) if other != axis), axis]
        is_last = axis == rank - 1
        last = x if is_last else self.op("Transpose", x, perm=order)
        total = self.op("MatMul", last, self.constant(np.ones((size, 1))))
        return total if is_last else self.op("Transpose", total, perm=[order.index(other) for other in range(rank)])


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array that a value always is: a weight, or a constant; None where it is neither."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def integers_of(value: ir.Value | None) -> list[int] | None:
    """The integers that a value always is."""
    array = constant_of(value)
    return None if array is None else [int(each) for each in array.ravel()]
