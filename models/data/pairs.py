"""Pairs of sequences to learn from: padded tensors, and batches in which lengths are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# What cross entropy is told to leave out.
IGNORED = -100


@dataclass(frozen=True)
class Pairs:
    """Sources with the outputs to write for them; padding is 0 in what goes in and ``IGNORED`` in what must come out.

    ``source``: int64 ``[N, S]``; ``lengths``: int64 ``[N]``, true lengths.
    ``target_in``: int64 ``[N, T]``, start code and output; ``target_out``: output and stop code.
    ``target_lengths``: int64 ``[N]``, the stop code counted.
    """

    source: Tensor
    lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    target_lengths: Tensor

    @classmethod
    def of(cls, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], start: int, stop: int) -> Pairs:
        """From codes of any length."""
        source, lengths = padded(sources)
        target_in, target_lengths = padded([(start, *target) for target in targets])
        target_out, _ = padded([(*target, stop) for target in targets], IGNORED)
        return cls(source, lengths, target_in, target_out, target_lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: str) -> Pairs:
        """On another device."""
        parts = (self.source, self.lengths, self.target_in, self.target_out, self.target_lengths)
        return Pairs(*(part.to(device) for part in parts))

    def batch(self, rows: Tensor) -> Pairs:
        """Some of the pairs, padded to the longest of them and no further."""
        lengths, target_lengths = self.lengths[rows], self.target_lengths[rows]
        num_source, num_target = int(lengths.max()), int(target_lengths.max())
        return Pairs(
            self.source[rows, :num_source],
            lengths,
            self.target_in[rows, :num_target],
            self.target_out[rows, :num_target],
            target_lengths,
        )


def padded(sequences: Sequence[Sequence[int]], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Codes ``[N, longest]`` and their true lengths ``[N]``, both int64."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    codes = torch.full((len(sequences), int(lengths.max())), padding)
    for row, sequence in enumerate(sequences):
        codes[row, : len(sequence)] = torch.tensor(sequence)
    return codes, lengths


def bucketed_batches(pairs: Pairs, batch_size: int, random: np.random.Generator) -> list[Tensor]:
    """The rows of one epoch's batches, each row in exactly one of them.

    A batch holds pairs of like source length and, among those, of like target length, so little of it is padding; who
    shares a batch and the order of the batches is drawn anew.
    """
    order: NDArray[np.int64] = np.lexsort((random.random(len(pairs)), pairs.target_lengths, pairs.lengths))
    batches = [torch.from_numpy(order[start : start + batch_size]) for start in range(0, len(pairs), batch_size)]
    return [batches[place] for place in random.permutation(len(batches))]
