"""Recurrent layers with weights in int8, where each row and step of what is multiplied has a scale of its own.

A row is divided by its largest number, so that it becomes whole numbers of -127 to 127; products of whole numbers are
exact, so nothing in a row's answer comes from what is next to it, and no range has to be known beforehand. Weights have
a scale for each column and 7 bits: processors that add pairs of products in 16 bits do not overflow then, and all
processors have the same sums. Gates stay in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ostinato.export.graphs.nodes import Nodes, constant_of
from ostinato.export.graphs.scan_body import ScanBody

_LARGEST = 127.0
"""A whole number that a row's largest becomes, and ``_ZERO`` less than what stands for it in 8 bits without a sign."""
_ZERO = 128
_LARGEST_WEIGHT = 64.0
_NOTHING = 1e-30
"""Is added to scales, which else would be 0 of a row of zeros."""
_NUM_INPUTS = 8
_PLAIN = {"hidden_size", "direction", "layout", "activations", "linear_before_reset", "input_forget"}
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}

Floats = NDArray[np.float32]


def quantize_layers(model: ir.Model) -> Counter[str]:
    """Write each LSTM and GRU of a graph, and of the bodies in it, in int8, in place.

    Those that run backwards, take lengths, or have peepholes, clips or functions of their own stay, as does a GRU that
    resets before it multiplies.

    Returns:
        operator -> how many became int8.
    """
    made: Counter[str] = Counter()
    for graph in list(model.graphs()):
        for node in list(graph):
            rewrite = _REWRITES.get(node.op_type)
            if rewrite is None or not _is_plain(node):
                continue
            nodes, prefix = Nodes(np.float32), f"int8_{node.op_type}_{made.total()}"
            values = rewrite(nodes, node, prefix)[: len(node.outputs)]
            # Names of their own: those that a body gives by itself may be those of values around it.
            for index, value in enumerate(each for one in nodes.made for each in one.outputs):
                value.name = f"{prefix}/around.{index}"
            for old, new in zip(node.outputs, values, strict=True):
                new.type, new.shape = old.type, old.shape
            ir.convenience.replace_nodes_and_values(graph, node, [node], nodes.made, node.outputs, values)
            made[node.op_type] += 1
    RemoveUnusedNodesPass()(model)
    return made


def _is_plain(node: ir.Node) -> bool:
    """Whether a layer is one that can be written in int8."""
    inputs, attributes = _inputs(node), node.attributes
    weights = [constant_of(each) for each in inputs[1:4]]
    if any(each is None or each.dtype != np.float32 for each in weights) or len(attributes.keys() - _PLAIN):
        return False
    lengths, states, peepholes = inputs[4], inputs[5 : 7 if node.op_type == "LSTM" else 6], inputs[7]
    if lengths is not None or peepholes is not None or any(state is None for state in states):
        return False
    direction, functions = attributes.get("direction"), attributes.get("activations")
    if direction is not None and direction.as_string() != "forward":
        return False
    if functions is not None and tuple(functions.as_strings()) != _FUNCTIONS[node.op_type]:
        return False
    flags = {name: attributes[name].as_int() for name in attributes.keys() & _PLAIN - {"direction", "activations"}}
    resets_behind = node.op_type == "LSTM" or bool(flags.get("linear_before_reset"))
    return resets_behind and not flags.get("layout") and not flags.get("input_forget")


def _inputs(node: ir.Node) -> list[ir.Value | None]:
    return [*node.inputs, *[None] * _NUM_INPUTS][:_NUM_INPUTS]


def _weights(node: ir.Node) -> tuple[Floats, Floats, Floats]:
    """Weights ``[G H, F]`` and ``[G H, H]``, and both biases ``[2, G H]``."""
    w, r, b = (constant_of(each) for each in node.inputs[1:4])
    assert w is not None, "it is plain"
    assert r is not None
    assert b is not None
    return w[0], r[0], b[0].reshape(2, -1)


def _product(nodes: Nodes, x: ir.Value, weights: Floats) -> ir.Value:
    """``x [..., K]`` times ``weights [N, K]``, turned, by whole numbers: float32 ``[..., N]``. A row in which a number
    is not finite has NaN throughout.
    """
    scales = np.abs(weights).max(axis=1) / np.float32(_LARGEST_WEIGHT)
    scales[scales == 0] = 1
    columns = np.ascontiguousarray(np.rint(weights / scales[:, None]).astype(np.int8).T)
    zero = nodes.op("Constant", value=ir.tensor(np.array(_ZERO, np.uint8)))
    largest = nodes.op("ReduceMax", nodes.op("Abs", x), nodes.integers([-1]), keepdims=1)
    # onnxruntime's maximum loses NaN, and of a whole number there is none: zero times the sum of a row keeps it.
    total = nodes.op("ReduceSum", x, nodes.integers([-1]), keepdims=1)
    nothing = nodes.op("Add", nodes.op("Mul", total, nodes.number(0.0)), nodes.number(_NOTHING))
    scale = nodes.op("Add", nodes.op("Div", largest, nodes.number(_LARGEST)), nothing)
    whole = nodes.op("QuantizeLinear", nodes.op("Div", x, scale), nodes.number(1.0), zero)
    summed = nodes.op("MatMulInteger", whole, nodes.op("Constant", value=ir.tensor(columns)), zero)
    floats = nodes.op("Cast", summed, to=int(ir.DataType.FLOAT))
    return nodes.op("Mul", nodes.op("Mul", floats, nodes.constant(scales)), scale)


def _lstm(nodes: Nodes, node: ir.Node, prefix: str) -> list[ir.Value]:
    """An LSTM's hidden states ``[T, 1, B, H]``, h and c, of x ``[T, B, F]``, h and c ``[1, B, H]``, with the
    gates as ONNX has them: input, output, forget, cell.
    """
    w, r, biases = _weights(node)
    size = r.shape[1]
    body = ScanBody(prefix, ir.DataType.FLOAT, np.float32)
    h, c, added = body.given("h", size), body.given("c", size), body.given("added", len(r))
    total = body.op("Add", added, _product(body, h, r))
    three, cell = body.ops("Split", [total, body.integers([3 * size, size])], {"axis": 1}, num_outputs=2)
    opened = body.op("Sigmoid", three)
    i, o, f = body.ops("Split", [opened, body.integers([size] * 3)], {"axis": 1}, num_outputs=3)
    c_next = body.op("Add", body.op("Mul", f, c), body.op("Mul", i, body.op("Tanh", cell)))
    h_next = body.op("Mul", o, body.op("Tanh", c_next))
    step = body.graph([h, c, added], [h_next, c_next, body.op("Identity", h_next)])
    given = nodes.op("Add", _product(nodes, _given(node, 0), w), nodes.constant(biases.sum(axis=0)))
    return _scanned(nodes, step, [_given(node, 5), _given(node, 6)], given)


def _gru(nodes: Nodes, node: ir.Node, prefix: str) -> list[ir.Value]:
    """The same of a GRU that resets behind its product, with the gates update, reset, hidden."""
    w, r, biases = _weights(node)
    size = r.shape[1]
    body = ScanBody(prefix, ir.DataType.FLOAT, np.float32)
    h, added = body.given("h", size), body.given("added", len(r))
    product = body.op("Add", _product(body, h, r), body.constant(biases[1]))
    parts = body.integers([2 * size, size])
    gates, hidden = body.ops("Split", [product, parts], {"axis": 1}, num_outputs=2)
    gates_given, hidden_given = body.ops("Split", [added, parts], {"axis": 1}, num_outputs=2)
    opened = body.op("Sigmoid", body.op("Add", gates_given, gates))
    z, reset = body.ops("Split", [opened, body.integers([size] * 2)], {"axis": 1}, num_outputs=2)
    new = body.op("Tanh", body.op("Add", hidden_given, body.op("Mul", reset, hidden)))
    kept = body.op("Mul", z, body.op("Sub", h, new))
    h_next = body.op("Add", new, kept)
    step = body.graph([h, added], [h_next, body.op("Identity", h_next)])
    given = nodes.op("Add", _product(nodes, _given(node, 0), w), nodes.constant(biases[0]))
    return _scanned(nodes, step, [_given(node, 5)], given)


def _scanned(nodes: Nodes, step: ir.Graph, begin: Sequence[ir.Value], given: ir.Value) -> list[ir.Value]:
    """A layer's outputs: those of all steps, and the states behind them."""
    zero, one = nodes.integers([0]), nodes.integers([1])
    states = [nodes.op("Squeeze", state, zero) for state in begin]
    attributes = {"body": step, "num_scan_inputs": 1}
    *last, every = nodes.ops("Scan", [*states, given], attributes, num_outputs=len(states) + 1)
    return [nodes.op("Unsqueeze", every, one), *(nodes.op("Unsqueeze", state, zero) for state in last)]


def _given(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place]
    assert value is not None, "it is plain"
    return value


_REWRITES: dict[str, Callable[[Nodes, ir.Node, str], list[ir.Value]]] = {"LSTM": _lstm, "GRU": _gru}
