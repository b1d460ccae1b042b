from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.pictures import Pictures
from ostinato.models.scores.captions import CaptionScores, most_frequent_text, nearest_texts


def test_scores_are_of_whole_texts_and_of_letters() -> None:
    scores = CaptionScores.of(["one", "sevn", "tree"], ["one", "seven", "three"])
    assert scores.right == pytest.approx(1 / 3)
    assert scores.letter_error == pytest.approx(2 / 13)


def test_the_nearest_picture_and_the_most_frequent_text() -> None:
    pixels = np.zeros((3, 1, 2, 2), np.float32)
    pixels[1], pixels[2] = 12.0, 13.0
    known = Pictures(pixels, ("a", "b", "b"))
    asked = np.full((2, 1, 2, 2), 5.9, np.float32)
    asked[1] = 6.1
    assert nearest_texts(known, asked) == ["a", "b"]
    assert most_frequent_text(known) == "b"
