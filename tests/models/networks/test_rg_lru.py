from __future__ import annotations

import numpy as np
import torch

from ostinato.models.networks.rg_lru import RGLRU
from tests.models.networks.plain import GATES, drawn, run_both_ways, weights_of


def test_it_is_the_papers_equations() -> None:
    layer, s = drawn(RGLRU(3, 5)), GATES["sigmoid"]
    w = weights_of(layer)
    x = np.random.default_rng(0).standard_normal((12, 3))
    for made in run_both_ways(layer, x):
        h = np.zeros(5)
        for step in range(12):
            u = w["input_weight"] @ x[step] + w["bias"]
            r, i = np.split(s(w["gate_weight"] @ u + w["gate_bias"]), 2)
            a = s(w["kept"]) ** (8 * r)
            h = a * h + np.sqrt(1 - a**2) * (i * u)
            np.testing.assert_allclose(made[step], h, atol=1e-5)


def test_it_begins_in_the_papers_ring() -> None:
    torch.manual_seed(0)
    layer = RGLRU(1, 2000)
    layer.set_time_scales()
    kept = torch.sigmoid(layer.kept.detach().double()) ** 8
    assert 0.8999 < float(kept.min()) < 0.901
    assert 0.998 < float(kept.max()) < 0.9991


def test_a_gate_that_keeps_all_has_a_gradient() -> None:
    layer = drawn(RGLRU(1, 2)).train()
    with torch.no_grad():
        layer.kept.fill_(40.0)  # sigmoid is 1, so nothing new comes in
    y, _ = layer(torch.ones(1, 3, 1), *layer.initial_state(1))
    gradients = torch.autograd.grad(y.sum(), list(layer.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
