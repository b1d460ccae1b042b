"""Convolutions over steps and plain recurrent layers, as products of matrices that round alike in any run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.graphs.nodes import Nodes, constant_of
from ostinato.export.graphs.scan_body import ScanBody

_LAST = np.iinfo(np.int64).max


def rewrite_convolution(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """``Conv`` of ``[B, C, L...]`` with weights ``[O, C / groups, K...]``: what each tap sees, times the weights.

    Any strides, dilations, groups and padding. None where all sizes are known, as of a convolution over features: then
    each row is summed in the same order in any run.
    """
    x, weights = node.inputs[0], constant_of(node.inputs[1])
    bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    auto_pad = node.attributes.get("auto_pad")
    if x is None or weights is None or (auto_pad is not None and auto_pad.as_string() not in ("NOTSET", "VALID")):
        return None
    sizes = [] if x.shape is None else [x.shape[axis] for axis in range(2, len(x.shape))]
    if sizes and all(isinstance(size, int) for size in sizes):
        return None
    num_axes = weights.ndim - 2
    pads = _integers(node, "pads", [0] * 2 * num_axes)
    if any(pads):
        x = nodes.op("Pad", x, nodes.integers([0, 0, *pads[:num_axes], 0, 0, *pads[num_axes:]]))
    group = node.attributes.get("group")
    num_groups = 1 if group is None else group.as_int()
    per_group = len(weights) // num_groups
    strides, dilations = (_integers(node, name, [1] * num_axes) for name in ("strides", "dilations"))
    if weights.shape[1] == 1:
        channels = nodes.integers(np.repeat(np.arange(num_groups), per_group).tolist())
        x = x if per_group == 1 else nodes.op("Gather", x, channels, axis=1)
        return [_channel_by_channel(nodes, _seen(nodes, x, weights, strides, dilations), weights, bias)]
    made = []
    for index, part in enumerate(np.split(weights, num_groups)):
        ends = (nodes.integers([(index + end) * weights.shape[1]]) for end in (0, 1))
        given = x if num_groups == 1 else nodes.op("Slice", x, *ends, nodes.integers([1]))
        added = None if bias is None else bias[index * per_group : (index + 1) * per_group]
        made.append(_all_channels(nodes, _seen(nodes, given, part, strides, dilations), part, added))
    return [nodes.op("Concat", *made, axis=1) if num_groups > 1 else made[0]]


def _seen(nodes: Nodes, x: ir.Value, weights: NDArray[Any], strides: list[int], dilations: list[int]) -> list[ir.Value]:
    """What each tap of the weights ``[O, C, K...]`` sees of ``x [B, C, L...]``, the last axis' taps first."""
    num_taps = weights.shape[2:]
    axes = nodes.integers(range(2, weights.ndim))
    steps = nodes.integers(strides)
    seen = []
    for tap in np.ndindex(*num_taps):
        begins = [at * dilation for at, dilation in zip(tap, dilations, strict=True)]
        behind = [(size - 1) * each - at for size, each, at in zip(num_taps, dilations, begins, strict=True)]
        ends = nodes.integers([-each if each else _LAST for each in behind])
        is_whole = not any(begins + behind) and set(strides) == {1}
        seen.append(x if is_whole else nodes.op("Slice", x, nodes.integers(begins), ends, axes, steps))
    return seen


def _all_channels(nodes: Nodes, seen: list[ir.Value], weights: NDArray[Any], bias: NDArray[Any] | None) -> ir.Value:
    """``[B, O, L...]``, by a product of all that the taps see, side by side."""
    rank = weights.ndim
    side_by_side = nodes.op("Concat", *seen, axis=1) if len(seen) > 1 else seen[0]
    # [O, C, K...] as [K... C, O]: a tap's channels are together.
    flat = weights.reshape(*weights.shape[:2], -1).transpose(2, 1, 0).reshape(-1, len(weights))
    last = nodes.op("Transpose", side_by_side, perm=[0, *range(2, rank), 1])
    made = nodes.op("MatMul", last, nodes.constant(flat))
    if bias is not None:
        made = nodes.op("Add", made, nodes.constant(bias))
    return nodes.op("Transpose", made, perm=[0, rank - 1, *range(1, rank - 1)])


def _channel_by_channel(
    nodes: Nodes, seen: list[ir.Value], weights: NDArray[Any], bias: NDArray[Any] | None
) -> ir.Value:
    """``[B, O, L...]``, where each output sees one channel: tap after tap."""
    one_each = (-1, *[1] * (weights.ndim - 2))
    made = None if bias is None else nodes.constant(bias.reshape(one_each))
    for given, factors in zip(seen, weights.reshape(len(weights), -1).T, strict=True):
        product = nodes.op("Mul", given, nodes.constant(factors.reshape(one_each)))
        made = product if made is None else nodes.op("Add", made, product)
    assert made is not None, "there is a tap at least"
    return made


def _integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else list(attribute.as_ints())


def rewrite_recurrence(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """``RNN`` in one direction as a ``Scan`` of ``h = f(x W + b + h R)``; x ``[T, B, F]``, h ``[1, B, H]``.

    onnxruntime's own operator rounds a batch of one otherwise, and is slower: 143 us against 33 for 256 rows of a step.
    """
    x, w, r, b, lengths, begin = [*node.inputs, *[None] * 6][:6]
    weights = [constant_of(each) for each in ((w, r) if b is None else (w, r, b))]
    activations = node.attributes.get("activations")
    functions = ["Tanh"] if activations is None else list(activations.as_strings())
    direction = node.attributes.get("direction")
    is_forward = direction is None or direction.as_string() == "forward"
    if lengths is not None or begin is None or not is_forward or functions[0] not in ("Tanh", "Relu"):
        return None
    layout = node.attributes.get("layout")
    if any(each is None for each in weights) or (layout is not None and layout.as_int()):
        return None
    (w_rows,), (r_rows,), *biases = (each for each in weights if each is not None)
    given = nodes.op("MatMul", x, nodes.constant(w_rows.T))
    for (bias,) in biases:
        given = nodes.op("Add", given, nodes.constant(bias.reshape(2, -1).sum(axis=0)))
    zero, one = nodes.integers([0]), nodes.integers([1])
    body = _step(functions[0], r_rows, str(node.outputs[0].name), begin.dtype)
    hidden = nodes.op("Squeeze", begin, zero)
    last, every = nodes.ops("Scan", [hidden, given], {"body": body, "num_scan_inputs": 1}, num_outputs=2)
    return [nodes.op("Unsqueeze", every, one), nodes.op("Unsqueeze", last, zero)]


def _step(function: str, r_rows: NDArray[Any], prefix: str, dtype: Any) -> ir.Graph:
    """The body of the scan: h ``[B, H]`` and what the step adds ``[B, H]``, to h and h."""
    body = ScanBody(prefix, dtype, r_rows.dtype)
    before, added = body.given("before", len(r_rows)), body.given("added", len(r_rows))
    after = body.op(function, body.op("Add", added, body.op("MatMul", before, body.constant(r_rows.T))))
    return body.graph([before, added], [after, body.op("Identity", after)])


def rewrite_projected(nodes: Nodes, node: ir.Node) -> list[ir.Value]:
    """An LSTM whose hidden state is projected, which ONNX has no operator for, as a ``Scan`` for each direction.

    x ``[T, B, F]``, weights ``[D, 4 H, F]``, ``[D, 4 H, P]``, ``[D, 8 H]``, ``[D, P, H]``, lengths int32 ``[B]`` or
    none, h ``[D, B, P]`` and c ``[D, B, H]``, to the hidden states ``[T, D, B, P]``, h and c. The gates are as ONNX
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
    body = ScanBody(prefix, dtype, r_rows.dtype)
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
