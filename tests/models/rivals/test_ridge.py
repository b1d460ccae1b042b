from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ostinato.models.rivals.forecasts import autoregression, last_value
from ostinato.models.rivals.lag_table import LagTable
from ostinato.models.rivals.ridge import ridge_over_lags
from tests.models.rivals.series import task_of, windy


def test_ridge_is_the_least_squares_of_a_few_lines_with_the_penalty_that_validation_likes_best() -> None:
    task = task_of(windy())
    table = LagTable(task)
    (rows, last, truth), (asked, asked_last, wanted) = (
        table.part(name, 1, 10**9) for name in ("training", "validation")
    )
    tested, tested_last = table.tested(1)
    codes, amounts = table.categorical, [place for place in range(rows.shape[1]) if place not in table.categorical]
    mean, spread = np.nanmean(rows[:, amounts], axis=0), np.nanstd(rows[:, amounts], axis=0)

    def columns(given: np.ndarray) -> np.ndarray:
        scaled = np.nan_to_num((given[:, amounts] - mean) / np.where(spread > 0, spread, 1))
        return np.hstack([scaled, *(np.eye(2)[given[:, place].astype(int)] for place in codes)])

    x = columns(rows)
    centre, change = x.mean(axis=0), truth - last
    best = (np.inf, np.zeros(0))
    for penalty in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        # A line of least squares over rows that are added for the penalty; the constant is free.
        longer = np.vstack([x - centre, np.sqrt(penalty * len(x)) * np.eye(x.shape[1])])
        weights = np.linalg.lstsq(longer, np.append(change - change.mean(), np.zeros(x.shape[1])), rcond=None)[0]
        error = np.abs(asked_last + (columns(asked) - centre) @ weights + change.mean() - wanted).mean()
        best = min(
            best, (error, tested_last + (columns(tested) - centre) @ weights + change.mean()), key=lambda b: b[0]
        )
    found = ridge_over_lags(task)
    assert found is not None
    assert found[:, 0, 0] == pytest.approx(best[1], abs=1e-4)


def test_it_knows_the_wind_that_an_autoregression_does_not() -> None:
    task = task_of(windy(), num_steps=2)
    ahead = [task.dataset.only.truth[np.array(task.tested[0][1]) + step, 0] for step in (1, 2)]
    errors = []
    for rival in (ridge_over_lags, autoregression, last_value):
        made = rival(task)
        assert made is not None
        errors.append([float(np.nanmean(np.abs(made[:, step, 0] - ahead[step]))) for step in (0, 1)])
    assert errors[0][0] < 0.3 < 1.0 < min(errors[1][0], errors[2][0])
    assert errors[0][1] < min(errors[1][1], errors[2][1])


def test_nothing_is_learned_from_the_test_part() -> None:
    task = task_of(windy())
    series = task.dataset.only
    truth = series.truth.copy()
    # The last value of all is what the last forecast is about, and in no row of lags.
    truth[-1] = 99.0
    changed = replace(series, truth=truth)
    other = replace(task, dataset=replace(task.dataset, series=(changed,)), tested=[(changed, task.tested[0][1])])
    one, two = ridge_over_lags(task), ridge_over_lags(other)
    assert one is not None
    assert two is not None
    assert one.tobytes() == two.tobytes()


def test_too_few_rows_make_no_ridge_and_no_forecast_falls_below_the_least() -> None:
    assert ridge_over_lags(task_of(windy(120))) is None
    found = ridge_over_lags(replace(task_of(windy()), least=8.0))
    assert found is not None
    assert found.min() == 8.0
