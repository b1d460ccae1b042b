from __future__ import annotations

import numpy as np
import pytest
from statsforecast.models import Naive, SeasonalNaive

from ostinato.naive_forecasts import persistence, seasonal_naive

NAN = float("nan")


def test_persistence_looks_over_holes_and_never_ahead() -> None:
    target = np.array([1, NAN, 5], np.float32)
    assert persistence(target, range(3), 2).tolist() == [[1.0, 1.0], [1.0, 1.0], [5.0, 5.0]]


def test_the_seasonal_naive_forecast_knows_nothing_after_its_origin() -> None:
    target = np.array([1, 2, 3, 4, NAN, 60, 70], np.float32)
    # At step 4, season 2: of 5 the value at 3; of 6 that at 4, a hole, so that at 2; of 7 that of 5 again.
    assert seasonal_naive(target, range(4, 5), 3, 2).tolist() == [[4.0, 3.0, 4.0]]


@pytest.mark.parametrize("horizon", [1, 5, 17])
def test_they_are_those_of_statsforecast(horizon: int) -> None:
    values = np.random.default_rng(horizon).normal(size=80)
    origins = [20, 33, 60]
    naive = np.stack([Naive().forecast(values[: origin + 1], horizon)["mean"] for origin in origins])
    seasonal = np.stack([SeasonalNaive(7).forecast(values[: origin + 1], horizon)["mean"] for origin in origins])
    assert persistence(values, origins, horizon).tolist() == naive.tolist()
    assert seasonal_naive(values, origins, horizon, 7).tolist() == seasonal.tolist()
