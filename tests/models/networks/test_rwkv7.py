from __future__ import annotations

import numpy as np

from ostinato.models.networks.rwkv7 import RWKV7
from tests.models.networks.plain import GATES, drawn, run_both_ways, weights_of

H, HEADS, D = 6, 2, 3


def test_it_is_the_papers_equations() -> None:
    layer, sigmoid = drawn(RWKV7(2, H, HEADS)), GATES["sigmoid"]
    w = weights_of(layer)
    x = np.random.default_rng(0).standard_normal((12, 2))
    for made in run_both_ways(layer, x):
        before, memory = np.zeros(H), np.zeros((HEADS, D, D))
        for step in range(12):
            u = w["input_weight"] @ x[step]
            of_r, of_k, of_v, of_w, of_a, of_g = (u + mix * (before - u) for mix in w["mixes"])
            r, k, v = w["read_weight"] @ of_r, w["key_weight"] @ of_k, w["value_weight"] @ of_v
            decay = np.exp(-np.exp(-0.5) * sigmoid(w["decay_bias"] + w["decay_up"] @ np.tanh(w["decay_down"] @ of_w)))
            a = sigmoid(w["rate_bias"] + w["rate_up"] @ w["rate_down"] @ of_a)
            g = w["gate_up"] @ sigmoid(w["gate_down"] @ of_g)
            erased = k * w["erased"]
            k = k * (1 + (a - 1) * w["written"])
            read = np.zeros(H)
            for head in range(HEADS):
                own = slice(head * D, (head + 1) * D)
                e = erased[own] / np.linalg.norm(erased[own])
                rule = np.diag(decay[own]) - np.outer(a[own] * e, e)
                memory[head] = rule @ memory[head] + np.outer(k[own], v[own])
                told = memory[head].T @ r[own]
                normal = (told - told.mean()) / np.sqrt(told.var() + 64e-5)
                bonus = (r[own] * k[own] * w["bonus"][own]).sum() * v[own]
                read[own] = normal * w["norm_weight"][own] + w["norm_bias"][own] + bonus
            np.testing.assert_allclose(made[step], w["output_weight"] @ (read * g), atol=1e-5)
            before = u
