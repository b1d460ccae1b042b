"""Tracking: what a session of a calibrated forecaster keeps of how its forecasts fared, step by step.

A pure function of the session's history: each number follows from the one before by products, sums and comparisons of
float64, which are rounded the same everywhere, so chunks, batches and machines make no difference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.calibration import Calibration
from ostinato.service.artifact.distribution import Doubles, TargetForecast


class Tracked(NamedTuple):
    """What readings ``[R, n]`` came to.

    Attributes:
        after: what R sessions keep then, ``[R, width]``.
        anomaly: how surprising each reading was, ``[R, n]``: the largest of its targets' scores by their place among
            the scores before, 0 to 1, or how often the same number has come in a row, where that is too often; NaN
            where no reading, or no forecast of it, is there.
        flags: whether an anomaly, and each crossing, continues after each reading, bool ``[R, n, 1 + C]``.
        before: the same before the first, ``[R, 1 + C]``.
        seen: readings that were scored, of each target, ``[R, n, K]`` bool.
        within: which of them were within each tracked number, ``[R, n, K, L]`` bool.
    """

    after: Doubles
    anomaly: Doubles
    flags: NDArray[np.bool_]
    before: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    within: NDArray[np.bool_]

    def of(self, rows: slice) -> Tracked:
        """The part of some rows."""
        return Tracked(*(each[rows] for each in self))  # type: ignore[arg-type]


class Tracker:
    """How sessions of a calibrated version keep count.

    A session keeps a row of float64: the tracked numbers ``[1 + G, K, L]``, of scores and of changes over each lag; the
    forecast of the next reading ``[K, 3]`` (its point, and how far it reaches below and above; NaN where there is
    none); the last readings ``[M, K]``, as many as the longest lag; where repeats are counted, the last number that
    was read, and how often in a row, ``[2, K]``; and whether an anomaly and each crossing continues ``[1 + C]``.

    Args:
        forecasts: of each target of the calibration.

    Attributes:
        width: numbers of a row.
    """

    def __init__(self, calibration: Calibration, forecasts: list[TargetForecast]) -> None:
        self.calibration, self.forecasts = calibration, forecasts
        self._num_targets, self._num_levels = len(forecasts), len(calibration.levels)
        self._num_kept = max(calibration.lags, default=0)
        targets = calibration.targets
        begin = [[target.scores for target in targets]]
        begin += [[target.changes[place] for target in targets] for place in range(len(calibration.lags))]
        self._begin = np.array(begin, np.float64)
        self._most_repeats = np.array([target.most_repeats for target in targets], np.float64)
        num_repeats = 2 * self._num_targets * bool(self._most_repeats.any())
        sizes = [self._begin.size, 3 * self._num_targets, self._num_kept * self._num_targets, num_repeats]
        ends = np.cumsum(sizes).tolist()
        self._scores, self._forecast = slice(ends[0]), slice(ends[0], ends[1])
        self._readings, self._repeats = slice(ends[1], ends[2]), slice(ends[2], ends[3])
        self._flags = slice(ends[3], None)
        self.width = ends[3] + 1 + len(calibration.crossings)
        self._least, self._most = self._begin * calibration.least, self._begin * calibration.most
        self._raises, self._lowers = np.array(calibration.raises), np.array(calibration.lowers)
        self._levels = np.array([0.0, *calibration.levels, 1.0])
        self._above = np.array([each.above is not None for each in calibration.crossings], bool)
        self._limits = np.array([each.limit for each in calibration.crossings])
        self._backs = np.array([each.back_at for each in calibration.crossings])

    def initial(self) -> Doubles:
        """The row of a session that has no step."""
        row = np.full(self.width, np.nan)
        row[self._scores], row[self._flags] = self._begin.ravel(), 0.0
        row[self._repeats.start + self._num_targets : self._repeats.stop] = 0.0
        return row

    def numbers_of(self, rows: Doubles) -> Doubles:
        """The tracked numbers of rows ``[..., width]``, ``[..., 1 + G, K, L]``, rising with their levels.

        Each is tracked alone, so two may have passed each other; the greater of them then counts for both.
        """
        return np.maximum.accumulate(rows[..., self._scores].reshape(*rows.shape[:-1], *self._begin.shape), axis=-1)

    def track(self, rows: Doubles, readings: Doubles, limited: Doubles, numbers: NDArray[Any]) -> Tracked:
        """Take ``n`` steps in.

        Args:
            rows: what the sessions keep, ``[R, width]``.
            readings: of the targets, ``[R, n, K]``; NaN where missing.
            limited: of the features with crossings, ``[R, n, C]``.
            numbers: what was answered to each step, ``[R, n, O]``.
        """
        num_rows, num_steps = readings.shape[:2]
        forecasts = np.empty((num_rows, num_steps + 1, self._num_targets, 3))
        forecasts[:, 0] = rows[:, self._forecast].reshape(num_rows, self._num_targets, 3)
        for place, target in enumerate(self.forecasts):
            forecasts[:, 1:, place, 0] = target.points(numbers)[..., 0]
            forecasts[:, 1:, place, 1:] = target.reaches(numbers)[..., 0, :]
        scores = scores_of(readings, forecasts[:, :-1])
        past = np.concatenate(
            [rows[:, self._readings].reshape(num_rows, self._num_kept, self._num_targets), readings], axis=1
        )
        changes = [
            np.abs(readings - past[:, self._num_kept - lag : self._num_kept - lag + num_steps])
            for lag in self.calibration.lags
        ]
        tracked, last = self._follow(rows[:, self._scores], np.stack([scores, *changes], axis=2))
        of_scores = tracked[:, :, 0]
        anomaly = np.fmax.reduce(self._places(of_scores, scores), axis=-1)
        after = np.empty_like(rows)
        if self._repeats.start < self._repeats.stop:
            stuck, after[:, self._repeats] = self._stuck(rows[:, self._repeats], readings)
            anomaly = np.fmax(anomaly, np.fmax.reduce(stuck, axis=-1))
        before = rows[:, self._flags] > 0
        flags = self._flags_after(before, anomaly, limited)
        after[:, self._scores] = last.reshape(num_rows, -1)
        after[:, self._forecast] = forecasts[:, -1].reshape(num_rows, -1)
        after[:, self._readings] = past[:, num_steps:].reshape(num_rows, -1)
        after[:, self._flags] = flags[:, -1]
        seen = ~np.isnan(scores)
        return Tracked(after, anomaly, flags, before, seen, (scores[..., None] <= of_scores) & seen[..., None])

    def _follow(self, tracked: Doubles, scores: Doubles) -> tuple[Doubles, Doubles]:
        """The tracked numbers before each of n scores ``[R, n, 1 + G, K]``, ``[R, n, 1 + G, K, L]``, and those after
        the last.
        """
        current = tracked.reshape(len(tracked), *self._begin.shape)
        along = np.empty((*scores.shape, self._num_levels))
        spread = scores[..., None]
        # A missing score changes nothing: NaN is above no number, and multiplies by 1.
        lowers = np.where(np.isnan(spread), 1.0, self._lowers)
        for step in range(scores.shape[1]):
            along[:, step] = current
            current = current * np.where(spread[:, step] > current, self._raises, lowers[:, step])
            current = np.minimum(np.maximum(current, self._least), self._most)
        return along, current

    def _stuck(self, kept: Doubles, readings: Doubles) -> tuple[Doubles, Doubles]:
        """How anomalous readings ``[R, n, K]`` are by how often the same number has come in a row, NaN where that is
        not too often; and what is kept of it. A reading that is missing is passed over.

        With most repeats m and level l, the r-th in a row is at 1 - (1 - l) (m / r)^2, as what is beyond the last.
        """
        last, count = kept.reshape(len(kept), 2, self._num_targets).transpose(1, 0, 2)
        counts = np.empty_like(readings)
        for step in range(readings.shape[1]):
            reading = readings[:, step]
            is_known = ~np.isnan(reading)
            count = np.where(is_known, np.where(reading == last, count + 1.0, 1.0), count)
            last = np.where(is_known, reading, last)
            counts[:, step] = np.where(is_known, count, 0.0)
        most = self._most_repeats
        with np.errstate(divide="ignore", invalid="ignore"):
            places = 1.0 - (1.0 - self._levels[-2]) * (most / counts) * (most / counts)
        stuck: Doubles = np.where((counts > most) & (most > 0), places, np.nan)
        return stuck, np.concatenate([last, count], axis=1)

    def _places(self, tracked: Doubles, scores: Doubles) -> Doubles:
        """The place of scores ``[..., K]`` among tracked numbers ``[..., K, L]``, 0 to 1.

        Between two of them by straight line; beyond the last, with level l and number q, 1 - (1 - l) (q / score)^2.
        """
        numbers = np.maximum.accumulate(tracked, axis=-1)
        below = (numbers < scores[..., None]).sum(axis=-1)
        bounds = np.concatenate([np.zeros((*scores.shape, 1)), numbers, numbers[..., -1:]], axis=-1)
        low = np.take_along_axis(bounds, below[..., None], axis=-1)[..., 0]
        high = np.take_along_axis(bounds, below[..., None] + 1, axis=-1)[..., 0]
        is_beyond = below == self._num_levels
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(is_beyond, 1.0 - (low / scores) * (low / scores), (scores - low) / (high - low))
        places: Doubles = self._levels[below] + part * (self._levels[below + 1] - self._levels[below])
        return places

    def _flags_after(self, before: NDArray[np.bool_], anomaly: Doubles, limited: Doubles) -> NDArray[np.bool_]:
        """What goes on after each step, ``[R, n, 1 + C]``: what has begun stays until it ends."""
        alarm = self.calibration.alarm
        begins = np.concatenate(
            [
                (anomaly >= alarm.begin)[..., None],
                np.where(self._above, limited > self._limits, limited < self._limits),
            ],
            axis=-1,
        )
        flags: NDArray[np.bool_] = np.zeros_like(begins)
        if not before.any() and not begins.any():
            return flags
        ends = np.concatenate(
            [(anomaly <= alarm.end)[..., None], np.where(self._above, limited <= self._backs, limited >= self._backs)],
            axis=-1,
        )
        current = before
        for step in range(begins.shape[1]):
            current = flags[:, step] = begins[:, step] | (current & ~ends[:, step])
        return flags


def scores_of(readings: Doubles, forecasts: Doubles) -> Doubles:
    """How far readings ``[..., K]`` were from forecasts ``[..., K, 3]``, in what these reach to that side; NaN where
    one of the two is missing, infinity where a forecast reaches nowhere and was not met.
    """
    difference = readings - forecasts[..., 0]
    reach = np.where(difference < 0, forecasts[..., 1], forecasts[..., 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, np.abs(difference) / reach)
