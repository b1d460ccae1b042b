from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.series import Series
from ostinato.models.rivals.autoregression import Autoregression
from ostinato.models.rivals.forecasts import RIVALS
from ostinato.models.rivals.rival import answers_of
from tests.models.rivals.series import series_of, task_of


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


def test_forecasts_that_grow_beyond_all_numbers_are_told() -> None:
    # It doubles at each step, from 2^50 on in the test part: 2^250 is two hundred steps later.
    doubling = 2.0 ** np.minimum(np.arange(300), 60).astype(np.float32)
    task = task_of(series_of(doubling, 48, 50), num_steps=200)
    found, sentence = answers_of([one for one in RIVALS if one.name == "linear autoregression"], task)
    assert found == {}
    assert sentence == (
        "the rival 'linear autoregression' is left out, since it failed: OverflowError: its forecasts, fed back, grow "
        "beyond all numbers"
    )
