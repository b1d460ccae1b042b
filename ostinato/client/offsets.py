"""Offsets of a client's chunks: where their readings are in the log that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from numpy.typing import NDArray


class InSource(TypedDict, total=False):
    """The place of a chunk in its source, instead of ``seq``: a retry, also by another client, is answered again and
    not applied twice.

    Attributes:
        source: where the readings come from, as ``"readings/3"``; at most 255 characters.
        offset: where the last reading of the chunk is in it.
        first_offset: where the first of them is in it; needed if a retry may cut its chunks of several steps
            differently.
    """

    source: str
    offset: int
    first_offset: int


def tells_each(num_rows: int, *columns: Sequence[Any] | NDArray[Any] | None) -> bool:
    """Whether each row of a message is told by its ``seq``, its time or its ``offset``, and may be sent again."""
    nothing = [None] * num_rows
    told = zip(*(nothing if column is None else column for column in columns), strict=False)
    return all(any(each is not None for each in row) for row in told)
