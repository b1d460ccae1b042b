"""Scores of texts for pictures, and what needs no training: the nearest picture's text, the most frequent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ostinato.models.data.pictures import Pictures, Pixels
from ostinato.models.scores.pairs import edit_distance

_CHUNK = 64


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


def nearest_texts(known: Pictures, pixels: Pixels) -> list[str]:
    """For each picture ``[N, C, H, W]`` the text of the known one that is nearest to it, by squared differences."""
    ours = known.pixels.reshape(len(known.texts), -1).astype(np.float64)
    squares = (ours**2).sum(axis=1)
    found: list[str] = []
    for start in range(0, len(pixels), _CHUNK):
        asked = pixels[start : start + _CHUNK].reshape(-1, ours.shape[1]).astype(np.float64)
        found += [known.texts[place] for place in (squares - 2 * asked @ ours.T).argmin(axis=1)]
    return found


def most_frequent_text(pictures: Pictures) -> str:
    """The text that most pictures have."""
    return Counter(pictures.texts).most_common(1)[0][0]
