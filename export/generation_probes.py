"""Probes for what writes: sources of mixed lengths, padded, and codes that might have been written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.axes import Array
from export.probes import draw_sequences
from service.tensors import Input, Nested


@dataclass(frozen=True)
class Sources:
    """Sources ``[B, S, ...]`` of ``lengths [B]``, drawn to the end: what stands beyond a length is padding.

    ``lengths`` is None for sources of a fixed size.
    """

    source: Array
    lengths: Array | None

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, rows: slice) -> Sources:
        """Some of them."""
        return Sources(self.source[rows], None if self.lengths is None else self.lengths[rows])

    def without_padding(self, row: int) -> Sources:
        """One of them, cut to its length."""
        if self.lengths is None:
            return self.rows(slice(row, row + 1))
        return Sources(self.source[row : row + 1, : self.lengths[row]], self.lengths[row : row + 1])

    def padded_by(self, other: Array) -> Sources:
        """The same with the padding of ``other``, and with that much of it."""
        if self.lengths is None:
            return self
        source = other.copy()
        for row, length in enumerate(self.lengths):
            source[row, :length] = self.source[row, :length]
        return Sources(source, self.lengths)


def draw_source(source: Input, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
    """Sources ``[B, S, ...]``, or ``[B, ...]`` of a fixed size."""
    # A source of a fixed size is one step of many features.
    drawn = draw_sequences(source, generator, batch_size, num_steps if source.source_axis is not None else 1)
    return drawn if source.source_axis is not None else np.ascontiguousarray(drawn[:, 0])


def draw_padding(source: Input, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
    """As ``draw_source``, without holes: the service pads with numbers."""
    return draw_source(source.model_copy(update={"missing": False}), generator, batch_size, num_steps)


def draw_sources(source: Input, generator: np.random.Generator, batch_size: int, num_steps: int) -> Sources:
    """Sources of mixed lengths padded to ``num_steps``: the first has all the steps, the second one, others between."""
    drawn = draw_source(source, generator, batch_size, num_steps)
    if source.source_axis is None:
        return Sources(drawn, None)
    lengths = generator.integers(1, num_steps, size=batch_size, endpoint=True)
    lengths[:2] = (num_steps, 1)[:batch_size]
    padding = draw_padding(source, generator, batch_size, num_steps)
    return Sources(drawn, lengths).padded_by(padding)


def draw_fed_codes(
    num_codes: int, start: Nested, generator: np.random.Generator, batch_size: int, num_steps: int
) -> Array:
    """What a decoder of codes is fed: the start, then any codes; int64 ``[B, T]``."""
    codes = generator.integers(num_codes, size=(batch_size, num_steps))
    codes[:, 0] = start
    return codes
