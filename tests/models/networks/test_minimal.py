from __future__ import annotations

import numpy as np

from ostinato.models.networks.initialisers import initialise
from ostinato.models.networks.minimal import MinimalGatedRNN, MinimalRNN
from tests.models.networks.plain import GATES, run_layer, weights_of


def test_the_minimal_layer_is_that_of_keras_page() -> None:
    """``output = backend.dot(inputs, kernel) + backend.dot(prev_output, recurrent_kernel)``, there."""
    layer = MinimalRNN(3, 4)
    initialise(layer, "orthogonal", 4)
    weights = weights_of(layer)
    kernel, recurrent_kernel = weights["input_weight"].T, weights["recurrent_weight"].T
    x, h = np.random.default_rng(0).standard_normal((9, 3)), np.zeros(4)
    made = run_layer(layer, x)
    for step in range(9):
        h = np.dot(x[step], kernel) + np.dot(h, recurrent_kernel)
        np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_the_minimal_gated_layer_is_the_papers_equations() -> None:
    layer = MinimalGatedRNN(3, 4)
    initialise(layer, "torch", 1)
    weights, sigmoid = weights_of(layer), GATES["sigmoid"]
    x, h = np.random.default_rng(0).standard_normal((9, 3)), np.zeros(4)
    made = run_layer(layer, x)
    for step in range(9):
        z = np.tanh(weights["input_weight"] @ x[step] + weights["bias"])
        u = sigmoid(weights["recurrent_weight"] @ h + weights["new_weight"] @ z + weights["gate_bias"])
        h = u * h + (1 - u) * z
        np.testing.assert_allclose(made[step], h, atol=1e-5)
