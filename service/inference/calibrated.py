"""Calibrated intervals: forecasts, and what a session keeps count of, make quantiles of what is to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.distribution import Doubles, TargetForecast
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.watch import ReadingWatch
from ostinato.service.errors import InvalidInput


def is_calibrated(manifest: Manifest, horizon: int, targets: Sequence[TargetForecast]) -> bool:
    """Whether the version's calibration has all of these targets, so many steps ahead."""
    calibration = manifest.calibration
    if calibration is None or horizon > calibration.num_steps or not targets:
        return False
    return {target.name for target in targets} <= {target.name for target in calibration.targets}


def calibrated_quantiles(
    watch: ReadingWatch,
    kept: Doubles,
    numbers: NDArray[Any],
    targets: Sequence[TargetForecast],
    probabilities: Sequence[float],
) -> Doubles:
    """Quantiles ``[n, Q, K]`` of the next n steps: the forecast, and next to it what it is off by at that level.

    The interval of level ``l`` lies between the quantiles ``(1 - l) / 2`` and ``(1 + l) / 2``. Its half is the
    number that the session tracks for the step (``Calibration.basis``), by the level, times that step's scale; and
    where the step goes by scores, times how far the network itself reaches to that side. Between two tracked levels
    it lies on the straight line.

    Args:
        kept: what the session keeps count of, ``[width]``.
        numbers: what was forecast, ``[n, O]``.

    Raises:
        InvalidInput: a probability lies beyond the outermost tracked level.
    """
    calibration = watch.calibration
    sides = np.abs(2.0 * np.asarray(probabilities) - 1.0)
    if (beyond := sides > calibration.levels[-1] + 1e-12).any():
        most = 100 * calibration.levels[-1]
        raise InvalidInput(
            f"the quantile {probabilities[int(beyond.argmax())]:g}: this version is calibrated up to an interval of "
            f"{most:g} %"
        )
    tracked = watch.tracker.numbers_of(kept)
    places = [target.name for target in calibration.targets]
    levels = [0.0, *calibration.levels]
    made = np.empty((len(numbers), len(probabilities), len(targets)))
    for column, target in enumerate(targets):
        place = places.index(target.name)
        points, reaches = target.points(numbers)[:, 0], target.reaches(numbers)[:, 0]
        for step in range(len(numbers)):
            basis = calibration.basis(step + 1)
            scale = np.array(calibration.targets[place].scales[step])
            halves = np.maximum.accumulate([0.0, *(tracked[basis, place] * scale)])
            half = np.interp(sides, levels, halves)
            below, above = reaches[step] if basis == 0 else (1.0, 1.0)
            upper = points[step] + half * above
            made[step, :, column] = np.where(np.asarray(probabilities) < 0.5, points[step] - half * below, upper)
    return made
