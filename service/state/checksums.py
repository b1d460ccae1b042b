"""Checksums that tell one chunk from another, for many rows in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint32}
# Words of half the sum's width: floats that are small whole numbers are multiples of a high power of two, and leave
# the sum as many bits as are above it.

_weights = np.empty(0, np.uint64)
_room = np.empty(0, np.uint64)


def checksums(rows: NDArray[Any]) -> NDArray[np.int64]:
    """A checksum of the bits of each row of ``rows`` [R, N], int64 ``[R]``.

    Two rows of one length that differ have the same with a probability of at most about 2^-33 (both are small whole
    numbers), and mostly 2^-63. It is the same on every machine and in every release, since stores keep it.
    """
    words = _widened(rows.view(_WORDS[rows.itemsize]))
    made: NDArray[np.uint64] = words @ _weights_of(words.shape[1])
    return made.view(np.int64)


def _widened(words: NDArray[Any]) -> NDArray[np.uint64]:
    # Into memory that is kept: fresh memory of this size costs more than all the rest.
    global _room
    if len(_room) < words.size:
        _room = np.empty(words.size, np.uint64)
    widened = _room[: words.size].reshape(words.shape)
    np.copyto(widened, words)
    return widened


def _weights_of(count: int) -> NDArray[np.uint64]:
    """Odd numbers that stand for positions: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of 1, 2, 3, ..."""
    global _weights
    if len(_weights) < count:
        mixed = np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        _weights = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    return _weights[:count]
