"""Operators whose rounding depends on the shape of a run, written as others that do not, with the same values.

Measured with onnxruntime's CPU operators, alone and in company: logarithms, softplus, ELU and sines are computed by
vectors and, for what is left over, one by one, which round differently; sums over an axis of no multiple of 16 are
taken from where a row happens to begin; a convolution over steps, ``Einsum`` and ``RNN`` change their order of sums
with their sizes. Products of matrices, exp, tanh, sigmoid, tan and atanh do not. What cannot be rewritten stays, and
the model is served in a fixed shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ostinato.export.graphs.invariant_einsum import rewrite_einsum
from ostinato.export.graphs.invariant_layers import rewrite_convolution, rewrite_projected, rewrite_recurrence
from ostinato.export.graphs.invariant_products import rewrite_matmul, rewrite_open_einsum, rewrite_open_product
from ostinato.export.graphs.layers import PROJECTED
from ostinato.export.graphs.nodes import Nodes, integers_of

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_IN_FLOAT32 = {"Softplus", "Mish", "Sin", "Cos", "Atan", "Asin", "Acos"}
"""Whose other form needs what onnxruntime has in float32 only."""

Rewrite = Callable[[Nodes, ir.Node], Sequence[ir.Value] | None]
"""Makes an operator's outputs anew; None where it has no other form."""


def make_invariant(model: ir.Model) -> None:
    """Rewrite, in place, each operator of the graph, and of the bodies in it, that has an invariant form."""
    for graph in list(model.graphs()):
        for node in list(graph):
            _rewrite(graph, node)
    model.opset_imports.pop(PROJECTED.partition("::")[0], None)
    RemoveUnusedNodesPass()(model)  # and weights that are in another order now


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    rewrites = [table[name] for table in (_REWRITES, _REWRITES_OF_OPEN_SUMS) if name in table]
    given = node.inputs[0] if node.inputs else None
    if not rewrites or given is None or given.dtype not in _FLOATS:
        return
    if node.op_type in _IN_FLOAT32 and given.dtype != ir.DataType.FLOAT:
        return
    for rewrite in rewrites:
        nodes = Nodes(given.dtype.numpy())
        made = rewrite(nodes, node)
        if made is not None:
            break
    else:
        return
    for old, new in zip(node.outputs, made, strict=True):
        new.type, new.shape = old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], nodes.made, node.outputs, made)


def _log(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """As the logarithm of a sum of one, which is computed by itself."""
    return [nodes.log(_given(node))]


def _softplus(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    return [nodes.softplus(_given(node))]


def _mish(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    x = _given(node)
    return [nodes.op("Mul", x, nodes.op("Tanh", nodes.softplus(x)))]


def _elu(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    return [_linear_units(nodes, node, alpha=_number(node, "alpha", 1.0))]


def _celu(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    alpha = _number(node, "alpha", 1.0)
    return [_linear_units(nodes, node, alpha=alpha, divisor=alpha)]


def _selu(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    alpha = _number(node, "alpha", 1.67326319217681884765625)
    gamma = _number(node, "gamma", 1.05070102214813232421875)
    return [nodes.op("Mul", _linear_units(nodes, node, alpha=alpha), nodes.number(gamma))]


def _linear_units(nodes: Nodes, node: ir.Node, *, alpha: float, divisor: float = 1.0) -> ir.Value:
    """``max(x, 0) + alpha (exp(min(x, 0) / divisor) - 1)``."""
    x, zero = _given(node), nodes.number(0.0)
    below = nodes.op("Min", x, zero)
    if divisor != 1.0:
        below = nodes.op("Div", below, nodes.number(divisor))
    return nodes.op("Add", nodes.op("Max", x, zero), nodes.op("Mul", nodes.expm1(below), nodes.number(alpha)))


def _sine(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """``2 t / (1 + t^2)`` with ``t = tan(x / 2)``."""
    tangent, square_and_one = _half_tangent(nodes, node)
    return [nodes.op("Div", nodes.op("Mul", tangent, nodes.number(2.0)), square_and_one)]


def _cosine(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """``(1 - t^2) / (1 + t^2)`` with ``t = tan(x / 2)``."""
    tangent, square_and_one = _half_tangent(nodes, node)
    other = nodes.op("Sub", nodes.number(1.0), nodes.op("Mul", tangent, tangent))
    return [nodes.op("Div", other, square_and_one)]


def _half_tangent(nodes: Nodes, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    tangent = nodes.op("Tan", nodes.op("Mul", _given(node), nodes.number(0.5)))
    return tangent, nodes.op("Add", nodes.op("Mul", tangent, tangent), nodes.number(1.0))


def _atan(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    return [nodes.atan(_given(node))]


def _asin(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    return [_arc_sine(nodes, node)]


def _acos(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    return [nodes.op("Sub", nodes.number(np.pi / 2), _arc_sine(nodes, node))]


def _arc_sine(nodes: Nodes, node: ir.Node) -> ir.Value:
    """``atan(x / sqrt((1 - x) (1 + x)))``."""
    x, one = _given(node), nodes.number(1.0)
    product = nodes.op("Mul", nodes.op("Sub", one, x), nodes.op("Add", one, x))
    return nodes.atan(nodes.op("Div", x, nodes.op("Sqrt", product)))


def _reduce_sum(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    reduced = _sum_over_axes(nodes, node)
    return None if reduced is None else [reduced[0]]


def _reduce_mean(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    reduced = _sum_over_axes(nodes, node)
    return None if reduced is None else [nodes.op("Div", *reduced)]


def _sum_over_axes(nodes: Nodes, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Sums over axes, and how many numbers are in each: of known sizes as products with ones, of the one that is open
    step after step, which zeros in the padding do not change.
    """
    x = _given(node)
    axes = integers_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if not axes or x.shape is None:
        return None
    rank = len(x.shape)
    axes = sorted({axis % rank for axis in axes})
    if sum(not isinstance(x.shape[axis], int) for axis in axes) > 1:
        return None
    total, number = x, nodes.number(1.0)
    for axis in axes:
        size = x.shape[axis]
        if isinstance(size, int):
            total, count = nodes.sum_over(total, axis, rank, size), nodes.number(float(size))
        else:
            total, count = nodes.sum_along(total, axis), nodes.size(x, axis)
        number = count if axis == axes[0] else nodes.op("Mul", number, count)
    keeps = node.attributes.get("keepdims")
    if keeps is not None and not keeps.as_int():
        total = nodes.op("Squeeze", total, nodes.integers(axes))
    return total, number


def _instance_norm(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """Of ``[N, C, L]``, which a group norm becomes, by sums that are products with ones."""
    x, scale, bias = node.inputs
    size = None if x is None or x.shape is None or len(x.shape) != 3 else x.shape[2]
    if x is None or scale is None or bias is None or not isinstance(size, int):
        return None

    def mean(values: ir.Value) -> ir.Value:
        return nodes.op("Div", nodes.sum_over(values, 2, 3, size), nodes.number(float(size)))

    centred = nodes.op("Sub", x, mean(x))
    variance = nodes.op("Add", mean(nodes.op("Mul", centred, centred)), nodes.number(_number(node, "epsilon", 1e-5)))
    normal = nodes.op("Div", centred, nodes.op("Sqrt", variance))
    one = nodes.integers([1])
    scaled = nodes.op("Mul", normal, nodes.op("Unsqueeze", scale, one))
    return [nodes.op("Add", scaled, nodes.op("Unsqueeze", bias, one))]


def _given(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


_REWRITES: dict[str, Rewrite] = {
    "Log": _log,
    "Softplus": _softplus,
    "Mish": _mish,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Sin": _sine,
    "Cos": _cosine,
    "Atan": _atan,
    "Asin": _asin,
    "Acos": _acos,
    "ReduceSum": _reduce_sum,
    "ReduceMean": _reduce_mean,
    "InstanceNormalization": _instance_norm,
    "MatMul": rewrite_matmul,
    "Einsum": rewrite_einsum,
    "Conv": rewrite_convolution,
    "RNN": rewrite_recurrence,
    PROJECTED: rewrite_projected,
}
_REWRITES_OF_OPEN_SUMS: dict[str, Rewrite] = {"MatMul": rewrite_open_product, "Einsum": rewrite_open_einsum}
"""What is tried where the size of what is summed is open, and so has no form of the above."""
