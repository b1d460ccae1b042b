from __future__ import annotations

import numpy as np

from ostinato.export.graphs.feeding import MAX_NUMBERS, Feeding
from tests.export.graphs.foreign import parsed


def test_axes_of_other_inputs_are_told_by_their_symbols() -> None:
    graph = parsed("g (float[N, L, 3] x, float[L, N] mask, int64[1, N, 4] h) => (y) { y = Neg (x) }").graph
    made = Feeding(graph, {"x": (0, 1)}, {})(3, 13, 0)
    assert {name: array.shape for name, array in made.items()} == {"x": (3, 13, 3), "mask": (13, 3), "h": (1, 3, 4)}
    assert made["h"].dtype == np.int64


def test_a_constant_is_given_as_it_is() -> None:
    graph = parsed("g (float[B, T] x, int64 rate) => (y) { y = Neg (x) }").graph
    assert Feeding(graph, {"x": (0, 1)}, {"rate": np.array(16000)})(3, 13, 0)["rate"] == 16000


def test_sizes_that_are_fixed_stay() -> None:
    graph = parsed("g (float[1, 7, 3] x) => (y) { y = Neg (x) }").graph
    assert set(Feeding(graph, {"x": (0, 1)}, {}).tried()) == {((1, 1), (7, 7))}


def test_no_input_of_a_trial_is_large() -> None:
    feeding = Feeding(parsed("g (float[B, T, F] x) => (y) { y = Neg (x) }").graph, {"x": (0, 1)}, {})
    tried = [feeding(rows, steps, 0)["x"].size for (rows, _), (_, steps) in feeding.tried()]
    assert len(tried) > 2
    assert max(tried) <= MAX_NUMBERS
