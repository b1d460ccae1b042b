"""Differences of the outputs of two versions of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest


def answer_alike(one: Manifest, other: Manifest) -> bool:
    """Whether the numbers of two versions' outputs can be compared one by one."""
    mine, theirs = ([(part.name, part.num_features) for part in each.outputs] for each in (one, other))
    return mine == theirs


def differences(one: Manifest, mine: NDArray[Any], other: Manifest, theirs: NDArray[Any]) -> NDArray[np.float64]:
    """The largest difference of a number in each row of the two versions' outputs, which are alike, rows
    ``[n, width]``; float64 ``[n]``, infinite where only one of two numbers is, or is NaN.
    """
    largest = np.zeros(len(mine))
    for ours, others in zip(one.made.flat(mine), other.made.flat(theirs), strict=True):
        # Both may be minus infinity, or NaN, which is no difference.
        differ = (ours != others) & ((ours == ours) | (others == others))
        with np.errstate(invalid="ignore"):
            apart = np.abs(others.astype(np.float64) - ours.astype(np.float64))
        apart = np.where(differ, np.nan_to_num(apart, nan=np.inf, posinf=np.inf), 0.0)
        largest = np.maximum(largest, apart.max(axis=1, initial=0.0))
    return largest
