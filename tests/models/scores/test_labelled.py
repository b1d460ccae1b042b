from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ostinato.models.data.labelled import LabelledSequence
from ostinato.models.data.series import TrainingStatistics
from ostinato.models.scores.labelled import ClassScores, class_table, confusion, nearest_neighbours

PLAIN = TrainingStatistics((0.0, 0.0), (1.0, 1.0), (-9.0, -9.0), (9.0, 9.0), (0.0, 0.0))


def warped(one: np.ndarray, two: np.ndarray) -> float:
    """Dynamic time warping as it is written in a textbook."""

    @cache
    def cost(row: int, column: int) -> float:
        if row < 0 or column < 0:
            return 0.0 if row == column == -1 else float("inf")
        apart = float(((one[row].astype(float) - two[column].astype(float)) ** 2).sum())
        return apart + min(cost(row - 1, column), cost(row, column - 1), cost(row - 1, column - 1))

    return cost(len(one) - 1, len(two) - 1)


def test_the_nearest_neighbour_is_that_of_the_textbooks_recursion() -> None:
    generator = np.random.default_rng(5)

    def drawn(count: int, label: int = 0) -> list[LabelledSequence]:
        lengths = generator.integers(1, 9, count)
        made = [generator.normal(size=(length, 2)).astype(np.float32) for length in lengths]
        return [LabelledSequence(str(n), x, np.array([label + n])) for n, x in enumerate(made)]

    training, asked = drawn(12), drawn(8)
    wanted = [int(np.argmin([warped(one.x, other.x) for other in training])) for one in asked]
    assert nearest_neighbours(training, asked, PLAIN).tolist() == wanted
    assert len(set(wanted)) > 3


def test_a_stretched_sequence_is_near() -> None:
    x = np.array([[0, 0], [1, 0], [2, 0]], np.float32)
    training = [LabelledSequence("a", x, np.array([3])), LabelledSequence("b", x[::-1], np.array([4]))]
    slower = LabelledSequence("c", np.repeat(x, 3, axis=0), np.array([3]))
    assert nearest_neighbours(training, [slower], PLAIN).tolist() == [3]


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
