from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.scores.labelled import ClassScores, class_table, confusion


def test_scores_are_counted_by_class() -> None:
    truth, answers = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 0])
    assert confusion(answers, truth, 4).tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    scores = ClassScores.of(answers, truth, 4)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.balanced_accuracy == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    # 2 right / (true + answered): 4/6, 2/3, 2/3; the class that nobody has is left out.
    assert scores.macro_f1 == pytest.approx((4 / 6 + 2 / 3 + 2 / 3) / 3)
    table = class_table(answers, truth, ("a", "b", "c", "d"))
    assert table.rows[0] == ("a", "3", "66.7%", "66.7%", "66.7%")
