from __future__ import annotations

import numpy as np
import torch

from ostinato.models.networks.xlstm import MLSTM, SLSTM
from tests.models.networks.plain import GATES, drawn, run_both_ways, run_layer, weights_of

sigmoid = GATES["sigmoid"]


def test_slstm_is_the_papers_equations_without_the_stabiliser() -> None:
    """With ``i' = exp(i)`` and ``f' = sigmoid(f)``: m changes what is kept, and nothing that is answered."""
    layer = drawn(SLSTM(3, 5))
    w = weights_of(layer)
    x = np.random.default_rng(0).normal(0, 2, (12, 3))
    made = run_layer(layer, x)
    h, c, n = np.zeros(5), np.zeros(5), np.zeros(5)
    for step in range(12):
        i, f, z, o = np.split(w["input_weight"] @ x[step] + w["recurrent_weight"] @ h + w["bias"], 4)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_mlstm_is_the_papers_equations_without_the_stabiliser() -> None:
    layer = drawn(MLSTM(3, 6, 2))
    w = weights_of(layer)
    w_q, w_k, w_v, w_o = np.split(w["input_weight"], 4)
    b_q, b_k, b_v, b_o = np.split(w["bias"], 4)
    x = np.random.default_rng(0).normal(0, 2, (12, 3))
    for made in run_both_ways(layer, x):
        memory, n = np.zeros((2, 3, 3)), np.zeros((2, 3))
        for step in range(12):
            q, v = (w_q @ x[step] + b_q).reshape(2, 3), (w_v @ x[step] + b_v).reshape(2, 3)
            k = (w_k @ x[step] + b_k).reshape(2, 3) / np.sqrt(3)
            i, f = np.split(w["gate_weight"] @ x[step] + w["gate_bias"], 2)
            read = []
            for head in range(2):
                kept, new = sigmoid(f[head]), np.exp(i[head])
                memory[head] = kept * memory[head] + new * np.outer(v[head], k[head])
                n[head] = kept * n[head] + new * k[head]
                read.append(memory[head] @ q[head] / max(abs(n[head] @ q[head]), 1))
            np.testing.assert_allclose(made[step], sigmoid(w_o @ x[step] + b_o) * np.concatenate(read), atol=1e-5)


def test_gates_far_beyond_what_exp_can_give_stay_finite() -> None:
    for layer in (drawn(SLSTM(1, 2)), drawn(MLSTM(1, 2, 2))):
        x = torch.tensor([[[-1000.0], [1000.0], [-1e6], [1e6], [0.0]]])
        for is_training in (True, False):
            made = layer.train(is_training)(x, *layer.initial_state(1))
            assert all(each.isfinite().all() for each in made)


def test_forget_gates_are_where_they_are_said_to_be() -> None:
    for layer, gate in ((SLSTM(1, 2), slice(2, 4)), (MLSTM(1, 2, 2), slice(2, 4))):
        drawn(layer).set_forget_bias(7.0)
        bias = layer.bias if isinstance(layer, SLSTM) else layer.gate_bias
        assert bias[gate].tolist() == [7.0, 7.0]
        assert not (bias[:2] == 7.0).any()


def test_gates_that_are_shut_beyond_the_range_of_float32_leave_a_gradient() -> None:
    layer = drawn(MLSTM(1, 4, 2))
    with torch.no_grad():
        layer.gate_bias.fill_(-200.0)  # of i and f: exp(-m) is infinite
    x = torch.randn(2, 5, 1)
    served, *_ = layer.eval()(x, *layer.initial_state(2))
    y, *_ = layer.train()(x, *layer.initial_state(2))
    torch.testing.assert_close(y, served)
    y.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())
