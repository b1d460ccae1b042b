from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.models.networks.gated_feedback import FeedbackCell, GatedFeedback
from ostinato.models.networks.initialisers import initialise
from tests.models.networks.plain import GATES, Floats, run_layer, weights_of

L, H, F = 3, 4, 2
sigmoid = GATES["sigmoid"]


def plainly(x: Floats, weights: dict[str, Floats], cell: FeedbackCell) -> Floats:
    """The paper's equations, a pair of layers at a time."""
    h, c, made = np.zeros((L, H)), np.zeros((L, H)), []
    for step in x:
        before, below = h.copy(), step
        for j in range(L):
            told = np.zeros(H)
            for i in range(L):
                gate = weights[f"gate_weights.{j}"][0] @ below + weights[f"feedback_weights.{j}"][i] @ before.reshape(
                    -1
                )
                u_ij = weights[f"recurrent_weights.{j}"][:, i * H : (i + 1) * H]
                told += sigmoid(gate) * (u_ij @ before[i])
            read = weights[f"input_weights.{j}"] @ below + weights[f"biases.{j}"]
            candidate = read[-H:]
            if cell == "rnn":
                h[j] = np.tanh(candidate + told)
            else:
                gates = sigmoid(read[:-H] + weights[f"recurrent_gates.{j}"] @ before[j])
                if cell == "lstm":
                    i_, f_, o_ = np.split(gates, 3)
                    c[j] = f_ * c[j] + i_ * np.tanh(candidate + told)
                    h[j] = o_ * np.tanh(c[j])
                else:
                    r_, z_ = np.split(gates, 2)
                    h[j] = (1 - z_) * before[j] + z_ * np.tanh(candidate + r_ * told)
            below = h[j]
        made.append(below.copy())
    return np.array(made)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_is_the_papers_equations(cell: FeedbackCell) -> None:
    layer = GatedFeedback(cell, F, H, L)
    initialise(layer, "torch", 1)
    x = np.random.default_rng(0).standard_normal((10, F))
    np.testing.assert_allclose(run_layer(layer, x), plainly(x, weights_of(layer), cell), atol=1e-5)


def test_the_first_layer_hears_the_last_one_of_the_step_before() -> None:
    layer = GatedFeedback("gru", F, H, L)
    initialise(layer, "torch", 1)
    (h,) = layer.initial_state(1)
    h.requires_grad_()
    _, after = layer(torch.randn(1, 1, F), h)
    (gradient,) = torch.autograd.grad(after[0, 0, :H].sum(), h)
    assert gradient[0, 0, -H:].all()


def test_dropout_is_of_what_goes_up_and_not_along_time() -> None:
    """In one step, the first layer reads nothing that dropout is of."""
    layer = GatedFeedback("gru", F, H, L, dropout=0.5)
    initialise(layer, "torch", 1)
    x, h = torch.randn(1, 1, F), torch.randn(1, 1, L * H)
    torch.manual_seed(0)
    _, noisy = layer.train()(x, h)
    _, quiet = layer.eval()(x, h)
    assert torch.equal(noisy[..., :H], quiet[..., :H])
    assert not torch.allclose(noisy[..., H:], quiet[..., H:])


def test_the_forget_bias_is_that_of_the_forget_gates() -> None:
    layer = GatedFeedback("lstm", F, H, 2)
    initialise(layer, "orthogonal", H)
    layer.set_forget_bias(1.5)
    assert [bias.tolist() for bias in layer.biases] == [[0.0] * H + [1.5] * H + [0.0] * 2 * H] * 2
