"""Offsets: where the readings of a chunk are in the source that they come from, as a log counts its entries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.errors import InvalidInput
from ostinato.service.state.reaches import MAX_SOURCE_CHARACTERS as MAX_SOURCE_CHARACTERS
from ostinato.service.state.reaches import NO_OFFSET as NO_OFFSET
from ostinato.service.state.reaches import Reach, Reaches


class ChunkOffset(NamedTuple):
    """Where the readings of one chunk are: the first of them and the last, in the source of that name."""

    source: str
    first: int
    last: int

    def was_applied(self, reach: Reach) -> bool:
        """Whether any of its readings was, to a session that has come so far."""
        return self.first <= reach.offset and self.source == reach.source


def check_source(source: str) -> str:
    """A source's name, if it is one.

    Raises:
        InvalidInput: it is too long, or has a character that no record can keep.
    """
    if len(source) > MAX_SOURCE_CHARACTERS or "\0" in source:
        raise InvalidInput(
            f"a source is a text of at most {MAX_SOURCE_CHARACTERS} characters, none of them NUL", "source"
        )
    return source


def chunk_offset(source: str, first: int | None, last: int | None) -> ChunkOffset:
    """Where a chunk is of which this is said; without ``first``, only that none of it is behind ``last``.

    Raises:
        InvalidInput: it ends before it begins, or there is no ``last``.
    """
    if last is None:
        raise InvalidInput("a source or first_offset needs an offset: where the last reading is in it", "offset")
    if first is not None and first > last:
        raise InvalidInput(f"the first reading is at {first}, behind the last at {last}", "first_offset")
    return ChunkOffset(source, last if first is None else first, last)


class RowOffsets(NamedTuple):
    """Where the readings of each of ``R`` rows are: sources, objects ``[R]``; firsts and lasts, int64 ``[R]``, both
    ``NO_OFFSET`` in a row that does not say.
    """

    sources: NDArray[np.object_]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]

    @classmethod
    def read(
        cls,
        sources: NDArray[np.object_],
        firsts: NDArray[np.int64],
        lasts: NDArray[np.int64],
        errors: dict[int, Any],
    ) -> RowOffsets:
        """Those of a message; what is wrong with a row alone is added to ``errors``. A first one that is not said is
        the last one; where nothing of a row is, its source means nothing.
        """
        if firsts is not lasts:
            firsts = np.where(firsts == NO_OFFSET, lasts, firsts)
            for row in np.flatnonzero(firsts > lasts).tolist():
                try:
                    chunk_offset("", int(firsts[row]), None if lasts[row] == NO_OFFSET else int(lasts[row]))
                except InvalidInput as error:
                    errors[row] = InvalidInput(str(error), f"{error.field}[{row}]")
        return cls(sources, firsts, lasts)

    def row(self, row: int) -> ChunkOffset | None:
        """That of one row; None = it does not say."""
        if self.lasts[row] == NO_OFFSET:
            return None
        return ChunkOffset(str(self.sources[row]), int(self.firsts[row]), int(self.lasts[row]))

    def at(self, rows: slice | NDArray[np.int64]) -> RowOffsets:
        """Those of some rows."""
        return RowOffsets(self.sources[rows], self.firsts[rows], self.lasts[rows])

    def are_new(self, reaches: Reaches) -> NDArray[np.bool_]:
        """Which rows say nothing, or say readings of which none was applied, bool ``[R]``."""
        is_new: NDArray[np.bool_] = (self.firsts > reaches.offsets) | (self.lasts == NO_OFFSET)
        if not is_new.all():
            is_new |= (self.sources != reaches.sources).astype(bool)
        return is_new
