"""Usual values: what a model may well be sent, as its manifest tells."""

from __future__ import annotations

import math
from typing import Any

from ostinato.service.artifact.tensors import Input
from ostinato.service.artifact.vocabulary import Vocabulary


def usual_text(vocabulary: Vocabulary) -> str:
    """A short text of a vocabulary's own symbols."""
    return vocabulary.decode(list(vocabulary.codes.values())[:3])


def usual_step(part: Input) -> list[Any]:
    """A usual value of each feature: its mean in training, or the least that it may be."""
    means = part.statistics.mean if part.statistics is not None else ()
    if len(means) != part.num_features or not all(map(math.isfinite, means)):
        means = (0.0,) * part.num_features
    values: list[Any] = []
    for name, mean in zip(part.features, means, strict=False):
        value = float(f"{mean:.4g}")
        if name in part.categories or part.num_codes is not None:
            value = 0.0
        elif (limits := part.ranges.get(name)) is not None:
            value = max(limits.least, min(limits.most, value))
            value = round(value) if limits.whole else value
        values.append(bool(value) if part.dtype == "bool" else value if part.dtype.startswith("float") else int(value))
    return values
