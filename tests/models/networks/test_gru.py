from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.networks.activations import GateActivation
from ostinato.models.networks.gru import ResetGRU
from ostinato.models.networks.initialisers import initialise
from tests.docs.keras_page import KerasLayers
from tests.models.networks.plain import GATES, Floats, run_layer, weights_of


def plainly(x: Floats, weights: dict[str, Floats], gate: GateActivation, *, reset_after: bool) -> Floats:
    """The papers' equations, a gate at a time."""
    s = GATES[gate]
    w_r, w_z, w_n = np.split(weights["input_weight"], 3)
    u_r, u_z, u_n = np.split(weights["recurrent_weight"], 3)
    b_r, b_z, b_n = np.split(weights["bias"], 3)
    d_r, d_z, d_n = np.split(weights.get("recurrent_bias", np.zeros(len(weights["bias"]))), 3)
    h, made = np.zeros(u_r.shape[1]), []
    for step in x:
        r = s(w_r @ step + u_r @ h + b_r + d_r)
        z = s(w_z @ step + u_z @ h + b_z + d_z)
        remembered = r * (u_n @ h + d_n) if reset_after else u_n @ (r * h)
        h = (1 - z) * np.tanh(w_n @ step + b_n + remembered) + z * h
        made.append(h)
    return np.array(made)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("reset_after", [True, False])
def test_it_is_the_papers_equations(reset_after: bool, gate: GateActivation) -> None:
    layer = ResetGRU(3, 5, reset_after=reset_after, gate_activation=gate)
    initialise(layer, "torch", 1)
    x = np.random.default_rng(0).normal(0, 2, (12, 3))
    wanted = plainly(x, weights_of(layer), gate, reset_after=reset_after)
    np.testing.assert_allclose(run_layer(layer, x), wanted, atol=1e-5)


def test_with_the_reset_gate_behind_it_is_torchs() -> None:
    torchs = torch.nn.GRU(3, 5, batch_first=True)
    layer = ResetGRU(3, 5, reset_after=True)
    names = ("input_weight", "recurrent_weight", "bias", "recurrent_bias")
    layer.load_state_dict(dict(zip(names, torchs.parameters(), strict=True)))
    x = torch.randn(2, 7, 3)
    torch.testing.assert_close(layer(x, *layer.initial_state(2)), torchs(x))


@pytest.mark.parametrize(("name", "reset_after"), [("gru", True), ("gru_reset_before", False)])
def test_it_answers_as_keras_did(name: str, reset_after: bool) -> None:
    layers = KerasLayers()
    kernel, recurrent, bias = (torch.as_tensor(weight) for weight in layers.weights(name))
    layer = ResetGRU(len(kernel), len(recurrent), reset_after=reset_after)

    def in_our_order(gates: torch.Tensor) -> torch.Tensor:
        """Keras has z r n."""
        z, r, n = gates.chunk(3, dim=-1)
        return torch.cat([r, z, n], dim=-1)

    content = {"input_weight": in_our_order(kernel).T, "recurrent_weight": in_our_order(recurrent).T}
    biases = {"bias": bias[0], "recurrent_bias": bias[1]} if reset_after else {"bias": bias}
    layer.load_state_dict(content | {place: in_our_order(value) for place, value in biases.items()})
    x = torch.as_tensor(layers["x"])
    made = layer(x, *layer.initial_state(len(x)))[0].detach().numpy()
    np.testing.assert_allclose(made, layers[f"{name}/y"], atol=1e-6)
