"""Scores of classifiers of sequences: what is right, by class, by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.models.report import LineChart, Matrix, ScoreTable
from ostinato.models.rivals.sequences import Codes

_MAX_CLASSES_SHOWN = 40


@dataclass(frozen=True)
class ClassScores:
    """How answers compare with the truth.

    ``balanced_accuracy``: the mean of each class' recall; ``macro_f1``: the mean of each class' F1, classes that were
    never there nor answered left out.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float

    @classmethod
    def of(cls, answers: Codes, truth: Codes, num_classes: int) -> ClassScores:
        """Of answers and truth ``[N]``."""
        counts = confusion(answers, truth, num_classes)
        right, there, answered = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        known = there > 0
        seen = there + answered > 0
        return cls(
            accuracy=float(right.sum() / max(1, counts.sum())),
            balanced_accuracy=float((right[known] / there[known]).mean()),
            macro_f1=float((2 * right[seen] / (there + answered)[seen]).mean()),
        )


def confusion(answers: Codes, truth: Codes, num_classes: int) -> Codes:
    """How often each true class (row) was answered as each (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (truth, answers), 1)
    return counts


def class_table(answers: Codes, truth: Codes, classes: Sequence[str]) -> ScoreTable:
    """Precision, recall and F1 of each class, the most frequent ones first."""
    counts = confusion(answers, truth, len(classes))
    right, there, answered = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    rows = []
    for place in np.argsort(-there, kind="stable")[:_MAX_CLASSES_SHOWN]:
        shares = (right[place] / max(1, answered[place]), right[place] / max(1, there[place]))
        f1 = 2 * right[place] / max(1, there[place] + answered[place])
        rows.append((classes[place], f"{there[place]:,}", *(f"{share:.1%}" for share in (*shares, f1))))
    note = f"the {_MAX_CLASSES_SHOWN} most frequent of {len(classes)}" if len(classes) > _MAX_CLASSES_SHOWN else ""
    return ScoreTable(
        "each class, held out", ("class", "true", "precision", "recall", "F1"), tuple(rows), note, printed=False
    )


def confusion_chart(answers: Codes, truth: Codes, classes: Sequence[str]) -> Matrix:
    """How often each true class was answered as each, in parts of the true class."""
    counts = confusion(answers, truth, len(classes))
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:_MAX_CLASSES_SHOWN])
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [classes[place] for place in shown]
    return Matrix("confusion", "answered", "true", names, names, shares[np.ix_(shown, shown)].tolist())


def right_by_step(found: Sequence[NDArray[np.float32]], truth: Codes) -> LineChart:
    """How many are right after so many steps, those that are at their end among them.

    Args:
        found: of each sequence, the classes' probabilities ``[T, K]``.
        truth: the class of each.
    """
    longest = max(map(len, found))
    shown = range(1, longest + 1, max(1, longest // 200))
    pairs = list(zip(found, truth, strict=True))
    right = [
        float(np.mean([steps[min(count, len(steps)) - 1].argmax() == label for steps, label in pairs]))
        for count in shown
    ]
    return LineChart("right after so many steps", "steps seen", "part that is right", {"right": (list(shown), right)})
