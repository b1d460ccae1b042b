"""Nodes of an ONNX graph, made one after the other to stand for another operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_TWO_ATANH = (2.0, 0.666662402, 0.400264498, 0.279530005, 0.2816545)
"""``2 atanh(x) / x`` in powers of ``x^2`` up to 1/9, by its Chebyshev series: off by 2e-8."""


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

    def reshaped(self, value: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """A value in another shape, -1 for the size that is open."""
        return self.op("Reshape", value, self.integers(sizes))

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
        """``log(1 + exp(x)) = max(x, 0) + 2 atanh(e / (2 + e))`` with ``e = exp(-|x|)``.

        The quotient is a third at most, so 2 atanh is a short polynomial, nearer than float32 rounds: onnxruntime's own
        takes numbers one by one, three times as long for thousands of them, and 2 us less for 64.
        """
        e = self.op("Exp", self.op("Neg", self.op("Abs", x)))
        part = self.op("Div", e, self.op("Add", e, self.number(2.0)))
        square = self.op("Mul", part, part)
        series = self.number(_TWO_ATANH[-1])
        for term in reversed(_TWO_ATANH[:-1]):
            series = self.op("Add", self.op("Mul", series, square), self.number(term))
        return self.op("Add", self.op("Max", x, self.number(0.0)), self.op("Mul", series, part))

    def expm1(self, x: ir.Value) -> ir.Value:
        """``exp(x) - 1 = tanh(x / 2) (exp(x) + 1)``, which loses no digits near 0."""
        tanh = self.op("Tanh", self.op("Mul", x, self.number(0.5)))
        return self.op("Mul", tanh, self.op("Add", self.op("Exp", x), self.number(1.0)))

    def atan(self, x: ir.Value) -> ir.Value:
        """``atan(x)`` of float32, by what is rounded the same everywhere: a polynomial of a part of the circle.

        Source: Cephes' ``atanf`` (S. L. Moshier), whose error is 2e-7 relative.
        """
        size = self.op("Abs", x)
        one = self.number(1.0)
        is_large, is_middle = (self.op("Greater", size, self.number(tangent)) for tangent in (2.41421356, 0.414213562))
        turned = self.op("Div", self.op("Sub", size, one), self.op("Add", size, one))
        part = self.op("Where", is_middle, turned, size)
        part = self.op("Where", is_large, self.op("Div", self.number(-1.0), size), part)
        angle = self.op("Where", is_middle, self.number(np.pi / 4), self.number(0.0))
        angle = self.op("Where", is_large, self.number(np.pi / 2), angle)
        square = self.op("Mul", part, part)
        series = self.number(8.05374449538e-2)
        for term in (-1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1):
            series = self.op("Add", self.op("Mul", series, square), self.number(term))
        inner = self.op("Add", self.op("Mul", self.op("Mul", series, square), part), part)
        return self.op("Mul", self.op("Sign", x), self.op("Add", angle, inner))

    def product(self, left: ir.Value, right: ir.Value, *, is_one_column: bool) -> ir.Value:
        """``left [..., M, K] x right [..., K, N]``, as the part of a product that has a row more.

        onnxruntime multiplies one row, or by one column, differently from several, unless it knows the right one
        beforehand; and several matrices by one are rows of one.
        """
        one_more, begin, end = self.integers([0, 1]), self.integers([0]), self.integers([-1])
        rows, columns = self.integers([-2]), self.integers([-1])
        if is_one_column:
            right = self.op("Pad", right, one_more, None, columns)
        made = self.op("MatMul", self.op("Pad", left, one_more, None, rows), right)
        made = self.op("Slice", made, begin, end, rows)
        return self.op("Slice", made, begin, end, columns) if is_one_column else made

    def sum_over(self, x: ir.Value, axis: int, rank: int, size: int) -> ir.Value:
        """The sum over one axis, which stays, as a product with ones."""
        order = [*(other for other in range(rank) if other != axis), axis]
        is_last = axis == rank - 1
        last = x if is_last else self.op("Transpose", x, perm=order)
        total = self.op("MatMul", last, self.constant(np.ones((size, 1))))
        return total if is_last else self.op("Transpose", total, perm=[order.index(other) for other in range(rank)])

    def sum_along(self, x: ir.Value, axis: int) -> ir.Value:
        """The sum over one axis of any size, which stays, one number after the other."""
        sums = self.op("CumSum", x, self.op("Constant", value=ir.tensor(np.array(axis, np.int64))))
        return self.op("Gather", sums, self.integers([-1]), axis=axis)

    def size(self, x: ir.Value, axis: int) -> ir.Value:
        """The size of an axis, as one of the numbers."""
        number = self.op("Gather", self.op("Shape", x), self.integers([axis]), axis=0)
        kind = ir.DataType.from_numpy(np.dtype(self._dtype))
        return self.op("Squeeze", self.op("Cast", number, to=int(kind)))


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array that a value always is: a weight, or a constant; None where it is neither."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def integers_of(value: ir.Value | None) -> list[int] | None:
    """The integers that a value always is."""
    array = constant_of(value)
    return None if array is None else [int(each) for each in array.ravel()]
