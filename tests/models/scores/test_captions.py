from __future__ import annotations

import pytest

from ostinato.models.scores.captions import CaptionScores


def test_scores_are_of_whole_texts_and_of_letters() -> None:
    scores = CaptionScores.of(["one", "sevn", "tree"], ["one", "seven", "three"])
    assert scores.right == pytest.approx(1 / 3)
    assert scores.letter_error == pytest.approx(2 / 13)
