"""Series for tests of rivals: a level that its own past and a wind tell, and holes in it."""

from __future__ import annotations

import numpy as np

from ostinato.models.data.series import Dataset, Floats, Series, TrainingStatistics
from ostinato.models.rivals.lag_table import ForecastTask
from ostinato.models.training.forecasting import origins_of

NOTHING_KNOWN = TrainingStatistics((0.0,) * 2, (1.0,) * 2, (0.0,) * 2, (1.0,) * 2, (0.0,) * 2)


def windy(num_steps: int = 1000, seed: int = 0) -> Dataset:
    """``level(t) = 0.8 level(t - 1) + 3 (wind(t - 1) is 1) + a little noise``, of which every 50th value is missing."""
    draw = np.random.default_rng(seed)
    wind = draw.integers(0, 2, num_steps)
    level = np.zeros(num_steps)
    for step in range(1, num_steps):
        level[step] = 0.8 * level[step - 1] + 3 * wind[step - 1] + 0.1 * draw.normal()
    level[49::50] = np.nan
    values = np.stack([level, wind], axis=1).astype(np.float32)
    times = np.arange(num_steps).astype("datetime64[h]").astype("datetime64[s]")
    validation, test = num_steps * 5 // 7, num_steps * 6 // 7
    series = Series("", values, values[:, :1], np.empty(0, np.float32), times, validation, test)
    words: dict[str, tuple[str, ...]] = {"wind": ("weak", "strong")}
    return Dataset(("level", "wind"), ("level",), (series,), words, NOTHING_KNOWN, NOTHING_KNOWN, "")


def series_of(values: Floats, validation_start: int, test_start: int) -> Dataset:
    """One series that has a level alone, ``[N]``."""
    times = np.arange(len(values)).astype("datetime64[h]").astype("datetime64[s]")
    table = values[:, None]
    series = Series("", table, table, np.empty(0, np.float32), times, validation_start, test_start)
    told = TrainingStatistics((0.0,), (1.0,), (0.0,), (1.0,), (0.0,))
    return Dataset(("level",), ("level",), (series,), {}, told, told, "")


def task_of(dataset: Dataset, num_steps: int = 1, levels: tuple[float, ...] = ()) -> ForecastTask:
    """The forecasts of the test part, with the wind known ahead where there is one."""
    known = tuple(name for name in dataset.features if name == "wind")
    return ForecastTask(dataset, 0, origins_of(dataset, "test", num_steps), num_steps, 1, levels, known=known)
