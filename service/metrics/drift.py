"""Drift: what a model is given next to what it was trained on, and what it forecast next to what came.

Nothing here is done for a request: some iterations are looked at (``Pace``), and of each some rows, as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.metrics.sequences import SequenceMetrics
from ostinato.service.metrics.series import Metrics, ModelMetrics

MAX_LABELS = 50
"""Features of a version that have series of their own; those behind them share the last, ``OTHERS``."""
OTHERS = "(others)"
SAMPLE_SECONDS = 0.05
"""An iteration is looked at when one has not been for so long..."""
SHARE = 0.002
"""...and for no more of the time than this."""
MAX_ROWS = 256
MAX_VALUES = 16_384
"""Rows of an iteration that are looked at, and values of them: where steps have many, fewer rows."""


@dataclass(frozen=True)
class TrainedFeature:
    """What the manifest says of one feature's values.

    Attributes:
        mean, std, least, most: in training; None = not known, or nothing to compare codes by.
        missing: the share of missing values then.
    """

    name: str
    mean: float | None = None
    std: float = 0.0
    least: float = -np.inf
    most: float = np.inf
    missing: float = 0.0


def labels_of(names: Sequence[str]) -> list[str]:
    """The label of each feature, of which there are never more than ``MAX_LABELS``."""
    if len(names) <= MAX_LABELS:
        return list(names)
    return [*names[: MAX_LABELS - 1], *[OTHERS] * (len(names) - MAX_LABELS + 1)]


class InputDrift:
    """The series of the input features of a model version.

    Args:
        expected: of each feature, in the order of the columns that ``see`` gets.
    """

    def __init__(self, metrics: ModelMetrics | SequenceMetrics, expected: Sequence[TrainedFeature]) -> None:
        labels = labels_of([each.name for each in expected])
        names = list(dict.fromkeys(labels))
        for label, each in zip(labels, expected, strict=True):
            share = metrics.metrics.input_missing_expected.labels(**metrics.model_labels, feature=label)
            share.set(max(share.read(), each.missing))
        self._groups = np.array([names.index(label) for label in labels])
        self._is_grouped = len(names) < len(labels)
        has_training = [each.mean is not None for each in expected]
        self._mean = np.array([each.mean or 0.0 for each in expected])
        # A feature that was the same throughout has no deviation to measure by: its own size is taken.
        self._std = np.array([each.std or abs(each.mean or 0.0) or 1.0 for each in expected])
        self._spread = np.array([float(each.std > 0) for each in expected])
        self._least = np.array([each.least for each in expected])
        self._most = np.array([each.most for each in expected])
        self._has_training = np.array(has_training)
        self._series = [_FeatureSeries(metrics.metrics, {**metrics.model_labels, "feature": name}) for name in names]

    def see(self, values: NDArray[Any]) -> None:
        """Take in rows of values ``[n, F]``; NaN is missing."""
        values = values.astype(np.float64)
        is_there = np.isfinite(values)
        is_out = is_there & ((values < self._least) | (values > self._most))
        with np.errstate(over="ignore", invalid="ignore"):
            standard = np.where(is_there & self._has_training, (values - self._mean) / self._std, 0.0)
            # What is beyond all measure counts as far away: one value must not make a number of infinity.
            standard = np.clip(standard, -1e6, 1e6)
            counts = is_there.sum(axis=0) * self._has_training
            columns = np.stack(
                [
                    np.full(values.shape[1], float(len(values))),
                    np.isnan(values).sum(axis=0),
                    is_out.sum(axis=0),
                    counts,
                    standard.sum(axis=0),
                    np.square(standard).sum(axis=0),
                    counts * self._spread,
                ]
            )
        if self._is_grouped:
            columns = np.stack([np.bincount(self._groups, row, len(self._series)) for row in columns])
        for series, numbers in zip(self._series, columns.T.tolist(), strict=True):
            series.see(*numbers)


class _FeatureSeries:
    def __init__(self, metrics: Metrics, labels: dict[str, str]) -> None:
        self._values = metrics.input_values.labels(**labels)
        self._missing = metrics.input_missing.labels(**labels)
        self._out_of_range = metrics.input_out_of_range.labels(**labels)
        self._distance = metrics.input_distance.labels(**labels)

    def see(
        self, values: float, missing: float, out: float, counted: float, total: float, squares: float, varied: float
    ) -> None:
        self._values.value += values
        self._missing.value += missing
        self._out_of_range.value += out
        if counted:
            self._distance.see(counted, total, squares, varied / counted)


class ForecastError:
    """The series of the features that a model version forecasts by one step, by its output."""

    def __init__(self, metrics: ModelMetrics, features: Sequence[str]) -> None:
        labels = labels_of(features)
        self._series = []
        for label in labels:
            bound = {**metrics.model_labels, "feature": label}
            own = metrics.metrics
            self._series.append(
                (
                    own.forecast_pairs.labels(**bound),
                    own.forecast_error.labels(**bound),
                    own.persistence_error.labels(**bound),
                )
            )

    def see(self, forecasts: NDArray[Any], before: NDArray[Any], values: NDArray[Any]) -> None:
        """Take in forecasts, the values that were known when they were made, and those that came: each ``[n, F]``.

        Where one of the three is not there (NaN), nothing is compared.
        """
        forecasts, before, values = (each.astype(np.float64) for each in (forecasts, before, values))
        is_there = np.isfinite(forecasts) & np.isfinite(before) & np.isfinite(values)
        if not is_there.any():
            return
        with np.errstate(over="ignore", invalid="ignore"):
            of_forecast = np.where(is_there, np.abs(forecasts - values), 0.0).sum(axis=0).tolist()
            of_persistence = np.where(is_there, np.abs(before - values), 0.0).sum(axis=0).tolist()
        counts = is_there.sum(axis=0).tolist()
        for (pairs, error, persistence), count, forecast, naive in zip(
            self._series, counts, of_forecast, of_persistence, strict=True
        ):
            if np.isfinite(forecast) and np.isfinite(naive):
                pairs.value += count
                error.value += forecast
                persistence.value += naive
