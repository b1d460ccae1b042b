"""Words as codes, letter by letter, ready for a language model to learn from and to be scored by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.models.data.pairs import IGNORED, padded

# Stands before a word's first letter and behind its last.
EDGE = "<edge>"
EDGE_CODE = 0


@dataclass(frozen=True)
class Spellings:
    """Words as codes.

    ``given``: int64 ``[N, T]``, the edge and the letters. ``wanted``: the letters and the edge, ``IGNORED`` beyond.
    ``lengths``: int64 ``[N]``, letters and one edge.
    """

    given: Tensor
    wanted: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, words: Sequence[Sequence[str]], symbols: Sequence[str]) -> Spellings:
        """Each word by itself."""
        codes = {symbol: code for code, symbol in enumerate(symbols)}
        spelled = [[codes[letter] for letter in word] for word in words]
        given, lengths = padded([(EDGE_CODE, *word) for word in spelled])
        wanted, _ = padded([(*word, EDGE_CODE) for word in spelled], IGNORED)
        return cls(given, wanted, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_symbols(self) -> int:
        """Letters and ends: all that is to be predicted."""
        return int(self.lengths.sum())

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """``given`` and ``wanted`` of ``rows``, words of like length together, so that little of them is padding."""
        for part in torch.split(rows[self.lengths[rows].argsort(stable=True)], batch_size):
            longest = int(self.lengths[part].max())
            yield self.given[part, :longest], self.wanted[part, :longest]
