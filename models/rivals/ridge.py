"""Ridge regression over lags, a solution in closed form for each step ahead: the straight line that trees must beat.

It learns the change from the last seen value; the validation part chooses the penalty. Hoerl and Kennard, 1970, "Ridge
Regression: Biased Estimation for Nonorthogonal Problems".
"""

from __future__ import annotations

import numpy as np

from ostinato.models.data.series import Floats
from ostinato.models.rivals.lag_table import ForecastTask, LagTable, Wide

# In parts of the number of rows, of columns whose spread is 1.
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_LEAST_ROWS, _MOST_ROWS = 100, 1_000_000


def ridge_over_lags(task: ForecastTask) -> Floats | None:
    """A forecast ``[n, H, 1]``; None = there is too little to learn from."""
    table = LagTable(task)
    made = []
    for ahead in range(1, task.num_steps + 1):
        parts = [table.part(part, ahead, _MOST_ROWS) for part in ("training", "validation")]
        if min(len(truth) for _, _, truth in parts) < _LEAST_ROWS:
            return None
        columns = _Columns(parts[0][0], table)
        rows, last = table.tested(ahead)
        made.append(last + columns(rows) @ _weights(columns, *parts))
    forecasts = np.stack(made, axis=1)[..., None].astype(np.float32)
    return forecasts if task.least is None else np.maximum(forecasts, np.float32(task.least))


class _Columns:
    """Rows ``[n, C]`` as numbers of one size ``[n, D]``: codes one-hot, what is missing the mean, a column of ones."""

    def __init__(self, rows: Wide, table: LagTable) -> None:
        self._codes = {place: np.unique(rows[:, place][~np.isnan(rows[:, place])]) for place in table.categorical}
        self._amounts = [place for place in range(rows.shape[1]) if place not in self._codes]
        amounts = rows[:, self._amounts]
        known = ~np.isnan(amounts)
        counts = np.maximum(1, known.sum(axis=0))
        self._mean = np.where(known, amounts, 0.0).sum(axis=0) / counts
        spread = np.sqrt((np.where(known, amounts - self._mean, 0.0) ** 2).sum(axis=0) / counts)
        self._spread = np.where(spread > 0, spread, 1.0)

    def __call__(self, rows: Wide) -> Wide:
        amounts = np.nan_to_num((rows[:, self._amounts] - self._mean) / self._spread)
        codes = [rows[:, [place]] == known for place, known in self._codes.items()]
        return np.concatenate([amounts, *codes, np.ones((len(rows), 1))], axis=1)


def _weights(columns: _Columns, training: tuple[Wide, Wide, Wide], validation: tuple[Wide, Wide, Wide]) -> Wide:
    """Those with the least absolute error on the validation part."""
    rows, last, truth = training
    x = columns(rows)
    squares, products = x.T @ x, x.T @ (truth - last)
    # What is the same in all rows costs nothing.
    free = np.append(np.ones(x.shape[1] - 1), 0.0) * len(x)
    found = [np.asarray(np.linalg.solve(squares + np.diag(p * free), products), np.float64) for p in _PENALTIES]
    rows, last, truth = validation
    x = columns(rows)
    return min(found, key=lambda weights: float(np.abs(last + x @ weights - truth).mean()))
