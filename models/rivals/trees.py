"""Boosted trees over lags (LightGBM), the rival that is hardest to beat on tables: a model a step ahead and a quantile.

Each learns the change from the last seen value by the pinball loss, which is half the absolute error at the median. The
validation part says when to stop, and, for the median one step ahead, how many leaves a tree has; all others have as
many. Ke et al., 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree".
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ostinato.models.data.series import Floats
from ostinato.models.rivals.lag_table import ForecastTask, LagTable

_LEAVES = (7, 15, 31)
_ROUNDS, _PATIENCE = 2000, 50
# With fewer rows there is nothing to branch on; more rows of all models together, or more models, take too long.
_LEAST_ROWS, _MOST_ROWS, _MOST_MODELS = 100, 6_000_000, 150
_SETTINGS = {
    "objective": "quantile",
    "learning_rate": 0.1,
    "num_threads": 1,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def boosted_trees(task: ForecastTask) -> Floats | None:
    """The median, or each of the task's levels, ``[n, H, P]``; None = of too little, or of too much for minutes."""
    levels = task.levels or (0.5,)
    num_models = task.num_steps * len(levels)
    trees = _Trees(task, _MOST_ROWS // num_models)
    if num_models > _MOST_MODELS or trees.num_rows(1) < _LEAST_ROWS:
        return None
    tried = {num_leaves: trees.fit(1, 0.5, num_leaves) for num_leaves in _LEAVES}
    num_leaves = min(tried, key=lambda num_leaves: float(tried[num_leaves].best_score["valid_0"]["quantile"]))
    made = np.empty((sum(len(origins) for _, origins in task.tested), task.num_steps, len(levels)), np.float32)
    for ahead, (place, level) in product(range(1, task.num_steps + 1), enumerate(levels)):
        rows, last = trees.table.tested(ahead)
        model = tried[num_leaves] if (ahead, level) == (1, 0.5) else trees.fit(ahead, level, num_leaves)
        made[:, ahead - 1, place] = last + model.predict(rows)
    # Learned one by one they may cross.
    made.sort(axis=-1)
    return made if task.least is None else np.maximum(made, np.float32(task.least))


class _Trees:
    """Models over one table; what is the same for those of one step ahead is made once."""

    def __init__(self, task: ForecastTask, most_rows: int) -> None:
        self.table = LagTable(task)
        self._most_rows = most_rows
        self._ahead = 0
        self._parts: Any = None

    def num_rows(self, ahead: int) -> int:
        """How many there are to learn from, and to choose by: the smaller of both."""
        found = (self.table.task.learned_from(part, ahead) for part in ("training", "validation"))
        return min(sum(len(steps) for _, steps in series) for series in found)

    def fit(self, ahead: int, level: float, num_leaves: int) -> Any:
        """A booster of LightGBM."""
        import lightgbm

        if self._ahead != ahead:
            self._ahead, self._parts = ahead, self._datasets(ahead)
        training, validation = self._parts
        return lightgbm.train(
            {**_SETTINGS, "alpha": level, "num_leaves": num_leaves},
            training,
            _ROUNDS,
            valid_sets=[validation],
            callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        )

    def _datasets(self, ahead: int) -> Any:
        import lightgbm

        categorical = self.table.categorical
        rows, last, truth = self.table.part("training", ahead, self._most_rows)
        settings: dict[str, Any] = {"params": {"verbose": -1}, "free_raw_data": False}
        training = lightgbm.Dataset(rows, truth - last, categorical_feature=categorical, **settings)
        rows, last, truth = self.table.part("validation", ahead, self._most_rows)
        return training, lightgbm.Dataset(rows, truth - last, reference=training, **settings)
