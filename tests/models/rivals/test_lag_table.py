from __future__ import annotations

import math

import numpy as np

from ostinato.models.rivals.lag_table import LagTable, filled_values
from tests.models.rivals.series import task_of, windy


def test_a_row_has_what_is_known_at_its_step_and_nothing_later() -> None:
    task = task_of(windy(), num_steps=2)
    series = task.dataset.only
    level = [float(value) for value in series.truth[:, 0]]
    wind = [float(value) for value in series.values[:, 1]]

    def seen(step: int) -> float:
        """The last known level, and before the first the first."""
        known = [value for value in level[: max(step, 0) + 1] if not math.isnan(value)]
        return known[-1] if known else level[0]

    for step in (0, 3, 49, 120):
        lags = [seen(step - lag) for lag in range(13)]
        since = [level[step] - level[max(step - ago, 0)] for ago in (1, 3, 6, 12, 24)]
        row = [*lags, *(lags[0] - lag for lag in lags[1:]), level[step], wind[step], wind[step + 2], *since]
        found = LagTable(task).rows(series, np.array([step]), 2)[0]
        np.testing.assert_allclose(found, row, rtol=1e-6, err_msg=str(step))
    assert [row[place] for place in LagTable(task).categorical] == [wind[120], wind[122]]


def test_parts_hold_the_steps_whose_value_comes_within_them() -> None:
    task = task_of(windy(), num_steps=3)
    series = task.dataset.only
    for part in ("training", "validation"):
        start, end = series.span(part)
        wanted = [
            step
            for step in range(1000)
            if start <= step + 3 < end and step >= 0 and not math.isnan(series.truth[step + 3, 0])
        ]
        ((_, steps),) = task.learned_from(part, 3)
        assert steps.tolist() == wanted
    rows, last, truth = LagTable(task).part("training", 3, 100)
    (_, steps) = task.learned_from("training", 3)[0]
    assert len(rows) == len(last) == len(truth) <= 100
    every = -(-len(steps) // 100)
    assert truth.tolist() == series.truth[steps[::every] + 3, 0].tolist()
    assert last.tolist() == filled_values(series.truth[:, 0])[steps[::every]].tolist()
