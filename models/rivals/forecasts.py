"""The rivals of forecasters: from what needs no training to boosted trees."""

from __future__ import annotations

import numpy as np

from ostinato.models.data.series import Floats
from ostinato.models.rivals.autoregression import Autoregression
from ostinato.models.rivals.lag_table import ForecastTask
from ostinato.models.rivals.ridge import ridge_over_lags
from ostinato.models.rivals.rival import Rival
from ostinato.models.rivals.trees import boosted_trees
from ostinato.naive_forecasts import persistence, seasonal_naive

PERSISTENCE, SEASONAL_NAIVE = "persistence", "seasonal naive"


def last_value(task: ForecastTask) -> Floats:
    """The last seen value, ``[n, H, 1]``."""
    made = [persistence(task.truth(series), origins, task.num_steps) for series, origins in task.tested]
    return np.concatenate(made)[..., None]


def last_season(task: ForecastTask) -> Floats:
    """The value of whole seasons before, ``[n, H, 1]``."""
    made = [
        seasonal_naive(task.truth(series), origins, task.num_steps, task.season_steps)
        for series, origins in task.tested
    ]
    return np.concatenate(made)[..., None]


def autoregression(task: ForecastTask) -> Floats | None:
    """A linear autoregression, its own forecasts fed back, ``[n, H, 1]``.

    Raises:
        OverflowError: they grow beyond all numbers, as of a series that doubles at each step.
    """
    found = Autoregression.fit(task.dataset.series, task.target, task.season_steps)
    if found is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        made = [found.forecast(task.truth(series), origins, task.num_steps) for series, origins in task.tested]
    answers = np.concatenate(made)[..., None]
    if np.isinf(answers).any():
        raise OverflowError("its forecasts, fed back, grow beyond all numbers")
    return answers


# Each answers [n, H, P]: a point, or, where it knows quantiles, those of the task's levels.
RIVALS: tuple[Rival[ForecastTask, Floats], ...] = (
    Rival(PERSISTENCE, last_value),
    Rival(SEASONAL_NAIVE, last_season),
    Rival("linear autoregression", autoregression),
    Rival("ridge regression", ridge_over_lags),
    Rival("LightGBM", boosted_trees, library="lightgbm"),
)
