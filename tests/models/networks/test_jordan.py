from __future__ import annotations

import numpy as np

from ostinato.models.networks.initialisers import initialise
from ostinato.models.networks.jordan import Jordan
from tests.models.networks.plain import run_layer, weights_of


def test_the_output_is_fed_back_and_not_the_hidden_units() -> None:
    layer = Jordan(3, 6, 2)
    initialise(layer, "torch", 1)
    weights = weights_of(layer)
    x, y = np.random.default_rng(0).standard_normal((9, 3)), np.zeros(2)
    made = run_layer(layer, x)
    assert made.shape == (9, 2)
    for step in range(9):
        h = np.tanh(weights["input_weight"] @ x[step] + weights["recurrent_weight"] @ y + weights["bias"])
        y = np.tanh(weights["output_weight"] @ h + weights["output_bias"])
        np.testing.assert_allclose(made[step], y, atol=1e-5)


def test_it_carries_nothing_but_the_output() -> None:
    assert [state.shape for state in Jordan(3, 6, 2).initial_state(4)] == [(1, 4, 2)]
