from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ostinato.models.networks.mamba import Mamba
from tests.models.networks.plain import GATES, Floats, drawn, run_both_ways, weights_of

H, N = 3, 4


def silu(x: Floats) -> Floats:
    return x * GATES["sigmoid"](x)


def test_it_is_the_papers_equations() -> None:
    layer = drawn(Mamba(2, H, N))
    w = weights_of(layer)
    a = -np.exp(w["log_decay"])
    x = np.random.default_rng(0).standard_normal((12, 2))
    inner = x @ w["input_weight"].T
    told = np.concatenate([np.zeros((3, 2 * H)), inner[:, : 2 * H]])  # nothing before the first step
    for made in run_both_ways(layer, x):
        space = np.zeros((N, 2 * H))
        for step in range(12):
            u = silu((told[step : step + 4] * w["taps_weight"]).sum(axis=0) + w["taps_bias"])
            r, b, c = np.split(w["selecting_weight"] @ u, [1, 1 + N])
            delta = np.log1p(np.exp(w["delta_weight"] @ r + w["delta_bias"]))
            space = np.exp(delta * a) * space + np.outer(b, delta * u)
            y = (c @ space + w["skip"] * u) * silu(inner[step, 2 * H :])
            np.testing.assert_allclose(made[step], w["output_weight"] @ y, atol=1e-5)


def test_it_begins_as_the_paper_has_it() -> None:
    torch.manual_seed(0)
    layer = drawn(Mamba(1, 200))
    torch.testing.assert_close(-torch.exp(layer.log_decay[:, 5]), -torch.arange(1.0, 17.0))
    deltas = functional.softplus(layer.delta_bias.detach())
    assert 0.00099 < float(deltas.min()) < 0.0015
    assert 0.07 < float(deltas.max()) < 0.101
