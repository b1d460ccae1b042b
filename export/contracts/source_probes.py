"""Probes for what writes: sources of mixed lengths, padded, and codes that might have been written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input, Nested

# Sources that fill their run.
EXACT_LENGTHS = (1, 2, 5, 21, 50)
# What served sources are padded to.
PADDED_LENGTHS = (16, 32, 64, 128)


@dataclass(frozen=True)
class Sources:
    """Sources ``[B, S, ...]`` of ``lengths [B]``, drawn to the end: what is beyond a length is padding.

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


@dataclass(frozen=True)
class SourceProbes:
    """What an encoder might be sent: beginnings of real sources, or random ones where there are none.

    ``examples``: ``[S]`` or ``[S, ...]`` each. ``max_steps``: the longest source that the model is for; 0 = any. A
    trained network may be chaotic over sources that nothing like them was in its training: there, rounding is all
    that is measured.
    """

    source: Input
    examples: tuple[Array, ...] = ()
    max_steps: int = 0

    @property
    def longest(self) -> int:
        """Steps of the longest source that can be drawn."""
        ends = [max(map(len, self.examples))] if self.examples else []
        return min([*ends, *[self.max_steps] * (self.max_steps > 0)], default=max(PADDED_LENGTHS))

    def exact_lengths(self) -> tuple[int, ...]:
        """Those of ``EXACT_LENGTHS`` that can be drawn."""
        return tuple(length for length in EXACT_LENGTHS if length <= self.longest)

    def padded_lengths(self) -> tuple[int, ...]:
        """Those of ``PADDED_LENGTHS`` that a source may be padded to: the last is the first that holds the longest."""
        shorter = [length for length in PADDED_LENGTHS if length < self.max_steps or not self.max_steps]
        return PADDED_LENGTHS[: len(shorter) + 1]

    def draw(self, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
        """As ``draw_source``; ``num_steps`` up to ``longest``."""
        if not self.examples:
            return draw_source(self.source, generator, batch_size, num_steps)
        if self.source.source_axis is None:
            return np.stack([self.examples[index] for index in generator.integers(len(self.examples), size=batch_size)])
        long_enough = [example for example in self.examples if len(example) >= num_steps]
        chosen = generator.integers(len(long_enough), size=batch_size)
        return np.stack([long_enough[index][:num_steps] for index in chosen])

    def draw_padded(self, generator: np.random.Generator, lengths: Array, padded_length: int) -> Sources:
        """Sources of these lengths, int64 ``[B]``, with random padding up to ``padded_length``."""
        if self.source.source_axis is None:
            return Sources(self.draw(generator, len(lengths), 1), None)
        source = draw_padding(self.source, generator, len(lengths), padded_length)
        for row, length in enumerate(lengths):
            source[row, :length] = self.draw(generator, 1, int(length))[0]
        return Sources(source, lengths)

    def draw_mixed(self, generator: np.random.Generator, batch_size: int, padded_length: int) -> Sources:
        """Sources of mixed lengths, padded: the first is as long as can be, the second has one step."""
        longest = min(padded_length, self.longest)
        lengths = generator.integers(1, longest, size=batch_size, endpoint=True)
        lengths[:2] = (longest, 1)[:batch_size]
        return self.draw_padded(generator, lengths, padded_length)


def check_examples(source: Input, examples: Sequence[ArrayLike]) -> tuple[Array, ...]:
    """Real sources as the encoder takes them, ``[S, ...]`` (``[...]`` of a fixed size) each.

    Raises:
        ExportError: one is empty, has another shape than the source, or a code that the source does not have.
    """
    arrays = tuple(np.asarray(example, source.dtype) for example in examples)
    for array in arrays:
        row_shape = array.shape if source.source_axis is None else array.shape[1:]
        if row_shape != source.row_shape or array.size == 0:
            raise ExportError(f"an example has shape {list(array.shape)}; the source has {list(source.shape)}")
        if source.num_codes is not None and not (array.min() >= 0 and array.max() < source.num_codes):
            raise ExportError(f"an example has codes {array.min()} to {array.max()}; the source has {source.num_codes}")
    return arrays


def draw_fed_codes(
    num_codes: int, start: Nested, generator: np.random.Generator, batch_size: int, num_steps: int
) -> Array:
    """What a decoder of codes is fed: the start, then any codes; int64 ``[B, T]``."""
    codes = generator.integers(num_codes, size=(batch_size, num_steps))
    codes[:, 0] = start
    return codes
