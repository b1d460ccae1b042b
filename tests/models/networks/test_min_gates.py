from __future__ import annotations

import numpy as np
import torch

from ostinato.models.networks.min_gates import MinGRU, MinLSTM
from tests.models.networks.plain import GATES, Floats, drawn, run_both_ways, weights_of


def gates_of(layer: MinGRU | MinLSTM, step: Floats, count: int) -> list[Floats]:
    weights = weights_of(layer)
    parts = zip(np.split(weights["input_weight"], count), np.split(weights["bias"], count), strict=True)
    return [w @ step + b for w, b in parts]


def test_min_gru_is_the_papers_equations() -> None:
    layer, x = drawn(MinGRU(3, 5)), np.random.default_rng(0).normal(0, 2, (12, 3))
    for made in run_both_ways(layer, x):
        h = np.zeros(5)
        for step in range(12):
            z, n = gates_of(layer, x[step], 2)
            z = GATES["sigmoid"](z)
            h = (1 - z) * h + z * n
            np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_min_lstm_is_the_papers_equations() -> None:
    layer, x = drawn(MinLSTM(3, 5)), np.random.default_rng(0).normal(0, 2, (12, 3))
    for made in run_both_ways(layer, x):
        h = np.zeros(5)
        for step in range(12):
            f, i, n = gates_of(layer, x[step], 3)
            f, i = GATES["sigmoid"](f), GATES["sigmoid"](i)
            h = f / (f + i) * h + i / (f + i) * n
            np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_two_gates_that_are_both_shut_have_a_quotient() -> None:
    layer = MinLSTM(1, 1)
    with torch.no_grad():
        layer.input_weight.fill_(0.0)
        layer.bias.copy_(torch.tensor([-500.0, -501.0, 2.0]))  # sigmoid of both is 0 in float32
        y, _ = layer(torch.ones(1, 1, 1), torch.full((1, 1, 1), 1.0))
    # f / (f + i) = 1 / (1 + e^-1) = 0.7311 of 1, and the rest of 2.
    torch.testing.assert_close(float(y), 0.7310586 + 2 * 0.2689414)
