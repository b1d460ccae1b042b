"""Networks whose numbers depend on how they are run: in their last bits, or altogether.

Those of operators round as onnxruntime does on this machine. Those that are planted round by what is said of them, on
any machine: a running total of whole numbers, which is exact, and to it a little that depends on the shape of the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ostinato.service.artifact.tensors import Input, Output, State
from tests.networks import Network, accumulator, build_network, lstm

Array = NDArray[Any]

LITTLE = 2.0**-18
WIDTH = 17
"""Of no multiple of a vector's length, so that something is left over."""


def planted(what: str) -> Network:
    """The running total with a little more: by ``batch``, ``steps``, ``batch of one``, ``place`` or ``neighbours``."""
    network = accumulator()
    graph = network.model.graph
    for node in graph.node:
        if node.output[0] == "outputs":
            node.output[0] = "total_y"
    scalar = [
        helper.make_node("Shape", ["inputs"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "which"], ["size"]),
        helper.make_node("Cast", ["size"], ["more"], to=TensorProto.FLOAT),
    ]
    nodes: dict[str, list[NodeProto]] = {
        "batch": scalar,
        "steps": scalar,
        "batch of one": [
            *scalar[:2],
            helper.make_node("Equal", ["size", "int_one"], ["is_one"]),
            helper.make_node("Cast", ["is_one"], ["more"], to=TensorProto.FLOAT),
        ],
        "place": [
            *scalar[:2],
            helper.make_node("Range", ["int_zero", "size", "int_one"], ["places"]),
            helper.make_node("Unsqueeze", ["places", "inner"], ["places3"]),
            helper.make_node("Cast", ["places3"], ["more"], to=TensorProto.FLOAT),
        ],
        "neighbours": [
            helper.make_node("ReduceSum", ["inputs"], ["sum"], keepdims=0),
            helper.make_node("Tanh", ["sum"], ["more"]),
        ],
    }
    added = [
        *nodes[what],
        helper.make_node("Mul", ["more", "little"], ["a_little"]),
        helper.make_node("Add", ["total_y", "a_little"], ["outputs"]),
    ]
    graph.node.extend(added)
    weights: dict[str, Array] = {
        "which": np.array(1 if what == "steps" else 0, np.int64),
        "int_zero": np.array(0, np.int64),
        "int_one": np.array(1, np.int64),
        "inner": np.array([1, 2], np.int64),
        "little": np.array(LITTLE, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    parity = network.manifest["parity"].model_copy(update={"tolerance": 1e-2})
    return network.named(f"planted-{what.replace(' ', '-')}", parity=parity)


def dependent(what: str) -> Network:
    """An LSTM whose rows depend on each other, as by ``mean``, ``softmax``, ``cumsum``, ``attention`` or ``size``."""
    nodes = {
        "mean": [
            helper.make_node("ReduceMean", ["linear", "axis0"], ["mean"]),
            helper.make_node("Sub", ["linear", "mean"], ["outputs"]),
        ],
        "a little of the mean": [
            helper.make_node("ReduceMean", ["inputs", "axis02"], ["mean"]),
            helper.make_node("Mul", ["mean", "millionth"], ["a_little"]),
            helper.make_node("Add", ["linear", "a_little"], ["outputs"]),
        ],
        "softmax": [helper.make_node("Softmax", ["linear"], ["outputs"], axis=0)],
        "cumsum": [helper.make_node("CumSum", ["linear", "zero"], ["outputs"])],
        "attention": [
            helper.make_node("Transpose", ["linear"], ["rows"], perm=[1, 0, 2]),
            helper.make_node("Transpose", ["linear"], ["columns"], perm=[1, 2, 0]),
            helper.make_node("MatMul", ["rows", "columns"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
            helper.make_node("MatMul", ["weights", "rows"], ["seen"]),
            helper.make_node("Transpose", ["seen"], ["outputs"], perm=[1, 0, 2]),
        ],
        "size": [
            helper.make_node("Shape", ["linear"], ["sizes"], start=0, end=1),
            helper.make_node("Cast", ["sizes"], ["size"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["linear", "size"], ["outputs"]),
        ],
    }[what]
    constants: dict[str, Array] = {"axis0": np.array([0], np.int64), "zero": np.array(0, np.int64)}
    constants |= {"axis02": np.array([0, 2], np.int64), "millionth": np.array(1e-6, np.float32)}
    return _with_head(lstm(num_outputs=3), f"by-{what.replace(' ', '-')}", nodes, constants, lambda y: y)


def head(operator: str) -> Network:
    """An LSTM with a head of one operator, and what onnxruntime rounds by the shape of the run in it."""
    heads: dict[str, tuple[list[NodeProto], dict[str, Array], Any]] = {
        "softplus": ([helper.make_node("Softplus", ["linear"], ["outputs"])], {}, lambda y: np.logaddexp(0, y)),
        "log": (
            [
                helper.make_node("Abs", ["linear"], ["size"]),
                helper.make_node("Add", ["size", "half"], ["positive"]),
                helper.make_node("Log", ["positive"], ["outputs"]),
            ],
            {"half": np.array(0.5, np.float32)},
            lambda y: np.log(np.abs(y) + 0.5),
        ),
        "mean of squares": (
            [
                helper.make_node("Mul", ["linear", "linear"], ["squares"]),
                helper.make_node("ReduceMean", ["squares", "last"], ["mean"], keepdims=1),
                helper.make_node("Sub", ["linear", "mean"], ["outputs"]),
            ],
            {"last": np.array([-1], np.int64)},
            lambda y: y - np.mean(y * y, axis=-1, keepdims=True),
        ),
        "batch norm": (
            [
                helper.make_node("Transpose", ["linear"], ["channels"], perm=[0, 2, 1]),
                helper.make_node(
                    "BatchNormalization", ["channels", "gain", "offset", "centre", "spread"], ["normal"], epsilon=0.0
                ),
                helper.make_node("Transpose", ["normal"], ["outputs"], perm=[0, 2, 1]),
            ],
            {name: np.linspace(0.5, 2, WIDTH, dtype=np.float32) for name in ("gain", "offset", "centre", "spread")},
            lambda y: (y - (p := np.linspace(0.5, 2, WIDTH))) / np.sqrt(p) * p + p,
        ),
    }
    return _with_head(lstm(num_outputs=WIDTH), operator.replace(" ", "-"), *heads[operator])


def tanh_rnn(num_features: int = 3, hidden_size: int = 16) -> Network:
    """ONNX's operator ``RNN``."""
    generator = np.random.default_rng(4)
    weights = {
        "w": generator.normal(0, 0.4, (1, hidden_size, num_features)).astype(np.float32),
        "r": generator.normal(0, 0.3, (1, hidden_size, hidden_size)).astype(np.float32),
        "b": generator.normal(0, 0.2, (1, 2 * hidden_size)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["inputs"], ["x_t"], perm=[1, 0, 2]),
        helper.make_node("RNN", ["x_t", "w", "r", "b", "", "h"], ["y4", "h_n"], hidden_size=hidden_size),
        helper.make_node("Squeeze", ["y4", "one"], ["y_t"]),
        helper.make_node("Transpose", ["y_t"], ["outputs"], perm=[1, 0, 2]),
    ]

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        h, made = np.zeros((len(sequences), hidden_size)), []
        for step in range(sequences.shape[1]):
            h = np.tanh(
                sequences[:, step] @ weights["w"][0].T + h @ weights["r"][0].T + weights["b"].reshape(2, -1).sum(0)
            )
            made.append(h)
        return np.stack(made, axis=1).astype(np.float32), {"h": h[:, None].astype(np.float32)}

    states = (State(name="h", input="h", output="h_n", shape=(1, "B", hidden_size), dtype="float32"),)
    constants = {**weights, "one": np.array([1], np.int64)}
    return build_network("tanh-rnn", nodes, _inputs(num_features), _outputs(hidden_size), states, constants, reference)


def convolution(num_features: int = 3, num_outputs: int = 5, num_taps: int = 4) -> Network:
    """A convolution over the steps of a chunk and those before it, which are its state, ``[B, 3, F]``."""
    weights = np.random.default_rng(5).normal(0, 0.4, (num_outputs, num_features, num_taps)).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["past", "inputs"], ["all"], axis=1),
        helper.make_node("Transpose", ["all"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "w"], ["made"]),
        helper.make_node("Transpose", ["made"], ["outputs"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["all", "before", "end", "axis"], ["past_n"]),
    ]

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        steps = sequences.shape[1]
        whole = np.concatenate([np.zeros((len(sequences), num_taps - 1, num_features)), sequences], axis=1)
        made = sum(whole[:, tap : tap + steps] @ weights[:, :, tap].T for tap in range(num_taps))
        return np.asarray(made, np.float32), {"past": whole[:, steps:].astype(np.float32)}

    states = (
        State(name="past", input="past", output="past_n", shape=("B", num_taps - 1, num_features), dtype="float32"),
    )
    constants = {
        "w": weights,
        "before": np.array([1 - num_taps], np.int64),
        "end": np.array([2**31], np.int64),
        "axis": np.array([1], np.int64),
    }
    return build_network(
        "convolution", nodes, _inputs(num_features), _outputs(num_outputs), states, constants, reference
    )


def _with_head(
    network: Network, name: str, nodes: list[NodeProto], constants: dict[str, Array], function: Any
) -> Network:
    graph = network.model.graph
    for node in graph.node:
        if node.output[0] == "outputs":
            node.output[0] = "linear"
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in constants.items())
    reference = network.reference

    def with_head(sequences: Array) -> tuple[Array, dict[str, Array]]:
        made, states = reference(sequences)
        return function(made.astype(np.float64)).astype(np.float32), states

    return Network(network.model, network.manifest, with_head).named(name)


def _inputs(num_features: int) -> tuple[Input, ...]:
    names = tuple(f"x{index}" for index in range(num_features))
    return (Input(name="inputs", dtype="float32", shape=("B", "T", num_features), features=names),)


def _outputs(num_outputs: int) -> tuple[Output, ...]:
    names = tuple(f"y{index}" for index in range(num_outputs))
    return (Output(name="outputs", dtype="float32", shape=("B", "T", num_outputs), features=names),)
