from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.series import Dataset, Floats, Series, TrainingStatistics
from ostinato.models.errors import DataError
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.rivals.forecasts import PERSISTENCE, SEASONAL_NAIVE, last_value
from ostinato.models.rivals.lag_table import ForecastTask
from ostinato.models.rivals.rival import NETWORK, Rival
from ostinato.models.scores.forecaster import (
    check_scores,
    coverage,
    interval_coverage,
    judge,
    mean_absolute_errors,
    pinball_losses,
)
from ostinato.models.training.forecasting import origins_of
from ostinato.naive_forecasts import persistence

NAN = float("nan")
STATISTICS = TrainingStatistics((2.0,), (1.0,), (1.0,), (3.0,), (0.0,))


def one(level: list[float], test_start: int, validation_start: int, name: str = "") -> Series:
    values = np.array(level, np.float32)[:, None]
    times = np.arange(len(values)).astype("datetime64[h]").astype("datetime64[s]")
    return Series(name, values, values, np.empty(0, np.float32), times, validation_start, test_start)


def dataset_of(*series: Series) -> Dataset:
    return Dataset(("level",), ("level",), series, {}, STATISTICS, STATISTICS, "")


def series(level: list[float], test_start: int) -> Dataset:
    return dataset_of(one(level, test_start, test_start - 1))


def test_scores_are_those_of_the_test_part_over_steps_that_all_can_forecast() -> None:
    dataset = dataset_of(one([1, 2, 3, 4, 10, NAN, 13, 11], 4, 3))
    # A network that is persistence, as one that has learned nothing.
    [scores] = judge(
        lambda given, origins: persistence(given.truth[:, 0], origins, 1)[:, :, None, None],
        Forecasts(),
        dataset,
        origins_of(dataset, "test", 1),
        1,
        season_steps=2,
    )
    # Scored: 10, 13 and 11: 4, then 10 over the hole, then 13.
    assert scores.scored.sum() == 3
    assert scores.mean_mae(PERSISTENCE) == scores.mean_mae(NETWORK) == pytest.approx((6 + 3 + 2) / 3)
    # Two steps before: 3, 10, and 4 for the hole two steps before 11.
    assert scores.mean_mae(SEASONAL_NAIVE) == pytest.approx((7 + 3 + 7) / 3)
    metrics = scores.metrics()
    assert (metrics["first_time"], metrics["last_time"]) == ("1970-01-01T04:00:00", "1970-01-01T07:00:00")


def test_each_series_of_a_panel_is_scored_by_its_own_past() -> None:
    dataset = dataset_of(one([1, 2, 3, 4, 6], 4, 3, "a"), one([100, 100, 100, 100, 90, 85], 4, 3, "b"))
    [scores] = judge(
        lambda given, origins: persistence(given.truth[:, 0], origins, 1)[:, :, None, None],
        Forecasts(),
        dataset,
        origins_of(dataset, "test", 1),
        1,
        season_steps=1,
    )
    assert scores.names == ("a", "b")
    assert scores.mean_mae(PERSISTENCE) == pytest.approx((2 + 10 + 5) / 3)
    assert scores.series.tolist() == [0, 1, 1]


def test_errors_and_coverage_by_hand() -> None:
    truth = np.array([[5.0, 1.0], [2.0, 9.0]], np.float32)
    forecasts = np.array([[[1, 4, 6], [2, 3, 4]], [[2, 3, 8], [0, 5, 6]]], np.float32)
    scored = np.array([[True, True], [True, False]])
    # One ahead: |4-5| and |3-2|; two ahead: |3-1|, and 9 is not scored.
    assert mean_absolute_errors(forecasts[..., 1], truth, scored) == (1.0, 2.0)
    # Of 5, 1, 2 at or below the low: 1, 2; the median: 1, 2; the high: all.
    assert coverage(forecasts, truth, scored) == pytest.approx((2 / 3, 2 / 3, 1.0))
    # One ahead 5 in 1..6 and 2 in 2..8; two ahead 1 is not in 2..4.
    assert interval_coverage(forecasts, truth, scored) == (1.0, 0.0)


def test_pinball_losses_by_hand() -> None:
    truth = np.array([[5.0], [2.0], [7.0]], np.float32)
    forecasts = np.array([[[4, 6]], [[3, 3]], [[0, 0]]], np.float32)
    scored = np.array([[True], [True], [False]])
    # At 0.1: 5 is 1 above 4, 0.1; 2 is 1 below 3, 0.9. At 0.5: half of 1 and half of 1. The 7 is not scored.
    assert pinball_losses(forecasts, truth, scored, (0.1, 0.5)) == pytest.approx(np.array([[0.5, 0.5]]))


def test_rivals_stand_next_to_the_network_with_their_quantiles_and_with_what_is_missing() -> None:
    dataset = dataset_of(one([1, 2, 3, 4, 10, 13], 4, 3))
    rivals: tuple[Rival[ForecastTask, Floats], ...] = (
        Rival(PERSISTENCE, last_value),
        Rival("always 10", lambda task: np.full((2, 1, len(task.levels)), 10, np.float32)),
        Rival("never learned", lambda _task: None),
        Rival("oracle", lambda _task: np.zeros((2, 1, 1), np.float32), library="a_library_of_nobody"),
    )
    [scores] = judge(
        lambda _given, origins: np.zeros((len(origins), 1, 1, 3), np.float32),
        Forecasts("pinball", (0.1, 0.5, 0.9)),
        dataset,
        origins_of(dataset, "test", 1),
        1,
        season_steps=2,
        rivals=rivals,
    )
    assert list(scores.points) == [NETWORK, PERSISTENCE, "always 10"]
    assert scores.mean_mae("always 10") == pytest.approx((0 + 3) / 2)
    # 13 is 3 above 10: 0.1, 0.5 and 0.9 of 3, added up; 10 is right.
    assert scores.metrics()["pinball"]["always 10"] == pytest.approx((0.1 + 0.5 + 0.9) * 3 / 2)
    assert scores.missing == "the rival 'oracle' is left out, since a_library_of_nobody cannot be loaded: " + (
        "No module named 'a_library_of_nobody'"
    )


def test_a_season_longer_than_the_history_is_refused_with_both_numbers() -> None:
    check_scores(series([1, 2, 3, 4, 5, 6], 4), 1, season_steps=4)
    with pytest.raises(DataError, match=r"data\.season_steps is 5, and the history before the test part has 4 steps"):
        check_scores(series([1, 2, 3, 4, 5, 6], 4), 1, season_steps=5)


def test_a_test_part_that_cannot_be_scored_is_refused() -> None:
    # The only value of the test part is at the fifth step, and three before it there is none.
    with pytest.raises(DataError, match=r"no step of the test part can be scored: .*one whole seasons of 3 steps"):
        check_scores(series([1, NAN, 3, NAN, 5, NAN], 4), 1, season_steps=3)
    check_scores(series([1, NAN, 3, NAN, 5, NAN], 4), 1, season_steps=2)


def test_a_test_part_that_cannot_be_scored_at_each_horizon_is_refused() -> None:
    # Of the test part only its first value is known: nothing can be scored two steps ahead.
    with pytest.raises(DataError, match=r"no forecast 2 steps ahead can be scored: .* a value of 'level'"):
        check_scores(series([1, 2, 3, 4, 5, NAN, NAN], 4), 2, season_steps=2)


def test_a_target_that_never_changes_in_the_test_part_is_refused() -> None:
    with pytest.raises(DataError, match=r"'level' never changes in the test part"):
        check_scores(series([1, 2, 3, 4, 4, 4], 4), 1, season_steps=2)
