from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.networks.torch_layers import TorchCell, TorchLayers


def build(cell: TorchCell, num_layers: int = 2, recurrent_dropout: float = 0.0) -> TorchLayers:
    torch.manual_seed(0)
    return TorchLayers(cell, 3, 5, num_layers, recurrent_dropout=recurrent_dropout)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_with_a_mask_of_ones_the_steps_are_those_of_torch(cell: TorchCell, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = build(cell, recurrent_dropout=0.5)
    x, states = torch.randn(4, 6, 3), tuple(torch.randn(2, 4, 5) for _ in layers.state_names)
    plain = layers.eval()(x, *states)
    monkeypatch.setattr("torch.nn.functional.dropout", lambda tensor, _rate: tensor)
    torch.testing.assert_close(layers.train()(x, *states), plain)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_what_is_dropped_is_dropped_for_the_recurrent_weights_alone(
    cell: TorchCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything dropped, torch's layer without recurrent weights is left: a GRU still keeps its state by ``z``."""
    layers, without = build(cell, 1, recurrent_dropout=0.5), build(cell, 1)
    x, states = torch.randn(2, 4, 3), tuple(torch.randn(1, 2, 5) for _ in layers.state_names)
    with torch.no_grad():
        without.layers.weight_hh_l0.zero_()  # type: ignore[operator]
    monkeypatch.setattr("torch.nn.functional.dropout", lambda tensor, _rate: torch.zeros_like(tensor))
    torch.testing.assert_close(layers.train()(x, *states), without(x, *states))


def test_the_simple_layer_is_elmans_equation() -> None:
    layers = TorchLayers("rnn", 3, 5, nonlinearity="relu")
    w, u, b, b_h = (weight.detach().numpy() for weight in layers.layers.parameters())
    x, h = np.random.default_rng(0).standard_normal((6, 3)), np.zeros(5)
    made = layers(torch.from_numpy(x[None]).float(), *layers.initial_state(1))[0][0].detach().numpy()
    for step in range(6):
        h = np.maximum(w @ x[step] + b + u @ h + b_h, 0.0)
        np.testing.assert_allclose(made[step], h, rtol=1e-4, atol=1e-5)
