from __future__ import annotations

from functools import cache

import numpy as np

from ostinato.models.data.labelled import Labelled, LabelledSequence
from ostinato.models.data.series import TrainingStatistics
from ostinato.models.rivals.rival import answers_of
from ostinato.models.rivals.sequences import RIVALS, nearest_neighbours

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


def test_the_rivals_of_labels_answer_for_the_test_part() -> None:
    low, high = (np.full((3, 2), value, np.float32) for value in (0.0, 5.0))
    known = tuple(LabelledSequence("", x, np.array([label])) for x, label in ((low, 0), (high, 1), (high + 1, 1)))
    asked = tuple(LabelledSequence("", x, np.array([0])) for x in (low + 1, high - 1))
    data = Labelled(("x", "y"), {}, ("a", "b"), {"training": known, "validation": (), "test": asked}, PLAIN, "")
    found, missing = answers_of(RIVALS, data)
    assert {name: answers.tolist() for name, answers in found.items()} == {
        "nearest neighbour (DTW)": [0, 1],
        "most frequent": [1, 1],
    }
    assert missing == ""
