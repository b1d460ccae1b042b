from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from ostinato.models.data.series import Dataset, Series, TrainingStatistics
from ostinato.models.networks.features import Features, GivenColumns

NAN = float("nan")
STATISTICS = TrainingStatistics((1.0,), (1.0,), (0.0,), (2.0,), (0.0,))


def features_of(*targets: list[float], is_feature: bool = True) -> Features:
    """Of series that are training part throughout."""
    series = []
    for target in targets:
        values = np.array(target, np.float32)[:, None]
        times = np.arange(len(target)).astype("datetime64[s]")
        series.append(Series("", values, values, np.empty(0, np.float32), times, len(target), len(target)))
    dataset = Dataset(
        features=("level",),
        targets=("level",) if is_feature else ("flow",),
        series=tuple(series),
        categories={},
        statistics=STATISTICS,
        target_statistics=TrainingStatistics((5.0,), (3.0,), (0.0,), (9.0,), (0.0,)),
        sha256="",
    )
    return Features.of(dataset)


def unit_of(*targets: list[float]) -> float:
    return features_of(*targets).targets[0].unit


def test_the_unit_of_changes_is_their_spread_and_where_they_are_one_their_size() -> None:
    # By 4 up and by 2 down: 3 from the mean each.
    assert unit_of([0.0, 4.0, 2.0, 6.0, 4.0]) == pytest.approx(3.0)
    assert unit_of([0.1 * step for step in range(50)]) == pytest.approx(0.1, rel=1e-3)
    assert unit_of([1.0, NAN, 2.0]) == unit_of([1.0, 1.0]) == 1.0


def test_from_one_series_to_the_next_nothing_changes() -> None:
    assert unit_of([0.0, 4.0, 2.0], [1000.0, 1004.0, 1002.0]) == pytest.approx(3.0)


def test_a_target_that_is_no_feature_is_counted_from_its_mean_in_its_spread() -> None:
    (target,) = features_of([0.0, 4.0], is_feature=False).targets
    assert (target.name, target.place, target.base, target.unit) == ("flow", None, 5.0, 3.0)


def test_what_stands_for_a_code_never_seen_is_a_code() -> None:
    statistics = TrainingStatistics((10.0, 0.6), (1.0,) * 2, (0.0,) * 2, (9.0,) * 2, (0.0,) * 2)
    assert GivenColumns(("level", "wind"), (0, 3), statistics).initial_values() == [10.0, 1.0]


def test_what_a_run_keeps_is_read_back_the_same() -> None:
    features = features_of([0.0, 4.0, 2.0])
    assert Features.of_content(asdict(features)) == features
