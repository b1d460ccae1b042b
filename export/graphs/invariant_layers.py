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
    body = _Body(prefix, dtype, r_rows.dtype)
    before, added = body.given("before", len(r_rows)), body.given("added", len(r_rows))
    after = body.op(function, body.op("Add", added, body.op("MatMul", before, body.constant(r_rows.T))))
    return body.graph([before, added], [after, body.op("Identity", after)])


def rewrite_projected(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """An LSTM whose hidden state is projected, which ONNX has no operator for, as a ``Scan`` for each direction.

    x ``[T, B, F]``, weights ``[D, 4 H, F]``, ``[D, 4 H, P]``, ``[D, 8 H]``, ``[D, P, H]``, lengths int32 ``[B]`` or
    none, h ``[D, B, P]`` and c ``[D, B, H]``, to the hidden states ``[T, D, B, P]``, h and c. The gates stand as ONNX
    has them: input, output, forget, cell.
    """
    x, w, r, b, p, lengths, h, c = node.inputs
    weights = [constant_of(each) for each in (w, r, b, p)]
    assert x is not None, "a layer's input is always given"
    assert h is not None, "and so are its states"
    assert c is not None
    within = None if lengths is None else _is_within(nodes, x, lengths)
    shown, last_h, last_c = [], [], []
    for direction in range(len(weights[0]) if weights[0] is not None else 0):
        w_rows, r_rows, bias, projection = (each[direction] for each in weights if each is not None)
        summed = nodes.constant(bias.reshape(2, -1).sum(axis=0))
        added = nodes.op("Add", nodes.op("MatMul", x, nodes.constant(w_rows.T)), summed)
        place = nodes.integers([direction]), nodes.integers([direction + 1]), nodes.integers([0])
        zero = nodes.integers([0])
        begin = [nodes.op("Squeeze", nodes.op("Slice", state, *place), zero) for state in (h, c)]
        scanned = [added] if within is None else [added, within]
        body = _projected_step(r_rows, projection, f"{node.outputs[0].name}/{direction}", h.dtype, within is not None)
        attributes = {
            "body": body,
            "num_scan_inputs": len(scanned),
            "scan_input_directions": [direction] * len(scanned),
            "scan_output_directions": [direction],
        }
        after_h, after_c, every = nodes.ops("Scan", [*begin, *scanned], attributes, num_outputs=3)
        last_h.append(nodes.op("Unsqueeze", after_h, zero))
        last_c.append(nodes.op("Unsqueeze", after_c, zero))
        shown.append(nodes.op("Unsqueeze", every, nodes.integers([1])))
    return [_joined(nodes, shown, 1), _joined(nodes, last_h, 0), _joined(nodes, last_c, 0)]


def _projected_step(
    r_rows: NDArray[Any], projection: NDArray[Any], prefix: str, dtype: Any, has_lengths: bool
) -> ir.Graph:
    """The body: h ``[B, P]``, c ``[B, H]``, what the step adds ``[B, 4 H]``, if it counts ``[B, 1]`` to h, c, h."""
    body = _Body(prefix, dtype, r_rows.dtype)
    hidden_size = projection.shape[1]
    h, c, added = body.given("h", len(projection)), body.given("c", hidden_size), body.given("added", len(r_rows))
    total = body.op("Add", added, body.op("MatMul", h, body.constant(r_rows.T)))
    gates = body.ops("Split", [total, body.integers([hidden_size] * 4)], {"axis": 1}, num_outputs=4)
    i, o, f = (body.op("Sigmoid", gate) for gate in gates[:3])
    c_next = body.op("Add", body.op("Mul", f, c), body.op("Mul", i, body.op("Tanh", gates[3])))
    h_next = body.op("MatMul", body.op("Mul", o, body.op("Tanh", c_next)), body.constant(projection.T))
    if not has_lengths:
        return body.graph([h, c, added], [h_next, c_next, body.op("Identity", h_next)])
    counts = body.given("counts", 1, ir.DataType.BOOL)
    shown = body.op("Where", counts, h_next, body.number(0.0))
    kept = [body.op("Where", counts, after, before) for after, before in ((h_next, h), (c_next, c))]
    return body.graph([h, c, added, counts], [*kept, shown])


def _is_within(nodes: Nodes, x: ir.Value, lengths: ir.Value) -> ir.Value:
    """Which steps are before the end of their row, bool ``[T, B, 1]``."""
    zero, one = (nodes.op("Constant", value=ir.tensor(np.array(number, np.int64))) for number in (0, 1))
    steps = nodes.op("Range", zero, nodes.op("Gather", nodes.op("Shape", x), zero), one)
    wide = nodes.op("Cast", lengths, to=int(ir.DataType.INT64))
    before = nodes.op("Less", nodes.op("Unsqueeze", steps, nodes.integers([1])), wide)
    return nodes.op("Unsqueeze", before, nodes.integers([2]))


def _joined(nodes: Nodes, parts: list[ir.Value], axis: int) -> ir.Value:
    return parts[0] if len(parts) == 1 else nodes.op("Concat", *parts, axis=axis)


class _Body(Nodes):
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
