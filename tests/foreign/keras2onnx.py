"""Graphs in the style of keras2onnx: initializers by the layer's name, ``N`` for the batch, Scan, sequence lengths."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.foreign.building import FLOAT, INT32, GraphBuilder
from tests.foreign.case import Arrays, Axes, Foreign
from tests.foreign.equations import Weights, gru, hard_sigmoid, lstm, rnn, sigmoid

_ML = (("ai.onnx.ml", 1),)


def keras2onnx_lstm_stack() -> Foreign:
    """Two layers, ``lstm_W``, ``lstm_R`` and ``lstm_B``, without first states."""
    builder = GraphBuilder(11, seed=1)
    x = builder.input("lstm_input", ["N", "M", 2])
    one, two = Weights.drawn(builder, 4, 2, 5), Weights.drawn(builder, 4, 5, 3)
    hidden = builder.transpose(x, 1, 0, 2, name="lstm_X")
    for name, weights in (("lstm", one), ("lstm_1", two)):
        layer = builder.node(
            "LSTM",
            [hidden, *weights.of_node(builder, name)],
            f"{name}_Y",
            direction="forward",
            hidden_size=weights.hidden,
            activations=["Sigmoid", "Tanh", "Tanh"],
        )
        hidden = builder.squeeze(layer, 1, f"{name}_y")
    builder.transpose(hidden, 1, 0, 2, name="lstm_1")
    builder.output("lstm_1", ["N", "M", 3])

    def truth(given: Arrays) -> Arrays:
        return {"lstm_1": lstm(lstm(given["lstm_input"], one)[0], two)[0]}

    model = builder.model("keras2onnx", "sequential", _ML)
    return Foreign(model, {"lstm_input": ("B", "T", 2), "lstm_1": ("B", "T", 3)}, {"lstm_input": (2,)}, truth, hidden=4)


def keras2onnx_masking() -> Foreign:
    """``Masking`` before an LSTM: how long a sequence is, is counted in the graph, over all the steps that it is given.

    Rows without a masked step are told here; where one stands in between, the steps at the end are left out instead, so
    that no piece of a sequence can be run before all of it is there.
    """
    builder = GraphBuilder(11, seed=2)
    x = builder.input("masking_input", ["N", "M", 2])
    weights = Weights.drawn(builder, 4, 2, 4)
    differs = builder.node("Not", [builder.node("Equal", [x, builder.weight(0.0, "masking_value")])])
    number = builder.node("ReduceMax", [builder.node("Cast", [differs], to=FLOAT)], axes=[2], keepdims=0)
    lengths = builder.node(
        "Cast", [builder.node("ReduceSum", [number], axes=[1], keepdims=0)], "masking_seqlens", to=INT32
    )
    layer = builder.node(
        "LSTM",
        [builder.transpose(x, 1, 0, 2), *weights.of_node(builder, "lstm_2"), lengths],
        "lstm_2_Y",
        hidden_size=4,
        direction="forward",
    )
    builder.transpose(builder.squeeze(layer, 1), 1, 0, 2, name="lstm_2")
    builder.output("lstm_2", ["N", "M", 4])

    def truth(given: Arrays) -> Arrays:
        return {"lstm_2": lstm(given["masking_input"], weights)[0]}

    model = builder.model("keras2onnx", "masked", _ML)
    axes: Axes = {"masking_input": ("B", "T", 2), "lstm_2": ("B", "T", 4)}
    return Foreign(model, axes, {"masking_input": (2,)}, truth, task="sequence")


def keras2onnx_hard_sigmoid() -> Foreign:
    """``LSTM(recurrent_activation="hard_sigmoid")``: Keras 2's, 0.2 x + 0.5, by the node's own activations."""
    builder = GraphBuilder(10, seed=3)
    x = builder.input("lstm_3_input", ["N", 7, 2])
    weights = Weights.drawn(builder, 4, 2, 4)
    layer = builder.node(
        "LSTM",
        [builder.transpose(x, 1, 0, 2), *weights.of_node(builder, "lstm_3")],
        "lstm_3_Y",
        hidden_size=4,
        activations=["HardSigmoid", "Tanh", "Tanh"],
        activation_alpha=[0.2],
        activation_beta=[0.5],
    )
    builder.transpose(builder.squeeze(layer, 1), 1, 0, 2, name="lstm_3")
    builder.output("lstm_3", ["N", 7, 4])

    def truth(given: Arrays) -> Arrays:
        return {"lstm_3": lstm(given["lstm_3_input"], weights, gate=hard_sigmoid)[0]}

    model = builder.model("keras2onnx", "hard", _ML)
    axes: Axes = {"lstm_3_input": ("B", "T", 2), "lstm_3": ("B", "T", 4)}
    return Foreign(model, axes, {"lstm_3_input": (2,)}, truth, hidden=2, fixed={"T": 7})


def keras2onnx_gru_last() -> Foreign:
    """``GRU(4, reset_after=False)`` without ``return_sequences``: its last step, and a dense layer."""
    builder = GraphBuilder(11, seed=4)
    x = builder.input("gru_input", ["N", "M", 3])
    weights = Weights.drawn(builder, 3, 3, 4)
    layer = builder.nodes_of(
        "GRU",
        [builder.transpose(x, 1, 0, 2), *weights.of_node(builder, "gru")],
        ["gru_Y", "gru_Y_h"],
        hidden_size=4,
        linear_before_reset=0,
    )
    kernel, bias = builder.drawn(4, 1), builder.drawn(1)
    product = builder.node("MatMul", [builder.squeeze(layer[1], 0), builder.weight(kernel, "dense/kernel:0")])
    builder.node("Add", [product, builder.weight(bias, "dense/bias:0")], "dense")
    builder.output("dense", ["N", 1])

    def truth(given: Arrays) -> Arrays:
        return {"dense": gru(given["gru_input"], weights, reset_after=False)[0] @ kernel + bias}

    model = builder.model("keras2onnx", "gru_last", _ML)
    axes: Axes = {"gru_input": ("B", "T", 3), "dense": ("B", 1)}
    return Foreign(model, axes, {"gru_input": (3,)}, truth, hidden=1)


def keras2onnx_simple_rnn() -> Foreign:
    """``SimpleRNN(4)``."""
    builder = GraphBuilder(9, seed=5)
    x = builder.input("simple_rnn_input", ["N", "M", 3])
    weights = Weights.drawn(builder, 1, 3, 4)
    layer = builder.node(
        "RNN", [builder.transpose(x, 1, 0, 2), *weights.of_node(builder, "simple_rnn")], "rnn_Y", hidden_size=4
    )
    builder.transpose(builder.squeeze(layer, 1), 1, 0, 2, name="simple_rnn")
    builder.output("simple_rnn", ["N", "M", 4])

    def truth(given: Arrays) -> Arrays:
        return {"simple_rnn": rnn(given["simple_rnn_input"], weights)[0]}

    model = builder.model("keras2onnx", "simple", _ML)
    axes: Axes = {"simple_rnn_input": ("B", "T", 3), "simple_rnn": ("B", "T", 4)}
    return Foreign(model, axes, {"simple_rnn_input": (3,)}, truth, hidden=1)


def keras2onnx_scan() -> Foreign:
    """A cell of one's own (``RNN(cell)``) as a ``Scan`` along the second axis: a leaky unit with a gate."""
    builder = GraphBuilder(11, seed=6)
    x = builder.input("rnn_input", ["N", "M", 3])
    kernel, recurrent, bias = builder.drawn(3, 8), builder.drawn(4, 8), builder.drawn(8)
    batch = builder.size(x, 0)
    shape = builder.node("Concat", [batch, builder.weight([4])], axis=0)
    first = builder.node("ConstantOfShape", [shape], value=helper.make_tensor("value", FLOAT, [1], [0.0]))
    names = [builder.weight(kernel, "cell/kernel"), builder.weight(recurrent, "cell/recurrent"), builder.weight(bias)]

    body = GraphBuilder(11, "scan_")
    h = body.input("state_in", ["N", 4])
    step = body.input("step", ["N", 3])
    sum_of = body.node("Add", [body.node("MatMul", [step, names[0]]), body.node("MatMul", [h, names[1]])])
    gate, new = body.split(body.node("Add", [sum_of, names[2]]), 1, 2, 4)
    gate = body.node("Sigmoid", [gate])
    change = body.node("Mul", [gate, body.node("Sub", [body.node("Tanh", [new]), h])])
    body.node("Add", [h, change], "state_out")
    body.node("Identity", ["state_out"], "answer")
    body.output("state_out", ["N", 4])
    body.output("answer", ["N", 4])
    builder.nodes_of(
        "Scan",
        [first, x],
        ["rnn_last", "rnn"],
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
        body=body.graph("scan_body"),
    )
    builder.output("rnn", ["N", "M", 4])

    def truth(given: Arrays) -> Arrays:
        x = given["rnn_input"]
        state, answers = np.zeros((x.shape[0], 4)), []
        for t in range(x.shape[1]):
            gate, new = np.split(x[:, t] @ kernel + state @ recurrent + bias, 2, axis=-1)
            state = state + sigmoid(gate) * (np.tanh(new) - state)
            answers.append(state)
        return {"rnn": np.stack(answers, axis=1)}

    model = builder.model("keras2onnx", "own_cell", _ML)
    axes: Axes = {"rnn_input": ("B", "T", 3), "rnn": ("B", "T", 4)}
    return Foreign(model, axes, {"rnn_input": (3,)}, truth, hidden=1)
