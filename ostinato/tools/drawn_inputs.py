"""Inputs drawn at random that a model takes: within what it saw in training, as far as its manifest tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 3
FAR = 2.0**24
"""What is drawn of codes without an end is not further from 0."""


def draw_steps(model_input: Mapping[str, Any], num_steps: int, generator: np.random.Generator) -> list[list[float]]:
    """Steps ``[n, F]``, none of them missing.

    Args:
        model_input: the input's entry in the manifest. A feature with categories or a range of codes gets one of them,
            an integer input one of its codes (0 or 1 where their number is not known), any other a normal deviate with
            the mean and deviation of the training, kept within its extremes.
    """
    features: list[str] = model_input["features"]
    columns = [_draw_feature(model_input, position, num_steps, generator) for position in range(len(features))]
    steps: list[list[float]] = np.stack(columns, axis=1).tolist()
    return steps


def _draw_feature(
    model_input: Mapping[str, Any], position: int, num_steps: int, generator: np.random.Generator
) -> NDArray[Any]:
    words = model_input.get("categories", {}).get(model_input["features"][position])
    if words:
        return generator.integers(len(words), size=num_steps)
    limits = model_input.get("ranges", {}).get(model_input["features"][position])
    if limits and limits["whole"]:
        least, most = (int(np.clip(end, -FAR, FAR)) for end in (limits["least"], limits["most"]))
        return generator.integers(least, most, size=num_steps, endpoint=True)
    if not str(model_input["dtype"]).startswith("float"):
        num_codes = 2 if model_input["dtype"] == "bool" else model_input.get("num_codes") or 2
        return generator.integers(num_codes, size=num_steps)
    drawn = generator.normal(size=num_steps)
    statistics = model_input.get("statistics")
    if statistics:
        low, high = statistics["minimum"][position], statistics["maximum"][position]
        drawn = np.clip(statistics["mean"][position] + statistics["std"][position] * drawn, low, high)
    drawn = drawn.round(DECIMALS)
    return np.clip(drawn, limits["least"], limits["most"]) if limits else drawn
