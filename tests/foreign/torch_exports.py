"""Graphs in the style of torch's exporters, the old one by traces (opset 9 to 18) and the one behind it (18 to 21)."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.foreign.building import FLOAT, INT64, GraphBuilder
from tests.foreign.case import Array, Arrays, Axes, Foreign
from tests.foreign.equations import Weights, backwards, gru, lstm, of_directions, rnn


def _zeros(builder: GraphBuilder, x: str, batch_axis: int, layers: int, hidden: int) -> str:
    """Zeros ``[layers, B, H]`` as traced: Shape, Gather, Unsqueeze, Concat, ConstantOfShape."""
    size = builder.node("Gather", [builder.node("Shape", [x]), builder.constant(batch_axis)], axis=0)
    parts = [builder.constant([layers]), builder.unsqueeze(size, 0), builder.constant([hidden])]
    shape = builder.node("Concat", parts, axis=0)
    return builder.node("ConstantOfShape", [shape], value=helper.make_tensor("value", FLOAT, [1], [0.0]))


def _linear(builder: GraphBuilder, x: str, kernel: Array, bias: Array, name: str) -> None:
    """A linear layer over the last axis: MatMul and Add."""
    product = builder.node("MatMul", [x, builder.weight(kernel, f"onnx::MatMul_{name}")])
    builder.node("Add", [builder.weight(bias, f"{name}.bias"), product], name)


def torch_gru_default_state() -> Foreign:
    """``self.gru(x)`` with batch first and no state: the zeros are made in the graph."""
    builder = GraphBuilder(11, "/gru/")
    x = builder.input("input", ["batch_size", "seq_len", 3])
    weights = Weights.drawn(builder, 3, 3, 5)
    time_first = builder.transpose(x, 1, 0, 2)
    nodes = [time_first, *weights.of_node(builder), "", _zeros(builder, time_first, 1, 1, 5)]
    layer = builder.node("GRU", nodes, hidden_size=5, linear_before_reset=1)
    hidden = builder.transpose(builder.squeeze(layer, 1), 1, 0, 2)
    kernel, bias = builder.drawn(5, 2), builder.drawn(2)
    _linear(builder, hidden, kernel, bias, "output")
    builder.output("output", ["batch_size", "seq_len", 2])

    def truth(given: Arrays) -> Arrays:
        return {"output": gru(given["input"], weights)[0] @ kernel + bias}

    axes: Axes = {"input": ("B", "T", 3), "output": ("B", "T", 2)}
    return Foreign(builder.model("pytorch"), axes, {"input": (3,)}, truth, hidden=1)


def torch_lstm_stacked_states() -> Foreign:
    """Two layers with ``h0`` and ``c0`` ``[2, B, H]``, a slice for each layer, and Concat of what they end with."""
    builder = GraphBuilder(17, "/lstm/", seed=1)
    x = builder.input("x", ["batch", "time", 2])
    h0, c0 = builder.input("h0", [2, "batch", 4]), builder.input("c0", [2, "batch", 4])
    layers = [Weights.drawn(builder, 4, 2, 4), Weights.drawn(builder, 4, 4, 4)]
    hidden, last = builder.transpose(x, 1, 0, 2), []
    for number, weights in enumerate(layers):
        first = [builder.slice(state, 0, number, number + 1) for state in (h0, c0)]
        names = [f"/lstm/LSTM_{number}_output_{part}" for part in range(3)]
        builder.nodes_of("LSTM", [hidden, *weights.of_node(builder), "", *first], names, hidden_size=4)
        hidden = builder.squeeze(names[0], 1)
        last.append(names[1:])
    builder.transpose(hidden, 1, 0, 2, name="y")
    builder.node("Concat", [each[0] for each in last], "hn", axis=0)
    builder.node("Concat", [each[1] for each in last], "cn", axis=0)
    builder.output("y", ["batch", "time", 4])
    builder.output("hn", [2, "batch", 4])
    builder.output("cn", [2, "batch", 4])

    def truth(given: Arrays) -> Arrays:
        return {"y": lstm(lstm(given["x"], layers[0])[0], layers[1])[0]}

    axes: Axes = {"x": ("B", "T", 2), "y": ("B", "T", 4), **dict.fromkeys(("h0", "c0", "hn", "cn"), (2, "B", 4))}
    return Foreign(builder.model("pytorch"), axes, {"x": (2,)}, truth, {"h0": "hn", "c0": "cn"})


def torch_lstm_fixed_sizes() -> Foreign:
    """Traced without ``dynamic_axes``: batch 1 and 16 steps in the file, first states are constants ``[1, 1, H]``."""
    builder = GraphBuilder(9, "", seed=2)
    x = builder.input("input.1", [1, 16, 3])
    weights = Weights.drawn(builder, 4, 3, 4)
    zero = builder.constant(np.zeros((1, 1, 4)))
    nodes = [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", zero, zero]
    layer = builder.node("LSTM", nodes, hidden_size=4)
    builder.transpose(builder.squeeze(layer, 1), 1, 0, 2, name="27")
    builder.output("27", [1, 16, 4])

    def truth(given: Arrays) -> Arrays:
        return {"27": lstm(given["input.1"], weights)[0]}

    axes: Axes = {"input.1": ("B", "T", 3), "27": ("B", "T", 4)}
    return Foreign(builder.model("pytorch"), axes, {"input.1": (3,)}, truth, hidden=2, fixed={"B": 1, "T": 16})


def torch_learned_first_state() -> Foreign:
    """A first state that was learned, ``[1, 1, H]``, expanded to the batch; time first outside, too."""
    builder = GraphBuilder(16, "/", seed=3)
    x = builder.input("frames", ["T", "N", 3])
    weights, first = Weights.drawn(builder, 1, 3, 4), builder.drawn(1, 1, 4)
    batch = builder.node("Gather", [builder.node("Shape", [x]), builder.constant(1)], axis=0)
    shape = builder.node("Concat", [builder.constant([1]), builder.unsqueeze(batch, 0), builder.constant([4])], axis=0)
    begun = builder.node("Expand", [builder.weight(first, "h0"), shape])
    layer = builder.node("RNN", [x, *weights.of_node(builder), "", begun], hidden_size=4, activations=["Tanh"])
    builder.squeeze(layer, 1, "features")
    builder.output("features", ["T", "N", 4])

    def truth(given: Arrays) -> Arrays:
        h = np.broadcast_to(first[0], (given["frames"].shape[0], 4))
        return {"features": rnn(given["frames"], weights, h)[0]}

    axes: Axes = {"frames": ("T", "B", 3), "features": ("T", "B", 4)}
    return Foreign(builder.model("pytorch"), axes, {"frames": (3,)}, truth, hidden=1)


def torch_tokens() -> Foreign:
    """Tokens into an embedding, an LSTM and logits: a language model without states."""
    builder = GraphBuilder(14, "/", seed=4)
    x = builder.input("input_ids", ["batch_size", "sequence_length"], INT64)
    table, weights, head = builder.drawn(11, 4), Weights.drawn(builder, 4, 4, 5), builder.drawn(5, 11)
    rows = builder.node("Gather", [builder.weight(table, "embedding.weight"), x], axis=0)
    time_first = builder.transpose(rows, 1, 0, 2)
    zeros = [_zeros(builder, time_first, 1, 1, 5) for _ in range(2)]
    layer = builder.node("LSTM", [time_first, *weights.of_node(builder), "", *zeros], hidden_size=5)
    hidden = builder.transpose(builder.squeeze(layer, 1), 1, 0, 2)
    builder.node("MatMul", [hidden, builder.weight(head, "onnx::MatMul_90")], "logits")
    builder.output("logits", ["batch_size", "sequence_length", 11])

    def truth(given: Arrays) -> Arrays:
        return {"logits": lstm(table[given["input_ids"]], weights)[0] @ head}

    axes: Axes = {"input_ids": ("B", "T"), "logits": ("B", "T", 11)}
    return Foreign(builder.model("pytorch"), axes, {"input_ids": ()}, truth, hidden=2, codes={"input_ids": 11})


def torch_dynamo_lstm() -> Foreign:
    """The exporter of torch 2.9 and later: names ``val_12``, opset 20, states by Unsqueeze and Squeeze."""
    builder = GraphBuilder(20, "val_", seed=5)
    x = builder.input("x", ["s77", "s27", 3])
    h, c = builder.input("args_1_0", [1, "s77", 5]), builder.input("args_1_1", [1, "s77", 5])
    weights = Weights.drawn(builder, 4, 3, 5)
    nodes = [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", h, c]
    builder.nodes_of("LSTM", nodes, ["val_y", "getitem_1", "getitem_2"], hidden_size=5, direction="forward")
    hidden = builder.transpose(builder.squeeze("val_y", 1), 1, 0, 2)
    kernel, bias = builder.drawn(5, 2), builder.drawn(2)
    _linear(builder, hidden, kernel, bias, "linear")
    builder.output("linear", ["s77", "s27", 2])
    builder.output("getitem_1", [1, "s77", 5])
    builder.output("getitem_2", [1, "s77", 5])

    def truth(given: Arrays) -> Arrays:
        return {"linear": lstm(given["x"], weights)[0] @ kernel + bias}

    state = (1, "B", 5)
    axes: Axes = {"x": ("B", "T", 3), "linear": ("B", "T", 2)}
    axes |= dict.fromkeys(("args_1_0", "args_1_1", "getitem_1", "getitem_2"), state)
    states = {"args_1_0": "getitem_1", "args_1_1": "getitem_2"}
    return Foreign(builder.model("pytorch"), axes, {"x": (3,)}, truth, states)


def torch_opset_21_gru() -> Foreign:
    """Opset 21, without names that tell anything; the state comes first, and the batch is the first axis of all."""
    builder = GraphBuilder(21, "node_", seed=6)
    h, x = builder.input("arg0", ["s0", 4]), builder.input("arg1", ["s0", "s1", 2])
    weights = Weights.drawn(builder, 3, 2, 4)
    nodes = [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", builder.unsqueeze(h, 0)]
    builder.nodes_of("GRU", nodes, ["node_y", "node_last"], hidden_size=4, linear_before_reset=1)
    builder.squeeze("node_last", 0, "out0")
    builder.transpose(builder.squeeze("node_y", 1), 1, 0, 2, name="out1")
    builder.output("out0", ["s0", 4])
    builder.output("out1", ["s0", "s1", 4])

    def truth(given: Arrays) -> Arrays:
        return {"out1": gru(given["arg1"], weights)[0]}

    axes: Axes = {"arg0": ("B", 4), "arg1": ("B", "T", 2), "out0": ("B", 4), "out1": ("B", "T", 4)}
    return Foreign(builder.model("pytorch"), axes, {"arg1": (2,)}, truth, {"arg0": "out0"})


def torch_two_way() -> Foreign:
    """``nn.GRU(bidirectional=True)`` along time: task ``sequence``."""
    builder = GraphBuilder(13, "/gru/", seed=7)
    x = builder.input("input", ["batch", "time", 2])
    there, back = Weights.drawn(builder, 3, 2, 3), Weights.drawn(builder, 3, 2, 3)
    time_first = builder.transpose(x, 1, 0, 2)
    nodes = [time_first, *of_directions([there, back], builder), "", _zeros(builder, time_first, 1, 2, 3)]
    layer = builder.node("GRU", nodes, hidden_size=3, linear_before_reset=1, direction="bidirectional")
    turned = builder.transpose(layer, 0, 2, 1, 3)
    both = builder.node("Reshape", [turned, builder.constant([0, 0, -1])])
    builder.transpose(both, 1, 0, 2, name="output")
    builder.output("output", ["batch", "time", 6])

    def truth(given: Arrays) -> Arrays:
        x = given["input"]
        return {"output": np.concatenate([gru(x, there)[0], backwards(gru, x, back)], axis=-1)}

    axes: Axes = {"input": ("B", "T", 2), "output": ("B", "T", 6)}
    return Foreign(builder.model("pytorch"), axes, {"input": (2,)}, truth, task="sequence")


def torch_sum_of_states() -> Foreign:
    """Two inputs, two outputs, one of the last step alone, and two states of one shape that must not be swapped."""
    builder = GraphBuilder(15, "/", seed=8)
    a, b = builder.input("left", ["n", "t", 2]), builder.input("right", ["n", "t", 2])
    states = [builder.input(name, [1, "n", 4]) for name in ("state_left", "state_right")]
    layers = [Weights.drawn(builder, 3, 2, 4), Weights.drawn(builder, 3, 2, 4)]
    hidden = []
    for name, x, weights, state in zip(("right", "left"), (b, a), layers, reversed(states), strict=True):
        nodes = [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", state]
        names = [f"/{name}/y", f"next_{name}"]
        builder.nodes_of("GRU", nodes, names, hidden_size=4, linear_before_reset=1)
        hidden.append(builder.transpose(builder.squeeze(names[0], 1), 1, 0, 2))
    builder.node("Add", hidden, "sum")
    last = builder.node("Gather", ["sum", builder.constant(-1)], axis=1)
    builder.node("Softmax", [last], "probabilities", axis=-1)
    builder.output("sum", ["n", "t", 4])
    builder.output("probabilities", ["n", 4])
    builder.output("next_right", [1, "n", 4])
    builder.output("next_left", [1, "n", 4])

    def truth(given: Arrays) -> Arrays:
        made = gru(given["right"], layers[0])[0] + gru(given["left"], layers[1])[0]
        powers = np.exp(made)
        return {"sum": made, "probabilities": powers / powers.sum(axis=-1, keepdims=True)}

    axes: Axes = {"left": ("B", "T", 2), "right": ("B", "T", 2), "sum": ("B", "T", 4), "probabilities": ("B", 4)}
    axes |= dict.fromkeys(("state_left", "state_right", "next_left", "next_right"), (1, "B", 4))
    pairs = {"state_left": "next_left", "state_right": "next_right"}
    return Foreign(builder.model("pytorch"), axes, {"left": (2,), "right": (2,)}, truth, pairs)
