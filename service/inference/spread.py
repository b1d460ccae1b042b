"""Spread: the quantiles of what a network says of one target, and draws from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.distribution import Doubles, TargetForecast
from ostinato.service.errors import InvalidInput, RunFailed

_MOST_COUNTS = 2**20
"""Counts that are looked at one by one; of larger ones the normal distribution of that mean and variance is taken."""
_TAIL = 20.0
"""Standard deviations above the mean that a count's quantile may lie."""


def own_quantiles(target: TargetForecast, numbers: NDArray[Any], probabilities: Sequence[float]) -> Doubles:
    """The quantiles ``[n, Q]`` of one target by what the network said of each of n steps, ``numbers`` [n, O].

    Between two quantiles of its own one lies on the straight line.

    Raises:
        InvalidInput: the network says nothing of how sure it is; or it has quantiles, and none so far out.
    """
    parts = numbers[:, target.places[0]].astype(np.float64)
    if target.kind == "quantiles":
        first, last = target.levels[0], target.levels[-1]
        for probability in probabilities:
            if not first <= probability <= last:
                raise InvalidInput(
                    f"the quantile {probability:g} of {target.name!r}: the network's own go from {first:g} to "
                    f"{last:g}; a version with a calibration (export --calibrate) has others"
                )
        return np.stack([np.interp(probabilities, target.levels, row) for row in parts])
    if target.kind == "gaussian":
        deviations = np.array([NormalDist().inv_cdf(probability) for probability in probabilities])
        return np.asarray(parts[:, :1] + parts[:, 1:2] * deviations)
    if target.kind == "point":
        raise InvalidInput(
            f"the model says of {target.name!r} one number and not how sure it is; a version with a calibration "
            "(export --calibrate) has intervals"
        )
    return np.stack([_count_quantiles(*_count_of(target, row), probabilities) for row in parts])


def draw(target: TargetForecast, numbers: NDArray[Any], generator: np.random.Generator) -> float:
    """A value drawn from what the network says of one target, ``numbers`` [O].

    Of quantiles: between two of them each value is as likely as the other, and beyond the outermost the line of the two
    next to it continues.

    Raises:
        RunFailed: counts of such a mean cannot be drawn.
    """
    parts = numbers[target.places[0]].astype(np.float64)
    if target.kind == "gaussian":
        return float(parts[0] + parts[1] * generator.standard_normal())
    if target.kind == "quantiles":
        return _on_line(target.levels, parts, generator.random())
    mean, dispersion = _count_of(target, parts)
    try:
        if dispersion:
            mean = generator.standard_gamma(1.0 / dispersion) * dispersion * mean
        return float(generator.poisson(mean))
    except ValueError as error:
        raise RunFailed(f"no count of mean {mean:g} can be drawn") from error


def _on_line(levels: Sequence[float], quantiles: Doubles, probability: float) -> float:
    place = min(max(int(np.searchsorted(levels, probability)), 1), len(levels) - 1)
    low, high = levels[place - 1], levels[place]
    slope = (quantiles[place] - quantiles[place - 1]) / (high - low)
    return float(quantiles[place - 1] + slope * (probability - low))


def _count_of(target: TargetForecast, parts: Doubles) -> tuple[float, float]:
    """Mean and dispersion."""
    return float(parts[0]), float(parts[1]) if target.kind == "negative_binomial" else 0.0


def _count_quantiles(mean: float, dispersion: float, probabilities: Sequence[float]) -> Doubles:
    """The least counts that the distribution is at or below with these probabilities.

    By the ratio of one count's probability to the one before: mean / k of a Poisson distribution, and of a negative
    binomial one with r = 1 / dispersion, (k - 1 + r) / k x mean / (mean + r).
    """
    deviation = math.sqrt(mean + dispersion * mean * mean)
    most = math.ceil(mean + _TAIL * deviation + _TAIL)
    if most > _MOST_COUNTS:
        drawn = [mean + deviation * NormalDist().inv_cdf(probability) for probability in probabilities]
        return np.asarray(np.maximum(np.round(drawn), 0.0))
    counts = np.arange(1, most + 1, dtype=np.float64)
    if dispersion:
        inverse = 1.0 / dispersion
        ratios = np.log((counts - 1 + inverse) / counts) + math.log(mean / (mean + inverse))
        first = -inverse * math.log1p(mean * dispersion)
    else:
        ratios, first = math.log(mean) - np.log(counts), -mean
    reached = np.cumsum(np.exp(np.concatenate([[first], first + np.cumsum(ratios)])))
    return np.searchsorted(reached / reached[-1], probabilities).astype(np.float64)
