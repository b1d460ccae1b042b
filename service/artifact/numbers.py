"""How far numbers are apart, as the manifest's parity measures it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_TOLERANCE = 1e-5
"""How far golden outputs may be off where the manifest has no parity of its own."""


def largest_difference(made: NDArray[Any], expected: NDArray[Any]) -> float:
    """``max |made - expected| / max(1, |expected|)``; NaN agrees with NaN and with nothing else."""
    made64, expected64 = made.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(made64 - expected64) / np.maximum(1.0, np.abs(expected64))
    agree = (made64 == expected64) | (np.isnan(made64) & np.isnan(expected64))
    difference[agree] = 0.0
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))
