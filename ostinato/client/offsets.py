"""Offsets of a client's chunks: where their readings are in the log that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from numpy.typing import NDArray


class InSource(TypedDict, total=False):
    """Where a chunk is, in place of ``seq``: retried, from wherever, it is answered again and not applied twice.

    Attributes:
        source: what the readings come from, as ``"readings/3"``; at most 255 characters.
        offset: where the last of them is in it.
        first_offset: where the first of them is: needed where a chunk of several steps may come again cut otherwise.
    """

    source: str
    offset: int
    first_offset: int


def tells_each(num_rows: int, *columns: Sequence[Any] | NDArray[Any] | None) -> bool:
    """Whether each row of a message is told by its ``seq``, its time or its ``offset``, and may be sent again."""
    nothing = [None] * num_rows
    told = zip(*(nothing if column is None else column for column in columns), strict=False)
    return all(any(each is not None for each in row) for row in told)
