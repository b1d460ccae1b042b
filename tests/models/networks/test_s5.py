from __future__ import annotations

import math

import numpy as np

from ostinato.models.networks.s5 import S5
from tests.models.networks.plain import GATES, Floats, drawn, run_both_ways, weights_of

N = 4


def gelu(x: Floats) -> Floats:
    made: Floats = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return made


def test_it_is_the_papers_equations_in_complex_numbers() -> None:
    layer = drawn(S5(3, 5, N))
    w = weights_of(layer)
    rate = -np.exp(w["log_shrinking"]) + 1j * w["turning"]
    a = np.exp(rate * np.exp(w["log_scale"]))
    b_re, b_im = np.split(w["input_weight"], 2)
    b = ((a - 1) / rate)[:, None] * (b_re + 1j * b_im)
    c_re, minus_c_im = np.split(w["output_weight"], 2, axis=1)
    x = np.random.default_rng(0).standard_normal((30, 3))
    for made in run_both_ways(layer, x):
        h = np.zeros(N, np.complex128)
        for step in range(30):
            h = a * h + b @ x[step]
            y = gelu(2 * ((c_re - 1j * minus_c_im) @ h).real + w["direct_weight"] @ x[step])
            np.testing.assert_allclose(made[step], y * GATES["sigmoid"](w["gate_weight"] @ y), atol=1e-5)


def test_it_begins_with_the_eigenvalues_of_hippo() -> None:
    """``-sqrt((2n + 1)(2k + 1))`` below its diagonal, ``-(n + 1)`` on it; plus ``p p^T``, ``p_n^2 = n + 1/2``."""
    layer = drawn(S5(1, 2 * N, N))
    root = np.sqrt(2 * np.arange(2 * N) + 1)
    legs = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(2 * N) + 1.0)
    normal = legs + np.outer(root, root) / 2
    wanted = np.linalg.eigvals(normal)
    w = weights_of(layer)
    np.testing.assert_allclose(wanted.real, -0.5, atol=1e-6)
    np.testing.assert_allclose(-np.exp(w["log_shrinking"]), -0.5, atol=1e-6)
    np.testing.assert_allclose(np.sort(w["turning"]), np.sort(wanted.imag[wanted.imag > 0]), rtol=1e-5)
