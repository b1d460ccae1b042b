"""Graphs in the style of tf2onnx: TensorFlow's names with ``:0``, batch first outside and time first within, sizes from
``Shape``, first states made in the graph, and the opset ``ai.onnx.ml`` that nothing uses.
"""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.foreign.building import BOOL, FLOAT, INT64, GraphBuilder
from tests.foreign.case import Array, Arrays, Axes, Foreign
from tests.foreign.equations import Weights, backwards, gru, lstm, of_directions, softmax

_ML = (("ai.onnx.ml", 2),)
_NAMES = "StatefulPartitionedCall/sequential/"


def _first_state(builder: GraphBuilder, x: str, hidden: int) -> str:
    """Zeros ``[1, B, H]`` of the batch's size, as ``tf.zeros`` of it becomes."""
    batch = builder.size(x, 0)
    shape = builder.node("Concat", [batch, builder.weight([hidden])], axis=0)
    zeros = builder.node("ConstantOfShape", [shape], value=helper.make_tensor("value", FLOAT, [1], [0.0]))
    return builder.unsqueeze(zeros, 0)


def _dense(builder: GraphBuilder, x: str, inputs: int, outputs: int, last: str) -> tuple[str, Array, Array]:
    """A dense layer over ``[B, H]``: MatMul and Add; its weights are given back."""
    kernel, bias = builder.drawn(inputs, outputs), builder.drawn(outputs)
    product = builder.node("MatMul", [x, builder.weight(kernel, f"{_NAMES}dense/MatMul/ReadVariableOp:0")])
    added = builder.node("Add", [product, builder.weight(bias, f"{_NAMES}dense/BiasAdd/ReadVariableOp:0")], last)
    return added, kernel, bias


def tf2onnx_lstm_classifier() -> Foreign:
    """``Sequential([LSTM(5), Dense(4, softmax)])`` on ``[None, 28, 28]``: one answer of the last step, T fixed."""
    builder = GraphBuilder(11, f"{_NAMES}lstm/")
    x = builder.input("input_1:0", ["unk__12", 28, 28])
    weights = Weights.drawn(builder, 4, 28, 5)
    time_first = builder.transpose(x, 1, 0, 2)
    first = _first_state(builder, x, 5)
    layer = builder.nodes_of(
        "LSTM",
        [time_first, *weights.of_node(builder), "", first, first],
        ["", f"{_NAMES}lstm/PartitionedCall/lstm__52:1"],
        hidden_size=5,
        direction="forward",
    )
    last = builder.squeeze(layer[1], 0)
    logits, kernel, bias = _dense(builder, last, 5, 4, "")
    builder.node("Softmax", [logits], "Identity:0", axis=1)
    builder.output("Identity:0", ["unk__13", 4])

    def truth(given: Arrays) -> Arrays:
        hidden, _, _ = lstm(given["input_1:0"], weights)
        return {"Identity:0": softmax(hidden @ kernel + bias)}  # of each step: the whole sequence's is the last

    axes: Axes = {"input_1:0": ("B", "T", 28), "Identity:0": ("B", 4)}
    return Foreign(builder.model("tf2onnx", domains=_ML), axes, {"input_1:0": (28,)}, truth, hidden=2, fixed={"T": 28})


def tf2onnx_lstm_sequences() -> Foreign:
    """``return_sequences=True`` and a dense layer over each step, a ``tensordot``: flat, and back by shapes."""
    builder = GraphBuilder(13, f"{_NAMES}lstm_1/")
    x = builder.input("lstm_1_input:0", ["unk__20", "unk__21", 3])
    weights = Weights.drawn(builder, 4, 3, 6)
    first = _first_state(builder, x, 6)
    layer = builder.node(
        "LSTM", [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", first, first], hidden_size=6
    )
    hidden = builder.transpose(builder.squeeze(layer, 1), 1, 0, 2)
    flat = builder.node("Reshape", [hidden, builder.weight([-1, 6])])
    kernel, bias = builder.drawn(6, 2), builder.drawn(2)
    product = builder.node("MatMul", [flat, builder.weight(kernel)])
    sizes = builder.slice(builder.node("Cast", [builder.node("Shape", [hidden])], to=INT64), 0, 0, 2)
    shape = builder.node("Concat", [sizes, builder.weight([2])], axis=0)
    back = builder.node("Reshape", [product, shape])
    builder.node("Add", [back, builder.weight(bias)], "time_distributed")
    builder.output("time_distributed", ["unk__22", "unk__23", 2])

    def truth(given: Arrays) -> Arrays:
        return {"time_distributed": lstm(given["lstm_1_input:0"], weights)[0] @ kernel + bias}

    axes: Axes = {"lstm_1_input:0": ("B", "T", 3), "time_distributed": ("B", "T", 2)}
    return Foreign(builder.model("tf2onnx", domains=_ML), axes, {"lstm_1_input:0": (3,)}, truth, hidden=2)


def tf2onnx_gru() -> Foreign:
    """``GRU(4, return_sequences=True)`` with ``reset_after=True``, and without a first state at all."""
    builder = GraphBuilder(12, "StatefulPartitionedCall/model/gru/")
    x = builder.input("args_0:0", ["unk__6", "unk__7", 3])
    weights = Weights.drawn(builder, 3, 3, 4)
    layer = builder.node(
        "GRU",
        [builder.transpose(x, 1, 0, 2), *weights.of_node(builder)],
        hidden_size=4,
        linear_before_reset=1,
        activations=["Sigmoid", "Tanh"],
    )
    builder.transpose(builder.squeeze(layer, 1), 1, 0, 2, name="gru")
    builder.output("gru", ["unk__8", "unk__9", 4])
    axes: Axes = {"args_0:0": ("B", "T", 3), "gru": ("B", "T", 4)}

    def truth(given: Arrays) -> Arrays:
        return {"gru": gru(given["args_0:0"], weights)[0]}

    return Foreign(builder.model("tf2onnx", domains=_ML), axes, {"args_0:0": (3,)}, truth, hidden=1)


def tf2onnx_gru_while() -> Foreign:
    """``GRU(4, reset_after=False)`` as TensorFlow's while loop: a ``Loop`` that takes step ``i`` of what is outside."""
    builder = GraphBuilder(13, "StatefulPartitionedCall/sequential/gru/")
    x = builder.input("gru_input:0", ["unk__30", "unk__31", 3])
    kernel, recurrent, bias = builder.drawn(3, 12), builder.drawn(4, 12), builder.drawn(12)
    time_first = builder.transpose(x, 1, 0, 2)
    first = builder.squeeze(_first_state(builder, x, 4), 0)
    steps = builder.squeeze(builder.size(time_first, 0), 0)
    names = [builder.weight(kernel), builder.weight(recurrent), builder.weight(bias)]

    body = GraphBuilder(13, "while/")
    i = body.input("while_gru_while_loop_counter:0", [], INT64)
    body.input("cond__1:0", [], BOOL)
    h = body.input("while_placeholder_2:0", ["unk__40", 4])
    step = body.node("Gather", [time_first, i], axis=0)
    projected = body.node("Add", [body.node("MatMul", [step, names[0]]), names[2]])
    x_z, x_r, x_h = body.split(projected, 1, 3, 4)
    r_z, r_r, r_h = body.split(names[1], 1, 3, 4)
    z = body.node("Sigmoid", [body.node("Add", [x_z, body.node("MatMul", [h, r_z])])])
    r = body.node("Sigmoid", [body.node("Add", [x_r, body.node("MatMul", [h, r_r])])])
    reset = body.node("MatMul", [body.node("Mul", [r, h]), r_h])
    n = body.node("Tanh", [body.node("Add", [x_h, reset])])
    rest = body.node("Sub", [body.weight(1.0), z])
    body.node("Add", [body.node("Mul", [z, h]), body.node("Mul", [rest, n])], "while/add_3:0")
    body.node("Identity", ["cond__1:0"], "cond___while/Identity:0")
    body.node("Identity", ["while/add_3:0"], "while/TensorArrayV2Write:0")
    body.output("cond___while/Identity:0", [], BOOL)
    body.output("while/add_3:0", ["unk__41", 4])
    body.output("while/TensorArrayV2Write:0", ["unk__42", 4])
    loop = builder.nodes_of(
        "Loop",
        [steps, builder.weight(np.array(True)), first],
        ["gru/while_loop:0", "gru/while_loop:1"],
        body=body.graph("tf2onnx__body"),
    )
    builder.transpose(loop[1], 1, 0, 2, name="gru_1")
    builder.output("gru_1", ["unk__32", "unk__33", 4])

    def onnx_order(columns: Array) -> Array:
        return np.asarray(columns.T)

    weights = Weights(onnx_order(kernel), onnx_order(recurrent), bias, np.zeros_like(bias))

    def truth(given: Arrays) -> Arrays:
        return {"gru_1": gru(given["gru_input:0"], weights, reset_after=False)[0]}

    axes: Axes = {"gru_input:0": ("B", "T", 3), "gru_1": ("B", "T", 4)}
    return Foreign(builder.model("tf2onnx", domains=_ML), axes, {"gru_input:0": (3,)}, truth, hidden=1)


def tf2onnx_bidirectional() -> Foreign:
    """``Bidirectional(LSTM(3))``, which tf2onnx puts into one node: no way to stream it."""
    builder = GraphBuilder(13, "StatefulPartitionedCall/sequential/bidirectional/")
    x = builder.input("bidirectional_input:0", ["unk__2", "unk__3", 2])
    there, back = Weights.drawn(builder, 4, 2, 3), Weights.drawn(builder, 4, 2, 3)
    layer = builder.node(
        "LSTM",
        [builder.transpose(x, 1, 0, 2), *of_directions([there, back], builder)],
        hidden_size=3,
        direction="bidirectional",
    )
    batch_first = builder.transpose(layer, 2, 0, 1, 3)
    builder.node("Reshape", [batch_first, builder.weight([0, 0, 6])], "bidirectional")
    builder.output("bidirectional", ["unk__4", "unk__5", 6])

    def truth(given: Arrays) -> Arrays:
        x = given["bidirectional_input:0"]
        return {"bidirectional": np.concatenate([lstm(x, there)[0], backwards(lstm, x, back)], axis=-1)}

    axes: Axes = {"bidirectional_input:0": ("B", "T", 2), "bidirectional": ("B", "T", 6)}
    model = builder.model("tf2onnx", domains=_ML)
    return Foreign(model, axes, {"bidirectional_input:0": (2,)}, truth, task="sequence")
