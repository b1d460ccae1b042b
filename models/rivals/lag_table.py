"""A table of lags: what a rival that knows no recurrence is given of the past, one row for each step of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.series import Dataset, Floats, Series
from ostinato.naive_forecasts import last_seen_values

Wide: TypeAlias = NDArray[np.float64]
Steps: TypeAlias = NDArray[np.int64]

# Of the target: this step and a season before it, but no fewer and no more than so many.
_LEAST_LAGS, _MOST_LAGS = 12, 48
# Since how many steps ago the changes of amounts are told.
_CHANGES = (1, 3, 6, 12, 24)


@dataclass(frozen=True)
class ForecastTask:
    """What is to be forecast of one target.

    ``target``: which of the dataset's. ``tested``: series and the steps after which they are forecast.
    ``num_steps``: H, how far ahead. ``season_steps``: how long a season is.
    ``levels``: the quantiles that are asked for; of none, the median is. ``least``: what no forecast falls below.
    ``known``: the features that are known ahead.
    """

    dataset: Dataset
    target: int
    tested: Sequence[tuple[Series, range]]
    num_steps: int = 1
    season_steps: int = 1
    levels: tuple[float, ...] = ()
    least: float | None = None
    known: tuple[str, ...] = ()

    def truth(self, series: Series) -> Floats:
        """The target's values ``[N]``, NaN where missing."""
        values: Floats = series.truth[:, self.target]
        return values

    def learned_from(self, part: str, ahead: int) -> list[tuple[Series, Steps]]:
        """The steps of each series whose value ``ahead`` steps later is known and lies in a part."""
        found = []
        for series in self.dataset.series:
            start, end = series.span(part)
            steps = np.arange(max(0, start - ahead), end - ahead)
            found.append((series, steps[~np.isnan(self.truth(series)[steps + ahead])] if len(steps) else steps[:0]))
        return found


@dataclass(frozen=True)
class LagTable:
    """Rows of numbers ``[n, C]``, NaN where missing: the target's lags and by how much they differ from now, what comes
    with the step, by how much amounts have changed, and what is known of the step that is forecast.
    """

    task: ForecastTask

    @property
    def categorical(self) -> list[int]:
        """The columns that hold codes."""
        dataset, task = self.task.dataset, self.task
        names = [*dataset.features, *dataset.static, *task.known]
        start = self._num_lags + self._num_lags - 1
        return [start + place for place, name in enumerate(names) if name in dataset.categories]

    def last_seen(self, series: Series) -> Wide:
        """The last value at each step, ``[N]``."""
        return filled_values(self.task.truth(series))

    def rows(self, series: Series, steps: Steps, ahead: int) -> Wide:
        """What is known at these steps ``[n]`` of the one that comes so many later."""
        last, dataset = self.last_seen(series), self.task.dataset
        lags = np.stack([last[np.maximum(steps - lag, 0)] for lag in range(self._num_lags)], axis=1)
        known = [dataset.features.index(name) for name in self.task.known]
        amounts = [place for place, name in enumerate(dataset.features) if name not in dataset.categories]
        now = series.values[steps].astype(np.float64)
        changes = [now[:, amounts] - series.values[np.maximum(steps - ago, 0)][:, amounts] for ago in _CHANGES]
        static = np.broadcast_to(series.static.astype(np.float64), (len(steps), len(series.static)))
        later = series.values[steps + ahead][:, known].astype(np.float64)
        return np.concatenate([lags, lags[:, :1] - lags[:, 1:], now, static, later, *changes], axis=1)

    def part(self, part: str, ahead: int, most_rows: int) -> tuple[Wide, Wide, Wide]:
        """Rows of a part ``[n, C]``, their last seen values and those that came, ``[n]``; of too many, every k-th."""
        found = self.task.learned_from(part, ahead)
        every = max(1, -(-sum(len(steps) for _, steps in found) // most_rows))
        # The k-th row of all, and not of each series: a panel's series may be short.
        ends = accumulate(len(steps) for _, steps in found)
        chosen = [
            (series, steps[(len(steps) - end) % every :: every])
            for (series, steps), end in zip(found, ends, strict=True)
        ]
        return (
            np.concatenate([self.rows(series, steps, ahead) for series, steps in chosen]),
            np.concatenate([self.last_seen(series)[steps] for series, steps in chosen]),
            np.concatenate([self.task.truth(series)[steps + ahead].astype(np.float64) for series, steps in chosen]),
        )

    def tested(self, ahead: int) -> tuple[Wide, Wide]:
        """Rows of the steps after which is forecast ``[n, C]``, and their last seen values ``[n]``."""
        found = [(series, np.array(origins)) for series, origins in self.task.tested]
        return (
            np.concatenate([self.rows(series, steps, ahead) for series, steps in found]),
            np.concatenate([self.last_seen(series)[steps] for series, steps in found]),
        )

    @property
    def _num_lags(self) -> int:
        return min(max(self.task.season_steps, _LEAST_LAGS), _MOST_LAGS) + 1


def filled_values(target: Floats) -> Wide:
    """The last seen value at each step ``[N]``; before its first a series counts as if it had begun with it."""
    filled = last_seen_values(target).astype(np.float64)
    begun = filled[~np.isnan(filled)]
    return np.where(np.isnan(filled), begun[0] if len(begun) else np.nan, filled)
