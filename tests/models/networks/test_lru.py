from __future__ import annotations

import numpy as np
import torch

from ostinato.models.networks.lru import LRU
from tests.models.networks.plain import GATES, Floats, drawn, run_both_ways, weights_of

N = 4


def complex_of(halves: list[Floats]) -> Floats:
    made: Floats = halves[0] + 1j * halves[1]
    return made


def test_it_is_the_papers_equations_in_complex_numbers() -> None:
    layer = drawn(LRU(3, 5, N))
    w = weights_of(layer)
    a = np.exp(-np.exp(w["log_shrinking"]) + 1j * np.exp(w["log_phase"]))
    b = complex_of(np.split(w["input_weight"], 2)) * np.sqrt(1 - np.abs(a) ** 2)[:, None]
    c_re, minus_c_im = np.split(w["output_weight"], 2, axis=1)
    x = np.random.default_rng(0).standard_normal((30, 3))
    for made in run_both_ways(layer, x):
        h = np.zeros(N, np.complex128)
        for step in range(30):
            h = a * h + b @ x[step]
            y = ((c_re - 1j * minus_c_im) @ h).real + w["direct_weight"] @ x[step]
            value, gate = np.split(w["gate_weight"] @ y + w["gate_bias"], 2)
            np.testing.assert_allclose(made[step], value * GATES["sigmoid"](gate), atol=1e-5)


def test_it_begins_in_the_papers_ring() -> None:
    torch.manual_seed(0)
    layer = LRU(1, 4, 2000)
    layer.set_time_scales()
    re, im = layer.turned()
    a = torch.complex(re, im).detach()
    assert 0.8999 < float(a.abs().min()) < 0.91
    assert 0.998 < float(a.abs().max()) <= 0.9991
    assert 0 < float(a.angle().min()) < 0.01
    assert 0.31 < float(a.angle().max()) < 0.315  # pi / 10 = 0.314


def test_a_that_has_learned_to_forget_nothing_still_has_a_gradient() -> None:
    layer = drawn(LRU(1, 3, 2))
    with torch.no_grad():
        layer.log_shrinking.fill_(-20.0)  # |a| is 1 in float32
    y, *_ = layer(torch.randn(1, 5, 1), *layer.initial_state(1))
    y.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())
