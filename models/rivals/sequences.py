"""The rivals of what gives each sequence a class: the nearest neighbour by time warping, the most frequent class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.labelled import Labelled, LabelledSequence
from ostinato.models.data.series import Floats, TrainingStatistics
from ostinato.models.rivals.rival import Rival

# Steps compared with steps that the nearest neighbours may cost; beyond, fewer training sequences are looked at.
_MAX_COMPARISONS = 4e9

Codes: TypeAlias = NDArray[np.int64]


def nearest_neighbours(
    training: Sequence[LabelledSequence], asked: Sequence[LabelledSequence], statistics: TrainingStatistics
) -> Codes:
    """The label of the training sequence that is nearest to each by dynamic time warping over all features at once.

    The distance is the least sum of squared differences along any path that pairs all steps in order (Sakoe and Chiba,
    1978); features are normalised first, and a missing number is the feature's mean.
    """
    known = [_normalised(sequence.x, statistics) for sequence in training]
    per_asked = sum(map(len, known)) * max(len(sequence.x) for sequence in asked)
    every = max(1, int(np.ceil(per_asked * len(asked) / _MAX_COMPARISONS)))
    chosen = range(0, len(known), every)
    lengths = np.array([len(known[place]) for place in chosen])
    stacked = np.zeros((len(chosen), lengths.max(), known[0].shape[1]))
    for row, place in enumerate(chosen):
        stacked[row, : len(known[place])] = known[place]
    labels = np.array([int(training[place].answers[0]) for place in chosen])
    return np.array(
        [labels[_warped(_normalised(sequence.x, statistics), stacked, lengths).argmin()] for sequence in asked]
    )


def _warped(x: NDArray[np.float64], others: NDArray[np.float64], lengths: Codes) -> NDArray[np.float64]:
    """The distances ``[N]`` of ``x [T, F]`` to ``others [N, S, F]`` of these lengths."""
    num_others, num_steps, _ = others.shape
    costs = np.full((num_others, num_steps + 1), np.inf)
    costs[:, 0] = 0.0
    for step in x:
        apart = ((others - step) ** 2).sum(axis=-1)
        before = np.minimum(costs[:, :-1], costs[:, 1:])
        after = np.full_like(costs, np.inf)
        for place in range(num_steps):
            after[:, place + 1] = apart[:, place] + np.minimum(before[:, place], after[:, place])
        costs = after
    distances: NDArray[np.float64] = costs[np.arange(num_others), lengths]
    return distances


def _normalised(x: Floats, statistics: TrainingStatistics) -> NDArray[np.float64]:
    std = np.array(statistics.std)
    scaled = (x.astype(np.float64) - np.array(statistics.mean)) / np.where(std > 0, std, 1.0)
    filled: NDArray[np.float64] = np.nan_to_num(scaled)
    return filled


def nearest(data: Labelled) -> Codes:
    """The label of the nearest training sequence for each of the test part, ``[N]``."""
    return nearest_neighbours(data.parts["training"], data.parts["test"], data.statistics)


def most_frequent(data: Labelled) -> Codes:
    """The label that most of the training part have, ``[N]``."""
    labels = [int(sequence.answers[0]) for sequence in data.parts["training"]]
    return np.full(len(data.parts["test"]), np.bincount(labels).argmax())


RIVALS: tuple[Rival[Labelled, Codes], ...] = (
    Rival("nearest neighbour (DTW)", nearest),
    Rival("most frequent", most_frequent),
)
