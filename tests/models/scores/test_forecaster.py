from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.series import Dataset, TrainingStatistics
from ostinato.models.data.series_recipe import NetworkRecipe
from ostinato.models.errors import DataError
from ostinato.models.networks.recurrent import Features, build_forecaster
from ostinato.models.scores.forecaster import check_scores, score

NAN = float("nan")


def test_scores_are_those_of_the_test_part_over_steps_that_all_three_can_forecast() -> None:
    values = np.array([1, 2, 3, 4, 10, NAN, 13, 11], np.float32)[:, None]
    statistics = TrainingStatistics((2.0,), (1.0,), (1.0,), (3.0,), (0.0,))
    dataset = Dataset(
        features=("level",),
        target="level",
        values=values,
        times=np.arange(8).astype("datetime64[h]").astype("datetime64[s]"),
        validation_start=3,
        test_start=4,
        categories={},
        statistics=statistics,
        sha256="",
    )
    network = build_forecaster(Features(("level",), (0,), 0, statistics, 1.0), NetworkRecipe(cell="gru"))
    scores = score(network, dataset, season_steps=2)
    # Scored: 10, 13 and 11. Untrained, the network is persistence: 4, then 10 over the hole, then 13.
    assert scores.num_scored_steps == 3
    assert scores.persistence_mae == scores.mae == pytest.approx((6 + 3 + 2) / 3)
    # Two steps before: 3, 10, and 4 for the hole two steps before 11.
    assert scores.seasonal_naive_mae == pytest.approx((7 + 3 + 7) / 3)
    assert (scores.first_time, scores.last_time) == ("1970-01-01T04:00:00", "1970-01-01T07:00:00")


def series(level: list[float], test_start: int) -> Dataset:
    values = np.array(level, np.float32)[:, None]
    return Dataset(
        features=("level",),
        target="level",
        values=values,
        times=np.arange(len(values)).astype("datetime64[h]").astype("datetime64[s]"),
        validation_start=test_start - 1,
        test_start=test_start,
        categories={},
        statistics=TrainingStatistics((2.0,), (1.0,), (1.0,), (3.0,), (0.0,)),
        sha256="",
    )


def test_a_season_longer_than_the_history_is_refused_with_both_numbers() -> None:
    check_scores(series([1, 2, 3, 4, 5, 6], 4), season_steps=4)
    with pytest.raises(DataError, match=r"data\.season_steps is 5, and the history before the test part has 4 steps"):
        check_scores(series([1, 2, 3, 4, 5, 6], 4), season_steps=5)


def test_a_test_part_that_cannot_be_scored_is_refused() -> None:
    # The only value of the test part is at the fifth step, and three before it there is none.
    with pytest.raises(DataError, match=r"no step of the test part can be scored: .*one whole seasons of 3 steps"):
        check_scores(series([1, NAN, 3, NAN, 5, NAN], 4), season_steps=3)
    check_scores(series([1, NAN, 3, NAN, 5, NAN], 4), season_steps=2)


def test_a_target_that_never_changes_in_the_test_part_is_refused() -> None:
    with pytest.raises(DataError, match=r"'level' never changes in the test part"):
        check_scores(series([1, 2, 3, 4, 4, 4], 4), season_steps=2)
