"""Layers in int8 with a scale for each row, against the arithmetic written down anew in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from ostinato.export.graphs.row_scales import quantize_layers
from tests.foreign.building import GraphBuilder
from tests.foreign.equations import Weights, sigmoid

Array = NDArray[Any]

FEATURES, HIDDEN = 5, 12
STATES = {"LSTM": ("h", "c"), "GRU": ("h",)}
DRAW = np.random.default_rng(0)
INPUTS = DRAW.normal(size=(9, 6, FEATURES)).astype(np.float32)
BEGIN = {name: DRAW.normal(size=(1, 6, HIDDEN)).astype(np.float32) for name in ("h", "c")}
BEHIND = {"linear_before_reset": 1}


def drawn(kind: str, *, lengths: bool = False, **attributes: Any) -> tuple[onnx.ModelProto, Weights]:
    """A layer alone: x ``[T, B, F]`` and its states to the hidden states of all steps and its states."""
    builder = GraphBuilder(20)
    weights = Weights.drawn(builder, 4 if kind == "LSTM" else 3, FEATURES, HIDDEN)
    x = builder.input("x", ["T", "B", FEATURES])
    given = [x, *weights.of_node(builder), builder.input("n", ["B"], onnx.TensorProto.INT32) if lengths else ""]
    states = [builder.input(name, [1, "B", HIDDEN]) for name in STATES[kind]]
    made = ["y", *(f"{name}_n" for name in states)]
    builder.nodes_of(kind, [*given, *states], made, hidden_size=HIDDEN, **attributes)
    builder.output("y", ["T", 1, "B", HIDDEN])
    for name in made[1:]:
        builder.output(name, [1, "B", HIDDEN])
    return builder.model("pytorch"), weights


def quantised(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    made = ir.from_proto(model)
    assert quantize_layers(made).total() == 1
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = ir.to_proto(made).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, x: Array, states: dict[str, Array]) -> list[Array]:
    names = [each.name for each in session.get_inputs()]
    made: list[Array] = session.run(None, {name: ({"x": x} | states)[name] for name in names})
    return made


def product(x: Array, weights: Array) -> Array:
    """``x [B, K]`` times ``weights [N, K]``, turned: whole numbers, row by row and column by column."""
    scales = np.abs(weights).max(axis=1) / np.float32(64)
    rows = np.abs(x).max(axis=1, keepdims=True) / np.float32(127) + np.float32(1e-30)
    whole = np.rint(x / rows).astype(np.int64) @ np.rint(weights / scales[:, None]).astype(np.int64).T
    made: Array = whole * scales.astype(np.float64) * rows.astype(np.float64)
    return made


def lstm_step(x: Array, weights: Weights, h: Array, c: Array) -> list[Array]:
    total = product(x, weights.w) + product(h, weights.r) + weights.wb + weights.rb
    i, o, f, cell = np.split(total, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(cell)
    return [sigmoid(o) * np.tanh(c), c]


def gru_step(x: Array, weights: Weights, h: Array) -> list[Array]:
    given, hidden = product(x, weights.w) + weights.wb, product(h, weights.r) + weights.rb
    (z, r, new), (z_hidden, r_hidden, new_hidden) = (np.split(each, 3, axis=1) for each in (given, hidden))
    new = np.tanh(new + sigmoid(r + r_hidden) * new_hidden)
    kept = sigmoid(z + z_hidden)
    return [(1 - kept) * new + kept * h]


@pytest.mark.parametrize(("kind", "step", "attributes"), [("LSTM", lstm_step, {}), ("GRU", gru_step, BEHIND)])
def test_a_step_is_what_the_whole_numbers_say(kind: str, step: Any, attributes: dict[str, Any]) -> None:
    model, weights = drawn(kind, **attributes)
    session = quantised(model)
    states = {name: BEGIN[name] for name in STATES[kind]}
    for x in INPUTS:
        wanted = step(x, weights, *(each[0] for each in states.values()))
        y, *after = run(session, x[None], states)
        assert np.abs(y[0, 0] - wanted[0]).max() < 2e-6
        assert max(np.abs(each[0] - right).max() for each, right in zip(after, wanted, strict=True)) < 2e-6
        states = dict(zip(states, after, strict=True))


@pytest.mark.parametrize(("kind", "attributes"), [("LSTM", {}), ("GRU", BEHIND)])
@pytest.mark.parametrize("others", [1, 1e6, 0])
def test_a_row_is_the_same_to_the_bit_alone_and_beside_others_and_however_steps_are_cut(
    kind: str, attributes: dict[str, Any], others: float
) -> None:
    session = quantised(drawn(kind, **attributes)[0])
    states = {name: BEGIN[name] for name in STATES[kind]}
    x = INPUTS.copy()
    x[:, 1:] *= others
    together = run(session, x, states)
    alone = {name: each[:, :1] for name, each in states.items()}
    rows = []
    for one in x[:, :1]:
        y, *after = run(session, one[None], alone)
        rows.append(y)
        alone = dict(zip(alone, after, strict=True))
    assert np.concatenate(rows).tobytes() == together[0][:, :, :1].tobytes()
    for each, right in zip(alone.values(), together[1:], strict=True):
        assert each.tobytes() == right[:, :1].tobytes()


@pytest.mark.parametrize(("kind", "attributes"), [("LSTM", {}), ("GRU", BEHIND)])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_lost_nowhere_in_its_row_and_seen_in_no_other(
    kind: str, attributes: dict[str, Any], number: float
) -> None:
    session = quantised(drawn(kind, **attributes)[0])
    for place in range(FEATURES):
        x = INPUTS.copy()
        x[2, 3, place] = number
        y = run(session, x, {name: BEGIN[name] for name in STATES[kind]})[0][:, 0]
        assert np.isnan(y[2:, 3]).all()
        y[2:, 3] = 0
        assert np.isfinite(y).all()


def test_rows_and_columns_of_zeros_are_zeros() -> None:
    model, weights = drawn("LSTM")
    for each in model.graph.initializer:
        if list(each.dims) == [1, 4 * HIDDEN, FEATURES]:
            zeros = np.zeros(each.dims, np.float32)
            each.CopyFrom(onnx.numpy_helper.from_array(zeros, each.name))
    states = {name: np.zeros_like(each) for name, each in BEGIN.items()}
    y = run(quantised(model), INPUTS[:1], states)[0][0, 0]
    i, o, _, cell = np.split((weights.wb + weights.rb).astype(np.float64), 4)
    assert np.abs(y - sigmoid(o) * np.tanh(sigmoid(i) * np.tanh(cell))).max() < 2e-6


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GRU", {}),
        ("LSTM", {"direction": "reverse"}),
        ("LSTM", {"clip": 1.0}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}),
        ("LSTM", {"lengths": True}),
    ],
)
def test_other_layers_stay(kind: str, options: dict[str, Any]) -> None:
    model = ir.from_proto(drawn(kind, **options)[0])
    assert not quantize_layers(model)
    assert [node.op_type for node in model.graph] == [kind]
