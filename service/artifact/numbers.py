"""Distances between numbers, as the manifest's parity measures them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_TOLERANCE = 1e-5
"""How far golden outputs may be off where the manifest has no parity of its own."""


def largest_difference(made: NDArray[Any], expected: NDArray[Any]) -> float:
    """``max |made - expected| / max(1, |expected|)``: how far a graph is from the network, at export and at load.

    NaN agrees with NaN and an infinity with itself; with anything else they are infinitely far from it, as arrays of
    different shapes are. 0 for no numbers at all.
    """
    if made.shape != expected.shape:
        return float("inf")
    # Before they become float64, in which whole numbers beyond 2^53 would be rounded.
    agree = (made == expected) | ((made != made) & (expected != expected))
    a, b = made[~agree].astype(np.float64), expected[~agree].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(a - b) / np.maximum(1.0, np.abs(b))
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))


def largest_of(arrays: Iterable[NDArray[Any]]) -> float:
    """The largest finite number of arrays, but for its sign; 0 of whole numbers."""
    numbers = [array for array in arrays if array.dtype.kind == "f" and array.size]
    return max((float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in numbers), default=0.0)
