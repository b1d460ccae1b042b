"""Convolutions over steps and plain recurrent layers, as products of matrices that round alike in any run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.graphs.nodes import Nodes, constant_of

_LAST = np.iinfo(np.int64).max


def rewrite_convolution(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """``Conv`` of ``[B, C, L]`` with weights ``[O, C, K]``: what each tap sees side by side, times the weights.

    None for more axes, groups, strides or padding.
    """
    x, weights = node.inputs[0], constant_of(node.inputs[1])
    if x is None or weights is None or weights.ndim != 3 or not _is_plain(node):
        return None
    num_taps = weights.shape[2]
    dilation = _integers(node, "dilations", [1])[0]
    axis = nodes.integers([2])
    seen = []
    for tap in range(num_taps):
        behind = (num_taps - 1 - tap) * dilation
        start, end = nodes.integers([tap * dilation]), nodes.integers([-behind if behind else _LAST])
        seen.append(nodes.op("Slice", x, start, end, axis) if num_taps > 1 else x)
    side_by_side = nodes.op("Concat", *seen, axis=1) if num_taps > 1 else x
    # [O, C, K] as [K C, O]: a tap's channels stand together.
    flat = weights.transpose(2, 1, 0).reshape(-1, weights.shape[0])
    made = nodes.op("MatMul", nodes.op("Transpose", side_by_side, perm=[0, 2, 1]), nodes.constant(flat))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        made = nodes.op("Add", made, node.inputs[2])
    return [nodes.op("Transpose", made, perm=[0, 2, 1])]


def _is_plain(node: ir.Node) -> bool:
    group, auto_pad = node.attributes.get("group"), node.attributes.get("auto_pad")
    return (
        (group is None or group.as_int() == 1)
        and (auto_pad is None or auto_pad.as_string() in ("NOTSET", "VALID"))
        and set(_integers(node, "strides", [1])) == {1}
        and set(_integers(node, "pads", [0])) == {0}
    )


def _integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else list(attribute.as_ints())


def rewrite_recurrence(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """``RNN`` in one direction as a ``Scan`` of ``h = f(x W + b + h R)``; x ``[T, B, F]``, h ``[1, B, H]``.

    onnxruntime's own operator rounds a batch of one otherwise, and is slower: 143 us against 33 for 256 rows of a step.
    """
    x, w, r, b, lengths, begin = [*node.inputs, *[None] * 6][:6]
    weights = [constant_of(each) for each in (w, r, b)]
    activations = node.attributes.get("activations")
    functions = ["Tanh"] if activations is None else list(activations.as_strings())
    direction = node.attributes.get("direction")
    is_forward = direction is None or direction.as_string() == "forward"
    if lengths is not None or begin is None or not is_forward or functions[0] not in ("Tanh", "Relu"):
        return None
    if any(each is None for each in weights) or node.attributes.get("layout") is not None:
        return None
    (w_rows,), (r_rows,), (bias,) = (each for each in weights if each is not None)
    summed_bias = bias.reshape(2, -1).sum(axis=0)
    given = nodes.op("Add", nodes.op("MatMul", x, nodes.constant(w_rows.T)), nodes.constant(summed_bias))
    zero, one = nodes.integers([0]), nodes.integers([1])
    body = _step(functions[0], r_rows, str(node.outputs[0].name), begin.dtype)
    hidden = nodes.op("Squeeze", begin, zero)
    last, every = nodes.ops("Scan", [hidden, given], {"body": body, "num_scan_inputs": 1}, num_outputs=2)
    return [nodes.op("Unsqueeze", every, one), nodes.op("Unsqueeze", last, zero)]


def _step(function: str, r_rows: NDArray[Any], prefix: str, dtype: Any) -> ir.Graph:
    """The body of the scan: h ``[B, H]`` and what the step adds ``[B, H]``, to h and h."""
    hidden_size = len(r_rows)

    def value(name: str) -> ir.Value:
        return ir.Value(name=f"{prefix}/{name}", type=ir.TensorType(dtype), shape=ir.Shape([None, hidden_size]))

    before, added, after, shown = (value(name) for name in ("before", "added", "after", "shown"))
    inner = Nodes(r_rows.dtype)
    total = inner.op("Add", added, inner.op("MatMul", before, inner.constant(r_rows.T)))
    inner.made.append(ir.node(function, [total], outputs=[after]))
    inner.made.append(ir.node("Identity", [after], outputs=[shown]))
    # By names of their own: those that the graph would give begin anew in each.
    for index, node in enumerate(inner.made):
        node.outputs[0].name = node.outputs[0].name or f"{prefix}/{index}"
    return ir.Graph([before, added], [after, shown], nodes=inner.made, name=f"{prefix}/step")
