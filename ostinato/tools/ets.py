"""Exponential smoothing (ETS), as statsforecast chooses and fits it anew at each origin: what most would do without a
network. It is of the extra ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np

from ostinato.naive_forecasts import last_seen_values
from ostinato.tools.horizon_scores import Floats

ETS = "ETS"
NUM_SEASONS = 20
LEAST_STEPS = 200
"""It is fitted to so many of the last seasons, or steps, whichever are more: all of years of hours would take minutes
for each origin.
"""


def has_ets() -> bool:
    """Whether the library is installed."""
    return find_spec("statsforecast") is not None


def ets_points(
    values: Floats,
    origins: Sequence[int],
    horizon: int,
    season_steps: int,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Floats:
    """Its forecasts from some origins of a series ``[N]``, ``[n, H]``; NaN where the history is less than 10 values.
    What is missing is the value before it.
    """
    from statsforecast.models import AutoETS

    filled = last_seen_values(values)
    most = max(NUM_SEASONS * season_steps, LEAST_STEPS)
    made = np.full((len(origins), horizon), np.nan)
    for place, origin in enumerate(origins):
        history = filled[max(0, origin + 1 - most) : origin + 1]
        history = history[~np.isnan(history)]
        if len(history) >= 10:
            season = season_steps if len(history) > 2 * season_steps else 1
            made[place] = AutoETS(season_length=season).forecast(history, horizon)["mean"]
        report(place + 1, len(origins))
    return made
