from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.series import Series
from ostinato.models.scores.rivals import Autoregression, persistence, seasonal_naive

NAN = float("nan")


def test_persistence_looks_over_holes_and_never_ahead() -> None:
    target = np.array([1, NAN, 5], np.float32)
    assert persistence(target, range(3), 2).tolist() == [[1.0, 1.0], [1.0, 1.0], [5.0, 5.0]]


def test_the_seasonal_naive_forecast_knows_nothing_after_its_origin() -> None:
    target = np.array([1, 2, 3, 4, NAN, 60, 70], np.float32)
    # At step 4, season 2: of 5 the value at 3; of 6 that at 4, a hole, so that at 2; of 7 that of 5 again.
    assert seasonal_naive(target, range(4, 5), 3, 2).tolist() == [[4.0, 3.0, 4.0]]


def test_a_linear_autoregression_finds_its_recursion_and_feeds_itself() -> None:
    # y(t) = 0.5 y(t - 1) + 3 settles at 6; disturbed now and then, so that there is something to learn from.
    target, noise = [0.0], np.random.default_rng(0)
    for step in range(400):
        target.append(0.5 * target[-1] + 3 + (noise.normal() if step % 7 == 0 else 0.0))
    values = np.array(target, np.float32)[:, None]
    series = Series("", values, values, np.empty(0, np.float32), np.empty(0, "datetime64[s]"), 300, 350)
    found = Autoregression.fit([series], 0, season_steps=1)
    assert found is not None
    origin = 360
    (forecast,) = found.forecast(values[:, 0], range(origin, origin + 1), 3)
    last = target[origin]
    expected = [0.5 * last + 3, 0.25 * last + 4.5, 0.125 * last + 5.25]
    assert forecast == pytest.approx(expected, abs=0.3)


def test_too_few_steps_make_no_autoregression() -> None:
    values = np.arange(20, dtype=np.float32)[:, None]
    series = Series("", values, values, np.empty(0, np.float32), np.empty(0, "datetime64[s]"), 12, 16)
    assert Autoregression.fit([series], 0, season_steps=1) is None
