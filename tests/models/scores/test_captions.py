from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ostinato.models.data.pictures import Pictures
from ostinato.models.scores.captions import CaptionScores, edits, most_frequent_text, nearest_texts


def by_definition(one: str, two: str) -> int:
    @cache
    def least(row: int, column: int) -> int:
        if not row or not column:
            return row + column
        changed = least(row - 1, column - 1) + (one[row - 1] != two[column - 1])
        return min(least(row - 1, column) + 1, least(row, column - 1) + 1, changed)

    return least(len(one), len(two))


@pytest.mark.parametrize("pair", [("", ""), ("", "abc"), ("kitten", "sitting"), ("seven", "even"), ("abab", "baba")])
def test_edits_are_the_fewest(pair: tuple[str, str]) -> None:
    assert edits(*pair) == edits(*reversed(pair)) == by_definition(*pair)


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
