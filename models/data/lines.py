"""Lines of text as codes, ready for a language model to learn from and to be scored by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.models.data.pairs import IGNORED, padded

# Stands before a line's first symbol and behind its last.
EDGE = "<edge>"
EDGE_CODE = 0


@dataclass(frozen=True)
class Lines:
    """Lines as codes, each by itself.

    ``codes``: of each line's symbols, without the edges. ``lengths``: int64 ``[N]``, symbols and one edge.
    ``unknown``: what is never to be predicted.
    """

    codes: Sequence[Sequence[int]]
    lengths: Tensor
    unknown: int | None = None

    @classmethod
    def of(cls, codes: Sequence[Sequence[int]], unknown: int | None = None) -> Lines:
        """Of lines without their edges."""
        return cls(codes, torch.tensor([len(line) + 1 for line in codes]), unknown)

    def __len__(self) -> int:
        return len(self.codes)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Given, int64 ``[B, T]``: the edge and the symbols. Wanted: symbols and the edge, ``IGNORED`` beyond."""
        lines = [self.codes[row] for row in rows.tolist()]
        given, _ = padded([(EDGE_CODE, *line) for line in lines])
        wanted, _ = padded([(*line, EDGE_CODE) for line in lines], IGNORED)
        return given, without(wanted, self.unknown)

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of ``rows``, lines of like length together, so that little of them is padding."""
        for part in torch.split(rows[self.lengths[rows].argsort(stable=True)], batch_size):
            yield self.batch(part)


def without(wanted: Tensor, unknown: int | None) -> Tensor:
    """What is to be predicted, and nothing where that is unknown."""
    return wanted if unknown is None else wanted.masked_fill(wanted == unknown, IGNORED)
