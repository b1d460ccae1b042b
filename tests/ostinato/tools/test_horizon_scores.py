from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ostinato.tools.horizon_report import lines
from ostinato.tools.horizon_scores import (
    TargetForecasts,
    naive_points,
    naive_scale,
    quantile_features,
    score,
    together,
    truth_ahead,
)

NAN = float("nan")
VALUES = np.array([1.0, 2.0, 4.0, NAN, 6.0, 9.0])


def test_truth_and_naive_forecasts_stand_side_by_side() -> None:
    np.testing.assert_array_equal(truth_ahead(VALUES, [1, 4], 2), [[4, NAN], [9, NAN]])
    points = naive_points(VALUES, [2, 4], 3, 2)
    assert points["persistence"].tolist() == [[4.0] * 3, [6.0] * 3]
    # Season 2: behind step 2 the values at 1, 2, 1; behind step 4 the one at 3 is a hole, so that at 1; then 4, and 1.
    assert points["seasonal naive"].tolist() == [[2.0, 4.0, 2.0], [2.0, 6.0, 2.0]]
    assert list(naive_points(VALUES, [2], 1, 1)) == ["persistence"]


def test_the_scale_is_the_naive_error_over_what_is_known() -> None:
    assert naive_scale(VALUES, 1) == (1 + 2 + 3) / 3
    assert naive_scale(VALUES, 2) == (3 + 2) / 2
    for without in (VALUES[:1], np.array([3.0, 3.0, 3.0])):
        assert np.isnan(naive_scale(without, 1))


def forecasts(scale: float = 2.0) -> TargetForecasts:
    truth = np.array([[1.0, 5.0], [4.0, NAN], [0.0, 2.0]])
    model = np.array([[2.0, 1.0], [4.0, 7.0], [3.0, NAN]])
    persistence = np.array([[3.0, 3.0], [5.0, 5.0], [0.0, 0.0]])
    # The lowest and the highest lie 1 below and 2 above.
    quantiles = np.stack([model - 1, model, model + 2], axis=-1)
    points = {"model": model, "persistence": persistence}
    return TargetForecasts("load", truth, points, np.full(3, scale), (0.1, 0.5, 0.9), quantiles)


def test_errors_are_over_what_came_and_what_every_forecast_is_a_number_for() -> None:
    found = score(forecasts())
    # One step ahead errors 1, 0, 3 and 2, 1, 0; two steps ahead only the first: 4 and 2.
    assert found.num_scored == [3, 1]
    assert found.mae == {"model": [4 / 3, 4.0], "persistence": [1.0, 2.0]}
    assert found.rmse == {"model": [pytest.approx((10 / 3) ** 0.5), 4.0], "persistence": [(5 / 3) ** 0.5, 2.0]}
    assert found.mase["model"] == [pytest.approx(2 / 3), 2.0]
    assert found.skill == {"model": [pytest.approx(-1 / 3), -1.0]}


def test_quantiles_have_their_pinball_loss_and_their_coverage() -> None:
    found = score(forecasts())
    # One step ahead 1 in [1, 4] and 4 in [3, 6], 0 not in [2, 5]; two steps ahead 5 not in [0, 3].
    assert found.coverage == [pytest.approx(2 / 3), 0.0]
    assert found.nominal == 0.8
    # Two steps ahead, gaps 5, 4, 2: 0.1 x 5, 0.5 x 4, 0.9 x 2.
    assert found.pinball[1] == pytest.approx((0.5 + 2.0 + 1.8) / 3)
    # One step ahead gaps 0, -1, -3; 1, 0, -2; -2, -3, -5.
    losses = [0 + 0.5 + 0.3, 0.1 + 0 + 0.2, 1.8 + 1.5 + 0.5]
    assert found.pinball[0] == pytest.approx(sum(losses) / 9)


def test_steps_that_have_no_quantiles_are_not_counted_as_missed() -> None:
    given = forecasts()
    assert given.quantiles is not None
    quantiles = given.quantiles.copy()
    quantiles[0, 0], quantiles[:, 1] = NAN, NAN
    found = score(replace(given, quantiles=quantiles))
    # Of one step ahead 4 in [3, 6] and 0 not in [2, 5] are left.
    assert found.coverage[0] == 0.5
    assert found.pinball[0] == pytest.approx((0.1 + 0 + 0.2 + 1.8 + 1.5 + 0.5) / 6)
    assert np.isnan([found.coverage[1], found.pinball[1]]).all()
    assert found.num_scored == [3, 1]
    assert [line[-1] for line in lines(found)] == ["50.0%", "-", "-"]
    assert found.content()["coverage"] == [0.5, None]


def test_series_are_scored_together_each_by_its_own_scale() -> None:
    found = score(together([forecasts(2.0), forecasts(4.0)]))
    assert found.num_scored == [6, 2]
    assert found.mase["model"][1] == pytest.approx((4 / 2 + 4 / 4) / 2)


def test_what_is_no_number_is_none_in_a_report() -> None:
    nothing = np.full((1, 1), NAN)
    content = score(TargetForecasts("x", nothing, {"model": nothing, "persistence": nothing}, np.ones(1))).content()
    assert content["mae"] == {"model": [None], "persistence": [None]}
    assert "coverage" not in content


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("pm2.5_p50", {0.1: "pm2.5_p10", 0.5: "pm2.5_p50", 0.975: "pm2.5_p97.5"}),
        ("temp_p50_ahead_1", {0.5: "temp_p50_ahead_1", 0.9: "temp_p90_ahead_1"}),
        ("load", {}),
    ],
)
def test_quantiles_are_known_by_their_names(source: str, found: dict[float, str]) -> None:
    outputs = [
        "pm2.5_p50",
        "pm2.5_p97.5",
        "pm2.5_p10",
        "load",
        "temp_p90_ahead_1",
        "temp_p50_ahead_1",
        "temp_p50_ahead_2",
    ]
    made = quantile_features(outputs, source)
    assert made == found
    assert list(made) == sorted(made)
