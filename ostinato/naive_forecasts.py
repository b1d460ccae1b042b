"""Naive forecasts, which a model must beat: alike where it is trained, replayed and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def last_seen_values(series: NDArray[Any]) -> NDArray[Any]:
    """Each step's last value that is not NaN, ``[N]``; NaN before the first."""
    rows = np.where(np.isnan(series), 0, np.arange(len(series)))
    return series[np.maximum.accumulate(rows)]


def last_seen_of_season(series: NDArray[Any], season_steps: int) -> NDArray[Any]:
    """For each step the value one season before it; where that is missing, the one a season earlier, and so on."""
    forecast = np.full_like(series, np.nan)
    for phase in range(min(season_steps, max(0, len(series) - season_steps))):
        forecast[phase + season_steps :: season_steps] = last_seen_values(series[phase::season_steps])[:-1]
    return forecast


def persistence(target: NDArray[Any], origins: Sequence[int], num_steps: int) -> NDArray[Any]:
    """The last value seen at each origin, for all steps ahead, ``[n, num_steps]``."""
    return np.repeat(last_seen_values(target)[list(origins), None], num_steps, axis=1)


def seasonal_naive(target: NDArray[Any], origins: Sequence[int], num_steps: int, season_steps: int) -> NDArray[Any]:
    """The value whole seasons before each step ahead, as known at the origin, ``[n, num_steps]``.

    It is the one a season before; of more than a season ahead, or where it is missing, the one a season earlier.
    """
    by_season = last_seen_of_season(np.concatenate([target, np.full(season_steps, np.nan, target.dtype)]), season_steps)
    columns = []
    for ahead in range(1, num_steps + 1):
        # How far ahead the same phase of the season first comes: the later ones have the same forecast.
        first = (ahead - 1) % season_steps + 1
        columns.append(by_season[[origin + first for origin in origins]])
    return np.stack(columns, axis=1)
