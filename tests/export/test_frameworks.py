"""Weights out of each framework answer what that framework's own equations say, which are written out here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ostinato.export import frameworks
from ostinato.export.frameworks import HARD, LayerWeights, write_model
from ostinato.service.artifact.graphs import open_graph
from tests.docs.keras_page import KerasLayers

Array = NDArray[Any]
F, H = 3, 4
X = np.random.default_rng(1).normal(size=(2, 9, F)).astype(np.float32)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).normal(scale=0.6, size=shape).astype(np.float32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def over_steps(step: Callable[..., Sequence[Array]], num_states: int, x: Array = X) -> Array:
    """The answers ``[B, T, H]`` of ``step(x_t, *states) -> states``, whose first state is the answer."""
    states: Sequence[Array] = [np.zeros((len(x), H))] * num_states
    answers = []
    for t in range(x.shape[1]):
        states = step(x[:, t].astype(np.float64), *states)
        answers.append(states[0])
    return np.stack(answers, axis=1)


def answers(layers: LayerWeights | Sequence[LayerWeights], folder: Path, x: Array = X, **options: Any) -> Array:
    """What onnxruntime answers for the file of layers."""
    write_model([layers] if isinstance(layers, LayerWeights) else layers, folder / "layer.onnx", **options)
    made: Array = open_graph(folder / "layer.onnx").run(["y"], {"x": x})[0]
    return made


def test_tensorflow_s_basic_cell_adds_a_forget_bias_that_is_in_no_file(tmp_path: Path) -> None:
    kernel, bias = drawn(F + H, 4 * H), drawn(4 * H)

    def step(x: Array, h: Array, c: Array) -> Sequence[Array]:
        i, j, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, 1)
        c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
        return np.tanh(c) * sigmoid(o), c

    layer = frameworks.from_basic_lstm_cell(kernel, bias)
    np.testing.assert_allclose(answers(layer, tmp_path), over_steps(step, 2), atol=1e-6)


def test_tensorflow_s_gru_cell_resets_before(tmp_path: Path) -> None:
    gates, gates_bias, candidate, candidate_bias = drawn(F + H, 2 * H), drawn(2 * H), drawn(F + H, H), drawn(H)

    def step(x: Array, h: Array) -> Sequence[Array]:
        r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ gates + gates_bias), 2, 1)
        c = np.tanh(np.concatenate([x, r * h], 1) @ candidate + candidate_bias)
        return (u * h + (1 - u) * c,)

    layer = frameworks.from_tensorflow_gru_cell(gates, gates_bias, candidate, candidate_bias)
    np.testing.assert_allclose(answers(layer, tmp_path), over_steps(step, 1), atol=1e-6)


def test_dynet_s_lstm_has_a_hidden_forget_bias(tmp_path: Path) -> None:
    wx, wh, b = drawn(4 * H, F), drawn(4 * H, H), drawn(4 * H)

    def step(x: Array, h: Array, c: Array) -> Sequence[Array]:
        i, f, o, g = np.split(x @ wx.T + h @ wh.T + b, 4, 1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    np.testing.assert_allclose(answers(frameworks.from_dynet_lstm(wx, wh, b), tmp_path), over_steps(step, 2), atol=1e-6)


def test_dynet_s_gru_lets_the_new_in_by_its_update_gate(tmp_path: Path) -> None:
    x2z, h2z, bz, x2r, h2r, br, x2h, h2h, bh = parameters = [
        drawn(*shape, seed=seed) for seed in range(3) for shape in ((H, F), (H, H), (H,))
    ]

    def step(x: Array, h: Array) -> Sequence[Array]:
        z, r = sigmoid(bz + x @ x2z.T + h @ h2z.T), sigmoid(br + x @ x2r.T + h @ h2r.T)
        c = np.tanh(bh + x @ x2h.T + (r * h) @ h2h.T)
        return ((1 - z) * h + z * c,)

    np.testing.assert_allclose(answers(frameworks.from_dynet_gru(parameters), tmp_path), over_steps(step, 1), atol=1e-6)


@pytest.mark.parametrize("origin_mode", [False, True])
def test_paddle_s_fluid_gru_inverts_its_update_gate_unless_in_origin_mode(tmp_path: Path, origin_mode: bool) -> None:
    projection, weight, bias, fc_bias = drawn(F, 3 * H), drawn(H, 3 * H), drawn(1, 3 * H), drawn(3 * H)
    w_uh, w_rh = np.split(weight.ravel()[: 2 * H * H].reshape(H, 2 * H), 2, 1)
    w_ch = weight.ravel()[2 * H * H :].reshape(H, H)

    def step(x: Array, h: Array) -> Sequence[Array]:
        x_u, x_r, x_c = np.split(x @ projection + fc_bias + bias, 3, 1)
        u, r = sigmoid(x_u + h @ w_uh), sigmoid(x_r + h @ w_rh)
        c = np.tanh(x_c + (r * h) @ w_ch)
        return (u * h + (1 - u) * c if origin_mode else (1 - u) * h + u * c,)

    layer = frameworks.from_fluid_gru(projection, fc_bias, weight, bias, origin_mode=origin_mode)
    np.testing.assert_allclose(answers(layer, tmp_path), over_steps(step, 1), atol=1e-6)


@pytest.mark.parametrize("num_biases", [4, 7])
def test_paddle_s_fluid_lstm_has_the_cell_first_and_peepholes(tmp_path: Path, num_biases: int) -> None:
    projection, weight, bias = drawn(F, 4 * H), drawn(H, 4 * H), drawn(1, num_biases * H)
    b_c, b_i, b_f, b_o, *seen = np.split(bias.ravel(), num_biases)
    w_ic, w_fc, w_oc = seen or [np.zeros(H)] * 3

    def step(x: Array, h: Array, c: Array) -> Sequence[Array]:
        g, i, f, o = np.split(x @ projection + h @ weight, 4, 1)
        old, new = c, np.tanh(g + b_c)
        c = sigmoid(f + b_f + w_fc * old) * old + sigmoid(i + b_i + w_ic * old) * new
        return sigmoid(o + b_o + w_oc * c) * np.tanh(c), c

    layer = frameworks.from_fluid_lstm(projection, None, weight, bias)
    np.testing.assert_allclose(answers(layer, tmp_path), over_steps(step, 2), atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_buffer_of_cudnn_has_all_weights_before_all_biases(tmp_path: Path, kind: Any) -> None:
    torch.manual_seed(0)
    network = getattr(torch.nn, kind)(F, H, num_layers=3, batch_first=True)
    named = {name: each.detach().numpy() for name, each in network.named_parameters()}
    order = [*(f"weight_{what}_l{k}" for k in range(3) for what in ("ih", "hh"))]
    order += [f"bias_{what}_l{k}" for k in range(3) for what in ("ih", "hh")]
    buffer = np.concatenate([named[name].ravel() for name in order])
    layers = frameworks.from_cudnn(kind, buffer, F, H, num_layers=3)
    with torch.no_grad():
        expected = network(torch.from_numpy(X))[0].numpy()
    np.testing.assert_allclose(answers(layers, tmp_path), expected, atol=1e-6)
    with pytest.raises(ValueError, match="a buffer of 8 numbers"):
        frameworks.from_cudnn(kind, buffer[:8], F, H)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_layer_of_torch_is_the_same_in_onnx_in_keras_and_back(tmp_path: Path, kind: Any) -> None:
    torch.manual_seed(1)
    network = getattr(torch.nn, kind)(F, H, batch_first=True)
    layer = frameworks.from_torch(*(each.detach().numpy() for each in network.parameters()))
    with torch.no_grad():
        expected = network(torch.from_numpy(X))[0].numpy()
    np.testing.assert_allclose(answers(layer, tmp_path), expected, atol=1e-6)
    again = frameworks.from_keras(kind, layer.to_keras()).to_torch()
    with torch.no_grad():
        np.testing.assert_allclose(again(torch.from_numpy(X))[0].numpy(), expected, atol=1e-6)


def test_a_layer_without_biases_has_zeros(tmp_path: Path) -> None:
    network = torch.nn.GRU(F, H, batch_first=True, bias=False)
    layer = frameworks.from_torch(*(each.detach().numpy() for each in network.parameters()))
    with torch.no_grad():
        expected = network(torch.from_numpy(X))[0].numpy()
    np.testing.assert_allclose(answers(layer, tmp_path), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("lstm", "LSTM", {}),
        ("gru", "GRU", {}),
        ("gru_reset_before", "GRU", {"reset_after": False}),
        ("simple_rnn", "RNN", {}),
        ("lstm_hard", "LSTM", {"hard": HARD["keras3"]}),
    ],
)
def test_layers_of_keras_answer_as_keras_did(tmp_path: Path, name: str, kind: Any, options: dict[str, Any]) -> None:
    keras = KerasLayers()
    layer = frameworks.from_keras(kind, keras.weights(name), **options)
    np.testing.assert_allclose(answers(layer, tmp_path, keras["x"]), keras[f"{name}/y"], atol=1e-6)


def test_keras_2_has_another_hard_sigmoid(tmp_path: Path) -> None:
    kernel, recurrent, bias = drawn(F, 4 * H), drawn(H, 4 * H), drawn(4 * H)

    def step(x: Array, h: Array, c: Array) -> Sequence[Array]:
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, 1)
        i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        return o * np.tanh(c), c

    layer = frameworks.from_keras("LSTM", [kernel, recurrent, bias], hard=HARD["keras2"])
    np.testing.assert_allclose(answers(layer, tmp_path), over_steps(step, 2), atol=1e-6)


def test_a_head_stands_behind_the_layers(tmp_path: Path) -> None:
    layer = frameworks.from_dynet_lstm(drawn(4 * H, F), drawn(4 * H, H), drawn(4 * H))
    kernel, bias = drawn(H, 2), drawn(2)
    expected = answers(layer, tmp_path) @ kernel + bias
    np.testing.assert_allclose(answers(layer, tmp_path, head=(kernel, bias)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: frameworks.regated(np.zeros(8), "ifgo", "izgo"), "gates 'ifgo' are not those of 'izgo'"),
        (lambda: frameworks.from_dynet_lstm(drawn(4 * H, F), drawn(4 * H, H), drawn(4 * H + 4)), "are none of a layer"),
        (
            lambda: frameworks.from_keras("GRU", [drawn(F, 12), drawn(H, 12), drawn(12)], reset_after=False).to_torch(),
            "PyTorch has no such layer",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
