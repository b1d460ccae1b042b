"""Scores of texts that were written for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ostinato.models.scores.pairs import edit_distance


@dataclass(frozen=True)
class CaptionScores:
    """``right``: fraction of texts without any fault. ``letter_error``: insertions, deletions and changes of letters
    that make the true texts of the written ones, in parts of the true letters.
    """

    right: float
    letter_error: float

    @classmethod
    def of(cls, written: Sequence[str], texts: Sequence[str]) -> CaptionScores:
        """Of what was written next to the true texts."""
        pairs = list(zip(written, texts, strict=True))
        return cls(
            right=sum(one == two for one, two in pairs) / len(pairs),
            letter_error=sum(edit_distance(tuple(one), tuple(two)) for one, two in pairs)
            / max(1, sum(map(len, texts))),
        )
