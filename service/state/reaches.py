"""Reaches: how far a session has come in the source of its readings, as a log counts its entries.

It is stored with the session, so that what the source delivers again is known, whatever its client remembers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_OFFSET = -1
"""Where nobody said one: each is at least 0."""

MAX_SOURCE_CHARACTERS = 255


class Reach(NamedTuple):
    """How far a session has come in its source.

    Attributes:
        source: the name of it.
        offset: of the reading applied last that had one; ``NO_OFFSET`` = none had.
        steps: how many steps the session had with that reading. As many as it has now = the chunk applied last said so.
    """

    source: str
    offset: int
    steps: int


NOWHERE = Reach("", NO_OFFSET, 0)
"""Of a session whose readings never said where they are."""


class Reaches(NamedTuple):
    """The reach of each of ``R`` sessions: sources, objects ``[R]``; offsets and steps, int64 ``[R]``."""

    sources: NDArray[np.object_]
    offsets: NDArray[np.int64]
    steps: NDArray[np.int64]

    def of(self, rows: NDArray[np.bool_]) -> Reaches:
        """Those of ``rows``, bool ``[R]``."""
        return Reaches(self.sources[rows], self.offsets[rows], self.steps[rows])

    def encoded(self) -> tuple[int, bytes | NDArray[np.bytes_]]:
        """How much room the longest source takes, and all of them with zeros behind, or the one that all have."""
        first = self.sources[0]
        if (self.sources == first).all():
            one: bytes = (first or "").encode()
            return _room_for(len(one)), one
        sources = [(source or "").encode() for source in self.sources]
        return _room_for(max(map(len, sources))), np.array(sources, np.bytes_)


_ROOMS = (0, 64, 256, 4 * MAX_SOURCE_CHARACTERS)
"""Few, since records are kept ready for each."""


def _room_for(num_bytes: int) -> int:
    return next(room for room in _ROOMS if num_bytes <= room)


def room_of(source: str) -> int:
    """How much room a source takes in a record."""
    return _room_for(len(source.encode()))
