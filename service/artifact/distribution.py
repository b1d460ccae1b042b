"""Distributions: what the numbers of a forecast say of each target, told by the names that forecasters give them.

Of a target ``load`` and a step ahead an answer has one number, ``load``; quantiles, ``load_p10 load_p50 load_p90``;
a mean and a spread, ``load_mean load_std``; or of counts ``load_mean``, with ``load_dispersion`` where they spread
more than a Poisson distribution. Of several steps ahead each has ``_ahead_1``, ``_ahead_2`` ... behind it
(``models/networks/forecasts.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

ForecastKind: TypeAlias = Literal["point", "quantiles", "gaussian", "poisson", "negative_binomial"]
Doubles: TypeAlias = NDArray[np.float64]

_AHEAD = re.compile(r"(.+)_ahead_([1-9]\d{0,5})")
_QUANTILE = re.compile(r"(.+)_p(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True)
class TargetForecast:
    """What an answer says of one target, at each of H steps ahead: H is 1 where forecasts are fed back or decoded.

    Attributes:
        name: of the target.
        kind: what its numbers are.
        places: where among the numbers of an answer, int64 ``[H, P]``.
        levels: of quantiles, rising ``[P]``; else none.
        point: which of the P is the forecast where one number is wanted.
    """

    name: str
    kind: ForecastKind
    places: NDArray[np.int64]
    levels: tuple[float, ...] = ()
    point: int = 0

    @property
    def num_steps(self) -> int:
        """H."""
        return len(self.places)

    def points(self, numbers: NDArray[Any]) -> Doubles:
        """Of numbers ``[..., O]`` the forecasts, ``[..., H]``."""
        return numbers[..., self.places[:, self.point]].astype(np.float64)

    def reaches(self, numbers: NDArray[Any]) -> Doubles:
        """Of numbers ``[..., O]`` how far the network itself expects the value to be from its forecast, below and above
        it: ``[..., H, 2]``. It is what a difference is counted in: the spread, or the way to the outermost quantile; 1
        where it says nothing.
        """
        parts = numbers[..., self.places].astype(np.float64)
        if self.kind == "quantiles":
            centre = parts[..., self.point]
            return np.stack([centre - parts[..., 0], parts[..., -1] - centre], axis=-1)
        return np.repeat(self._spread(parts)[..., None], 2, axis=-1)

    def _spread(self, parts: Doubles) -> Doubles:
        if self.kind == "gaussian":
            return parts[..., 1]
        if self.kind == "poisson":
            return np.sqrt(parts[..., 0])
        if self.kind == "negative_binomial":
            return np.sqrt(parts[..., 0] + parts[..., 1] * parts[..., 0] * parts[..., 0])
        return np.ones(parts.shape[:-1])


def targets_of(features: Sequence[str], feedback: Mapping[str, str], *, counts: bool = False) -> list[TargetForecast]:
    """What answers with these features forecast, in their order.

    Args:
        features: the names of all numbers of an answer.
        feedback: output feature -> the input feature that it predicts, whose name the target then has.
        counts: whether a mean alone is that of a Poisson distribution.
    """
    by_step: dict[str, dict[int, int]] = {}
    for place, feature in enumerate(features):
        ahead = _AHEAD.fullmatch(feature)
        name, step = (ahead[1], int(ahead[2])) if ahead else (feature, 1)
        by_step.setdefault(name, {})[step] = place
    found: list[TargetForecast] = []
    taken: set[str] = set()
    for name in by_step:
        if name in taken:
            continue
        target, kind, parts, levels, point = _family(name, by_step, counts=counts)
        taken.update(parts)
        steps = range(1, len(by_step[name]) + 1)
        if any(sorted(by_step[part]) != list(steps) for part in parts):
            continue  # a step of it is absent: they are other numbers, of these names by chance
        places = np.array([[by_step[part][step] for part in parts] for step in steps], np.int64)
        found.append(TargetForecast(feedback.get(parts[point], target), kind, places, levels, point))
    return found


def _family(
    name: str, names: Mapping[str, Any], *, counts: bool
) -> tuple[str, ForecastKind, tuple[str, ...], tuple[float, ...], int]:
    """The target, what its numbers are, their names, their levels and which of them is the point."""
    if quantile := _QUANTILE.fullmatch(name):
        of_target = [found for each in names if (found := _QUANTILE.fullmatch(each)) and found[1] == quantile[1]]
        of_target.sort(key=lambda found: float(found[2]))
        levels = tuple(float(found[2]) / 100 for found in of_target)
        if len(levels) > 1 and 0.5 in levels:
            return quantile[1], "quantiles", tuple(found[0] for found in of_target), levels, levels.index(0.5)
        return (quantile[1] if levels == (0.5,) else name), "point", (name,), (), 0
    target = name.removesuffix("_mean")
    if target != name and f"{target}_std" in names:
        return target, "gaussian", (name, f"{target}_std"), (), 0
    if target != name and f"{target}_dispersion" in names:
        return target, "negative_binomial", (name, f"{target}_dispersion"), (), 0
    if target != name and counts:
        return target, "poisson", (name,), (), 0
    return name, "point", (name,), (), 0
