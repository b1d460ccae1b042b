from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.metrics.drift import MAX_LABELS, OTHERS, ForecastError, InputDrift, TrainedFeature, labels_of
from ostinato.service.metrics.series import Metrics, ModelMetrics

NAN, INF = float("nan"), float("inf")


def series(metrics: Metrics, name: str) -> dict[str, Any]:
    """A series by its feature."""
    (family,) = (family for family in metrics.families if family.name == name)
    return {labels[-1]: numbers[0] for labels, numbers in family.numbers().items()}


def drift(*expected: TrainedFeature) -> tuple[Metrics, InputDrift]:
    metrics = Metrics()
    return metrics, InputDrift(ModelMetrics(metrics, "m", "1"), expected)


def test_missing_values_and_those_beyond_the_training_are_counted_by_feature() -> None:
    metrics, seen = drift(TrainedFeature("a", 0.0, 1.0, -2.0, 2.0), TrainedFeature("b", 0.0, 1.0, -1.0, 1.0))
    seen.see(np.array([[0, 5], [2, NAN], [-2.5, NAN], [INF, 1]], np.float32))
    assert series(metrics, "input_values_total") == {"a": 4, "b": 4}
    assert series(metrics, "input_missing_total") == {"a": 0, "b": 2}
    # -2.5 of a, and 5 of b; both ends of a range are in it, and infinity is beyond measure.
    assert series(metrics, "input_out_of_range_total") == {"a": 1, "b": 1}


def test_every_series_of_a_feature_is_there_before_anything_comes() -> None:
    metrics, _ = drift(TrainedFeature("a", 0.0, 1.0, -2.0, 2.0, missing=0.25), TrainedFeature("code"))
    for name in ("input_values_total", "input_missing_total", "input_out_of_range_total", "input_distance"):
        assert series(metrics, name) == {"a": 0, "code": 0}
    assert series(metrics, "input_missing_expected") == {"a": 0.25, "code": 0}


def distance(metrics: Metrics, feature: str) -> float:
    return metrics.input_distance.labels(model="m", version="1", feature=feature).read()


def test_the_distance_is_measured_in_the_deviations_of_the_training() -> None:
    metrics, seen = drift(
        TrainedFeature("a", 10.0, 2.0, 0.0, 20.0), TrainedFeature("code"), TrainedFeature("still", 4.0, 0.0, 4.0, 4.0)
    )
    # a: 10 +- 2 as in training, then 16 +- 2: three deviations away, of half of the values.
    seen.see(np.array([[8.0, 1, 4], [12, 7, 4]] * 50))
    assert [distance(metrics, name) for name in ("a", "code", "still")] == pytest.approx([0, 0, 0], abs=1e-6)
    seen.see(np.array([[14.0, 1, 8], [18, 7, 8]] * 50))
    # Mean 1.5, and deviation sqrt(1 + 1.5^2) = 1.80 in place of 1.
    assert distance(metrics, "a") == pytest.approx(np.hypot(1.5, np.sqrt(3.25) - 1), abs=1e-4)
    # One that never varied is measured by its own size: half of the values are 1 away, so mean and deviation are 1 / 2.
    assert distance(metrics, "still") == pytest.approx(np.hypot(0.5, 0.5), abs=1e-4)
    assert distance(metrics, "code") == 0


def test_one_value_beyond_all_measure_leaves_numbers() -> None:
    metrics, seen = drift(TrainedFeature("a", 0.0, 1e-300, -1.0, 1.0))
    seen.see(np.full((40, 1), 3e38, np.float32))
    assert np.isfinite(distance(metrics, "a"))


def test_features_beyond_the_labels_there_may_be_share_one() -> None:
    names = [f"f{number}" for number in range(MAX_LABELS + 10)]
    metrics, seen = drift(*[TrainedFeature(name, 0.0, 1.0, -1.0, 1.0) for name in names])
    seen.see(np.array([[NAN] * len(names)]))
    missing = series(metrics, "input_missing_total")
    assert len(missing) == MAX_LABELS
    assert missing["f0"] == 1
    assert missing[OTHERS] == 11
    assert labels_of(names[:MAX_LABELS]) == names[:MAX_LABELS]


def test_forecasts_and_the_value_before_are_compared_with_what_came() -> None:
    metrics = Metrics()
    errors = ForecastError(ModelMetrics(metrics, "m", "1"), ["a", "b"])
    assert series(metrics, "forecast_pairs_total") == {"a": 0, "b": 0}
    forecasts, before, values = (
        np.array([[1.0, 5], [2, 5]]),
        np.array([[0.0, 5], [5, NAN]]),
        np.array([[3.0, 5], [2, 9]]),
    )
    errors.see(forecasts, before, values)
    # a: |1 - 3| + |2 - 2|, and |0 - 3| + |5 - 2|; b: of the second nobody knows the value before.
    assert series(metrics, "forecast_pairs_total") == {"a": 2, "b": 1}
    assert series(metrics, "forecast_error_total") == {"a": 2, "b": 0}
    assert series(metrics, "persistence_error_total") == {"a": 6, "b": 0}
