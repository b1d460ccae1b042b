"""The workloads: W1, one step of an LSTM a request, its model built node by node; W2, whole sequences of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import GOLDEN_FILE, GraphFile, Manifest, Parity
from ostinato.service.artifact.tensors import Input, Output, State

Floats = NDArray[np.float32]

MODEL = "w1"
NUM_FEATURES = 16
HIDDEN_SIZE = 128
NUM_OUTPUTS = 1
NUM_SESSIONS = 256
BLOCK_ROWS = 256
"""Sessions in one message of W3."""
CYCLE_STEPS = 4
"""Different steps that a session's client sends, over and over."""

MEAN_LENGTH, MIN_LENGTH, MAX_LENGTH = 86, 10, 500
NUM_SEQUENCES = 512
REQUEST_SEQUENCES = 16
STATE_BYTES = 2 * HIDDEN_SIZE * 4


def write_model(repository: Path, seed: int = 7) -> Path:
    """Lay W1's model into a repository as graph, manifest and golden case; returns the version's directory.

    The golden answers are onnxruntime's own: there is no trained network behind random weights.
    """
    directory = repository / MODEL / "1"
    directory.mkdir(parents=True)
    content = _graph(np.random.default_rng(seed)).SerializeToString()
    (directory / "model.onnx").write_bytes(content)
    features = tuple(f"x{index}" for index in range(NUM_FEATURES))
    states = tuple(
        State(name=name, input=name, output=f"{name}_n", shape=(1, "B", HIDDEN_SIZE), dtype="float32") for name in "hc"
    )
    Manifest(
        name=MODEL,
        version="1",
        task="recurrent",
        description="the benchmark's LSTM, with random weights",
        graphs={"step": GraphFile(file="model.onnx", sha256=hashlib.sha256(content).hexdigest())},
        inputs=(Input(name="inputs", dtype="float32", shape=("B", "T", NUM_FEATURES), features=features),),
        outputs=(Output(name="outputs", dtype="float32", shape=("B", "T", NUM_OUTPUTS), features=("y",)),),
        states=states,
        parity=Parity(max_difference=0.0, batch_sizes=(3,), lengths=(9,), num_chunkings=0),
    ).write(directory)
    inputs = np.random.default_rng(seed + 1).normal(size=(3, 9, NUM_FEATURES)).astype(np.float32)
    outputs, h, c = Offline(directory).run(inputs)
    save_file({"0/inputs": inputs, "0/outputs": outputs, "0/h_n": h, "0/c_n": c}, directory / GOLDEN_FILE)
    return directory


class Offline:
    """The graph in plain onnxruntime with one thread: the reference for answers, and the limit for speed."""

    def __init__(self, directory: Path) -> None:
        self.session = open_graph(directory / "model.onnx")

    def run(self, inputs: Floats, states: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats, Floats]:
        """Inputs ``[B, T, F]`` from the initial state, or from states ``[1, B, H]``: outputs ``[B, T, O]`` and both
        states.
        """
        h, c = states or (np.zeros((1, len(inputs), HIDDEN_SIZE), np.float32),) * 2
        outputs, h, c = self.session.run(["outputs", "h_n", "c_n"], {"inputs": inputs, "h": h, "c": c})
        return outputs, h, c


@dataclass(frozen=True)
class Steps:
    """What the clients of W1 send: a cycle of steps for each session, ``inputs`` ``[sessions, CYCLE_STEPS, F]``."""

    inputs: Floats

    @classmethod
    def draw(cls, num_sessions: int, seed: int = 11) -> Steps:
        """Three decimals each, as a sensor's reading has."""
        drawn = np.random.default_rng(seed).normal(size=(num_sessions, CYCLE_STEPS, NUM_FEATURES))
        return cls(drawn.round(3).astype(np.float32))

    def applied(self, session: int, num_steps: int, cycle_steps: int = CYCLE_STEPS) -> Floats:
        """The first ``num_steps`` steps ``[n, F]`` of a client that sends the first ``cycle_steps`` in turn.

        It begins with the last of the cycle, which opens the session; the load then goes through the cycle in order.
        """
        steps: Floats = self.inputs[session, (np.arange(num_steps) - 1) % cycle_steps]
        return steps


def scattered(number: int) -> int:
    """Another number for each below 2**32, in no order: ids that are not stored near those opened next to them."""
    return number * 2_654_435_761 % 2**32  # an odd factor, so none meets another


def draw_lengths(num_sequences: int = NUM_SEQUENCES, seed: int = 13) -> NDArray[np.int64]:
    """W2's lengths: lognormal, cut to 10..500, with a mean of about 86."""
    sigma = 0.7
    # A lognormal's mean is exp(mu + sigma^2 / 2); the cut at 10 and 500 moves it by less than one step.
    mu = np.log(MEAN_LENGTH) - sigma**2 / 2
    drawn = np.random.default_rng(seed).lognormal(mu, sigma, num_sequences)
    return np.clip(drawn.round(), MIN_LENGTH, MAX_LENGTH).astype(np.int64)


def draw_sequences(num_sequences: int = NUM_SEQUENCES, seed: int = 13) -> list[Floats]:
    """W2: arrays ``[n, F]`` of those lengths."""
    generator = np.random.default_rng(seed + 1)
    return [
        generator.normal(size=(length, NUM_FEATURES)).round(3).astype(np.float32)
        for length in draw_lengths(num_sequences, seed)
    ]


def pad(sequences: list[Floats]) -> Floats:
    """Sequences ``[n, F]`` as one batch ``[B, longest, F]`` with zeros behind each."""
    batch = np.zeros((len(sequences), max(map(len, sequences)), NUM_FEATURES), np.float32)
    for row, sequence in enumerate(sequences):
        batch[row, : len(sequence)] = sequence
    return batch


def _graph(generator: np.random.Generator) -> onnx.ModelProto:
    gates = 4 * HIDDEN_SIZE

    def weights(name: str, *shape: int, scale: float) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(0, scale, shape).astype(np.float32), name)

    initializers = [
        weights("w", 1, gates, NUM_FEATURES, scale=0.3),
        weights("r", 1, gates, HIDDEN_SIZE, scale=0.09),
        weights("b", 1, 2 * gates, scale=0.1),
        weights("head", HIDDEN_SIZE, NUM_OUTPUTS, scale=0.3),
        weights("head_bias", NUM_OUTPUTS, scale=0.1),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    nodes = [
        helper.make_node("Transpose", ["inputs"], ["x_t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x_t", "w", "r", "b", "", "h", "c"], ["y4", "h_n", "c_n"], hidden_size=HIDDEN_SIZE),
        helper.make_node("Squeeze", ["y4", "one"], ["y3"]),
        helper.make_node("MatMul", ["y3", "head"], ["bare"]),
        helper.make_node("Add", ["bare", "head_bias"], ["y_t"]),
        helper.make_node("Transpose", ["y_t"], ["outputs"], perm=[1, 0, 2]),
    ]

    def value(name: str, *shape: Any) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    state = (1, "B", HIDDEN_SIZE)
    graph = helper.make_graph(
        nodes,
        MODEL,
        [value("inputs", "B", "T", NUM_FEATURES), value("h", *state), value("c", *state)],
        [value("outputs", "B", "T", NUM_OUTPUTS), value("h_n", *state), value("c_n", *state)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
