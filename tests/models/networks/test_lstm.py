from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.networks.activations import GateActivation
from ostinato.models.networks.initialisers import initialise
from ostinato.models.networks.lstm import PeepholeLSTM
from tests.docs.keras_page import KerasLayers
from tests.models.networks.plain import GATES, Floats, run_layer, weights_of


def plainly(x: Floats, weights: dict[str, Floats], gate: GateActivation) -> Floats:
    """The paper's equations, a unit and a gate at a time."""
    size = weights["recurrent_weight"].shape[1]
    s = GATES[gate]
    peepholes = weights.get("peephole_bias", np.zeros(3 * size)).reshape(3, size)

    def reads(number: int, step: Floats, h: Floats) -> Floats:
        rows = slice(number * size, (number + 1) * size)
        made: Floats = (
            weights["input_weight"][rows] @ step + weights["recurrent_weight"][rows] @ h + weights["bias"][rows]
        )
        return made

    h, c, made = np.zeros(size), np.zeros(size), []
    for step in x:
        i = s(reads(0, step, h) + peepholes[0] * c)
        f = s(reads(1, step, h) + peepholes[1] * c)
        candidate = np.tanh(reads(2, step, h))
        before_output = reads(3, step, h)
        c = f * c + i * candidate
        h = s(before_output + peepholes[2] * c) * np.tanh(c)
        made.append(h)
    return np.array(made)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("peepholes", [True, False])
def test_it_is_the_papers_equations(peepholes: bool, gate: GateActivation) -> None:
    layer = PeepholeLSTM(3, 5, peepholes=peepholes, gate_activation=gate)
    initialise(layer, "torch", 1)  # from -1 to 1, so that every term counts
    x = np.random.default_rng(0).normal(0, 2, (12, 3))
    np.testing.assert_allclose(run_layer(layer, x), plainly(x, weights_of(layer), gate), atol=1e-5)


def test_without_peepholes_it_is_torchs() -> None:
    torchs = torch.nn.LSTM(3, 5, batch_first=True)
    layer = PeepholeLSTM(3, 5, peepholes=False)
    w, u, b, b_h = torchs.parameters()
    layer.load_state_dict({"input_weight": w, "recurrent_weight": u, "bias": b + b_h})
    x = torch.randn(2, 7, 3)
    made, h, c = layer(x, *layer.initial_state(2))
    wanted, last = torchs(x)
    torch.testing.assert_close((made, h, c), (wanted, *last))


def test_with_a_hard_sigmoid_it_answers_as_keras_did() -> None:
    layers = KerasLayers()
    kernel, recurrent, bias = (torch.as_tensor(weight) for weight in layers.weights("lstm_hard"))
    layer = PeepholeLSTM(len(kernel), len(recurrent), peepholes=False, gate_activation="hard_sigmoid")
    layer.load_state_dict({"input_weight": kernel.T, "recurrent_weight": recurrent.T, "bias": bias})
    x = torch.as_tensor(layers["x"])
    made = layer(x, *layer.initial_state(len(x)))[0].detach().numpy()
    np.testing.assert_allclose(made, layers["lstm_hard/y"], atol=1e-6)
