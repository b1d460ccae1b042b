"""Graphs with their recurrence in a subgraph: Loop and Scan without states, and layers within an If."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.foreign.building import BOOL, FLOAT, INT64, GraphBuilder
from tests.foreign.case import Arrays, Axes, Foreign
from tests.foreign.equations import Weights, lstm, sigmoid


def loop_cell() -> Foreign:
    """``for t in range(x.size(1))`` under ``torch.jit.script``: a Loop whose cell's state begins with zeros."""
    builder = GraphBuilder(14, "/")
    x = builder.input("x", ["batch", "time", 3])
    kernel, recurrent = builder.drawn(3, 4), builder.drawn(4, 4)
    names = [builder.weight(kernel, "cell.weight_ih"), builder.weight(recurrent, "cell.weight_hh")]
    shape = builder.node("Concat", [builder.size(x, 0), builder.weight([4])], axis=0)
    first = builder.node("ConstantOfShape", [shape], value=helper.make_tensor("value", FLOAT, [1], [0.0]))
    steps = builder.squeeze(builder.size(x, 1), 0)

    body = GraphBuilder(14, "/loop/")
    i, _, h = body.input("i", [], INT64), body.input("cond.1", [], BOOL), body.input("h.1", ["batch", 4])
    step = body.node("Gather", [x, i], axis=1)
    added = body.node("Add", [body.node("MatMul", [step, names[0]]), body.node("MatMul", [h, names[1]])])
    body.node("Tanh", [added], "h.2")
    body.node("Identity", ["h.2"], "y.1")
    body.node("Identity", ["cond.1"], "cond.2")
    body.output("cond.2", [], BOOL)
    body.output("h.2", ["batch", 4])
    body.output("y.1", ["batch", 4])
    loop = [steps, builder.weight(np.array(True)), first]
    builder.nodes_of("Loop", loop, ["h_last", "stacked"], body=body.graph("body"))
    builder.transpose("stacked", 1, 0, 2, name="y")
    builder.output("y", ["batch", "time", 4])

    def truth(given: Arrays) -> Arrays:
        h, answers = np.zeros((given["x"].shape[0], 4)), []
        for t in range(given["x"].shape[1]):
            h = np.tanh(given["x"][:, t] @ kernel + h @ recurrent)
            answers.append(h)
        return {"y": np.stack(answers, axis=1)}

    axes: Axes = {"x": ("B", "T", 3), "y": ("B", "T", 4)}
    return Foreign(builder.model("pytorch"), axes, {"x": (3,)}, truth, hidden=1)


def scan_two_states() -> Foreign:
    """A Scan over time first, of a running mean: a sum and how many steps there were."""
    builder = GraphBuilder(16, "/", seed=1)
    x = builder.input("signal", ["time", "batch", 2])
    batch = builder.size(x, 1)
    zero = helper.make_tensor("value", FLOAT, [1], [0.0])
    count = builder.node("ConstantOfShape", [builder.node("Concat", [batch, builder.weight([1])], axis=0)], value=zero)
    total = builder.node("ConstantOfShape", [builder.node("Concat", [batch, builder.weight([2])], axis=0)], value=zero)

    body = GraphBuilder(16, "/scan/")
    n, s, step = body.input("n", ["batch", 1]), body.input("s", ["batch", 2]), body.input("step", ["batch", 2])
    body.node("Add", [n, body.weight(1.0)], "n_out")
    body.node("Add", [s, step], "s_out")
    body.node("Sub", [step, body.node("Div", ["s_out", "n_out"])], "centred_step")
    for name, size in (("n_out", 1), ("s_out", 2), ("centred_step", 2)):
        body.output(name, ["batch", size])
    outputs = ["n_last", "s_last", "centred"]
    builder.nodes_of("Scan", [count, total, x], outputs, num_scan_inputs=1, body=body.graph("body"))
    builder.output("centred", ["time", "batch", 2])

    def truth(given: Arrays) -> Arrays:
        x = np.asarray(given["signal"], np.float64)
        counts = np.arange(1, x.shape[1] + 1)[None, :, None]
        return {"centred": x - x.cumsum(axis=1) / counts}

    axes: Axes = {"signal": ("T", "B", 2), "centred": ("T", "B", 2)}
    return Foreign(builder.model("pytorch"), axes, {"signal": (2,)}, truth, hidden=2)


def layers_within_if() -> Foreign:
    """A sample rate that chooses between two LSTMs within an ``If``; h and c stand in one state ``[2, B, H]``."""
    builder = GraphBuilder(16, "/model/", seed=2)
    x, state = builder.input("input", [None, "steps", 3]), builder.input("state", [2, None, 4])
    rate = builder.input("sr", [], INT64)
    wide, narrow = Weights.drawn(builder, 4, 3, 4), Weights.drawn(builder, 4, 3, 4)
    names = {"then": wide.of_node(builder, "wide"), "else": narrow.of_node(builder, "narrow")}
    is_wide = builder.node("Equal", [rate, builder.constant(16000)])

    def branch(which: str) -> Any:
        inner = GraphBuilder(16, f"/model/{which}/")
        h, c = (inner.unsqueeze(inner.node("Gather", [state, inner.constant(k)], axis=0), 0) for k in (0, 1))
        layer = [f"/{which}/y", f"/{which}/h", f"/{which}/c"]
        inner.nodes_of("LSTM", [inner.transpose(x, 1, 0, 2), *names[which], "", h, c], layer, hidden_size=4)
        inner.transpose(inner.squeeze(layer[0], 1), 1, 0, 2, name=f"/{which}/answer")
        inner.node("Concat", layer[1:], f"/{which}/next", axis=0)
        inner.output(f"/{which}/answer", [None, None, 4])
        inner.output(f"/{which}/next", [2, None, 4])
        return inner.graph(which)

    chosen = ["/model/If_output_0", "stateN"]
    builder.nodes_of("If", [is_wide], chosen, then_branch=branch("then"), else_branch=branch("else"))
    head = builder.drawn(4, 1)
    builder.node("Sigmoid", [builder.node("MatMul", [chosen[0], builder.weight(head)])], "output")
    builder.output("output", [None, None, 1])
    builder.output("stateN", [None, None, None])

    def truth(given: Arrays) -> Arrays:
        return {"output": sigmoid(lstm(given["input"], wide)[0] @ head)}

    axes: Axes = {
        "input": ("B", "T", 3),
        "output": ("B", "T", 1),
        "state": (2, "B", 4),
        "stateN": (2, "B", 4),
        "sr": (),
    }
    model, rows = builder.model("pytorch"), {"input": (3,)}
    return Foreign(model, axes, rows, truth, {"state": "stateN"}, constants={"sr": 16000})


def layer_without_state_within_if() -> Foreign:
    """An LSTM that begins with zeros within an ``If`` on how many features there are, which is never otherwise."""
    builder = GraphBuilder(13, "/", seed=3)
    x = builder.input("audio", ["batch", "time", 2])
    weights = Weights.drawn(builder, 4, 2, 3)
    names = weights.of_node(builder)
    num_features = builder.node("Gather", [builder.node("Shape", [x]), builder.constant(2)], axis=0)
    is_two = builder.node("Equal", [num_features, builder.constant(2)])

    there = GraphBuilder(13, "/then/")
    layer = there.node("LSTM", [there.transpose(x, 1, 0, 2), *names], hidden_size=3)
    there.transpose(there.squeeze(layer, 1), 1, 0, 2, name="/then/y")
    there.output("/then/y", ["batch", "time", 3])
    other = GraphBuilder(13, "/else/")
    padded = other.slice(other.node("Concat", [x, x], axis=2), 2, 0, 2)
    layer = other.node("LSTM", [other.transpose(padded, 1, 0, 2), *names], hidden_size=3)
    other.transpose(other.squeeze(layer, 1), 1, 0, 2, name="/else/y")
    other.output("/else/y", ["batch", "time", 3])
    builder.nodes_of("If", [is_two], ["y"], then_branch=there.graph("then"), else_branch=other.graph("else"))
    builder.output("y", ["batch", "time", 3])

    def truth(given: Arrays) -> Arrays:
        return {"y": lstm(given["audio"], weights)[0]}

    axes: Axes = {"audio": ("B", "T", 2), "y": ("B", "T", 3)}
    return Foreign(builder.model("pytorch"), axes, {"audio": (2,)}, truth, hidden=2)
