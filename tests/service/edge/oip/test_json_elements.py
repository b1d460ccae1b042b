from __future__ import annotations

import math

import numpy as np
import pytest

from ostinato.service.edge.oip.json_elements import SLICE_ROWS, elements_of
from ostinato.service.inputs.turns import SLICE_NUMBERS


@pytest.mark.parametrize("shape", [(50_000, 0), (50_000, 0, 4), (50_000, 1), (100_000,)])
def test_lists_of_nothing_and_of_little_are_read_a_slice_at_a_time(shape: tuple[int, ...]) -> None:
    pieces = elements_of(np.zeros(shape).tolist(), shape, math.prod(shape), np.dtype("<f4"), "x")
    least = shape[0] // (SLICE_NUMBERS if len(shape) == 1 else SLICE_ROWS)
    assert sum(1 for _ in pieces) >= least
