"""Probe sequences: what a model might be sent, drawn from what its input looked like in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.codes import FAR
from ostinato.service.artifact.tensors import Input

_MISSING_FRACTION = 0.15
# How much of a step's distance from the mean the next one keeps. Probes that jump from end to end at each step are
# no series that a model was trained on, and drive it to where rounding is all that is measured.
_PERSISTENCE = 0.95


def draw_sequences(inputs: Input, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
    """Sequences ``[B, T, ...]`` of the input's dtype.

    A feature with ``categories``, a range of codes, or of an input with ``num_codes`` is a code; others wander around
    their training mean within minimum and maximum, or around 0 with a standard deviation of 1 where there are no
    statistics; whole numbers are drawn from minimum to maximum, 0 and 1 without statistics, as is what is called a
    mask. Where the input may have holes, so have the probes: single ones, long runs, a feature that a sequence never
    has, and one sequence of nothing
    but holes.
    """
    wide = np.stack(
        [_draw_feature(inputs, generator, index, (batch_size, num_steps)) for index in range(inputs.num_features)],
        axis=-1,
    )
    if inputs.missing:
        wide[_draw_holes(generator, wide.shape)] = np.nan
    return wide.reshape(batch_size, num_steps, *inputs.row_shape).astype(inputs.dtype)


def likely_step(inputs: Input) -> NDArray[np.float64]:
    """A step ``[F]`` without holes, as a probe has it."""
    whole = inputs.model_copy(update={"missing": False})
    return draw_sequences(whole, np.random.default_rng(0), 1, 1).reshape(-1).astype(np.float64)


def _draw_feature(
    inputs: Input, generator: np.random.Generator, index: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    num_codes = _num_codes(inputs, inputs.features[index])
    if num_codes is not None:
        return generator.integers(num_codes, size=shape).astype(np.float64)
    limits = inputs.ranges.get(inputs.features[index])
    if limits is not None and limits.whole:
        first, last = (int(np.clip(end, -FAR, FAR)) for end in (limits.least, limits.most))
        return generator.integers(first, last, size=shape, endpoint=True).astype(np.float64)
    statistics = inputs.statistics
    if inputs.dtype.startswith("float"):
        if statistics is None and limits is None and "mask" in inputs.name.lower():
            return generator.integers(0, 1, size=shape, endpoint=True).astype(np.float64)
        normal = _wander(generator.standard_normal(shape))
        amount = normal
        if statistics is not None:
            amount = statistics.mean[index] + statistics.std[index] * normal
            amount = np.clip(amount, statistics.minimum[index], statistics.maximum[index])
        return amount if limits is None else np.clip(amount, limits.least, limits.most)
    least, most = (0.0, 1.0) if statistics is None else (statistics.minimum[index], statistics.maximum[index])
    return generator.integers(int(least), int(most), size=shape, endpoint=True).astype(np.float64)


def _num_codes(inputs: Input, feature: str) -> int | None:
    """How many codes the service lets through for a feature; None where it is an amount."""
    words = inputs.categories.get(feature)
    limits = [limit for limit in (inputs.num_codes, None if words is None else len(words)) if limit is not None]
    return min(limits, default=None)


def _wander(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """An autoregressive process of order 1, ``[B, T]``, mean 0 and standard deviation 1, out of white noise."""
    walk = noise.copy()
    for step in range(1, walk.shape[1]):
        walk[:, step] = _PERSISTENCE * walk[:, step - 1] + np.sqrt(1.0 - _PERSISTENCE**2) * noise[:, step]
    return walk


def _draw_holes(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    batch_size, num_steps, num_features = shape
    holes = generator.random(shape) < _MISSING_FRACTION
    for row in range(batch_size):
        start = int(generator.integers(num_steps))
        length = int(generator.integers(num_steps))
        holes[row, start : start + length, generator.integers(num_features)] = True
    holes[batch_size // 2, :, generator.integers(num_features)] = True
    if batch_size > 2:
        holes[-1] = True
    return holes
