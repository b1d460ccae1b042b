"""A linear autoregression, fitted by least squares, that feeds itself; ``naive_forecasts.py`` has what needs no fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.series import Floats, Series
from ostinato.models.rivals.lag_table import filled_values
from ostinato.naive_forecasts import last_seen_values

# Of the autoregression: so many of the last steps, and how many rows for each weight it takes to learn them.
_LAST_STEPS = 6
_ROWS_PER_WEIGHT = 5
# Keeps weights finite where lags say the same: of the mean square of a lag.
_RIDGE = 1e-6


@dataclass(frozen=True)
class Autoregression:
    """A linear autoregression, ``y(t) = c + sum over the lags l of w_l y(t - l)``, its own forecasts fed back.

    The lags are the last few steps and those around a season before; where a value is missing, that before it counts.
    """

    lags: tuple[int, ...]
    weights: NDArray[np.float64]

    @classmethod
    def fit(cls, series: Sequence[Series], target: int, season_steps: int) -> Autoregression | None:
        """By least squares on the training parts; None = there is too little to learn from."""
        season = {season_steps - 1, season_steps, season_steps + 1} if season_steps > _LAST_STEPS + 1 else set[int]()
        lags = tuple(sorted({*range(1, _LAST_STEPS + 1), *season}))
        rows, truths = [], []
        for one in series:
            known = one.truth[: one.validation_start, target]
            steps = np.arange(lags[-1], len(known))
            if not len(steps):
                continue
            filled = last_seen_values(known).astype(np.float64)
            rows.append(np.stack([filled[steps - lag] for lag in lags], axis=1))
            truths.append(known[steps])
        if not rows:
            return None
        table, truth = np.concatenate(rows), np.concatenate(truths).astype(np.float64)
        table = np.concatenate([table, np.ones((len(table), 1))], axis=1)
        whole = ~np.isnan(table).any(axis=1) & ~np.isnan(truth)
        table, truth = table[whole], truth[whole]
        if len(truth) < _ROWS_PER_WEIGHT * table.shape[1]:
            return None
        ridge = _RIDGE * np.mean(table[:, :-1] ** 2, axis=0).mean() * len(table)
        penalty = np.diag([ridge] * len(lags) + [0.0])
        return cls(lags, np.linalg.solve(table.T @ table + penalty, table.T @ truth))

    def forecast(self, target: Floats, origins: range, num_steps: int) -> Floats:
        """``[n, num_steps]``; before its first value a series counts as if it had begun with it."""
        filled = filled_values(target)
        at = np.array(origins)
        made: list[NDArray[np.float64]] = []
        for ahead in range(1, num_steps + 1):
            forecast = np.full(len(at), self.weights[-1])
            for lag, weight in zip(self.lags, self.weights[:-1], strict=True):
                forecast += weight * (made[ahead - lag - 1] if lag < ahead else filled[np.maximum(at + ahead - lag, 0)])
            made.append(forecast)
        return np.stack(made, axis=1).astype(np.float32)
