"""Scores of a forecaster one step ahead, next to two forecasts that need no training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ostinato.models.data.series import Dataset, Floats
from ostinato.models.errors import DataError
from ostinato.models.networks.recurrent import AnyForecaster
from ostinato.models.training.forecasting import forecast_part, mean_absolute


@dataclass(frozen=True)
class ForecastScores:
    """Mean absolute errors one step ahead, in the target's unit, all three over the same scored steps."""

    mae: float
    persistence_mae: float
    seasonal_naive_mae: float
    num_scored_steps: int
    first_time: str
    last_time: str

    @property
    def improvement_over_persistence(self) -> float:
        """By which fraction the network's error is below that of persistence."""
        return 1.0 - self.mae / self.persistence_mae


def score(network: AnyForecaster, dataset: Dataset, season_steps: int) -> ForecastScores:
    """Score the test part one step ahead, and persistence and the seasonal naive forecast with it."""
    start, end = dataset.test_start, len(dataset.values)
    # The forecast made at step t is for t + 1, so the first one for the test part is made one step before it.
    forecast = forecast_part(network, dataset.values, start - 1, end - 1)
    truth, persistence, seasonal = _known_beforehand(dataset, season_steps)
    scored = ~np.isnan(truth) & ~np.isnan(persistence) & ~np.isnan(seasonal)
    times = dataset.times[start:end][scored]
    return ForecastScores(
        mae=mean_absolute(forecast - truth, scored),
        persistence_mae=mean_absolute(persistence - truth, scored),
        seasonal_naive_mae=mean_absolute(seasonal - truth, scored),
        num_scored_steps=int(scored.sum()),
        first_time=str(times[0]) if len(times) else "",
        last_time=str(times[-1]) if len(times) else "",
    )


def check_scores(dataset: Dataset, season_steps: int) -> None:
    """Whether the test part can be scored, which is known before anything is trained.

    Raises:
        DataError: it cannot, or the simple forecasts are without fault there, so that none can be better.
    """
    check_season(dataset, season_steps)
    truth, persistence, seasonal = _known_beforehand(dataset, season_steps)
    scored = ~np.isnan(truth) & ~np.isnan(persistence) & ~np.isnan(seasonal)
    if not scored.any():
        raise DataError(
            f"no step of the test part can be scored: none has a value of {dataset.target!r}, one before it, and one "
            f"whole seasons of {season_steps} steps (data.season_steps) before it"
        )
    if (truth == persistence)[scored].all():
        raise DataError(
            f"{dataset.target!r} never changes in the test part: the last seen value is always right, and no forecast "
            "can be compared with that; change data.test_from"
        )


def check_season(dataset: Dataset, season_steps: int) -> None:
    """Whether there is a whole season before the test part.

    Raises:
        DataError: there is not.
    """
    if season_steps > dataset.test_start:
        raise DataError(
            f"data.season_steps is {season_steps}, and the history before the test part has {dataset.test_start} steps "
            f"(the file {len(dataset.values)}): the seasonal naive forecast, which is scored for comparison, needs a "
            "whole season; lower it"
        )


def last_seen_values(series: Floats) -> Floats:
    """Each step's last value that is not NaN, ``[N]``; NaN before the first."""
    rows = np.where(np.isnan(series), 0, np.arange(len(series)))
    return series[np.maximum.accumulate(rows)]


def last_seen_of_season(series: Floats, season_steps: int) -> Floats:
    """For each step the value one season before it; where that is missing, the one a season earlier, and so on."""
    forecast = np.full_like(series, np.nan)
    for phase in range(season_steps):
        forecast[phase + season_steps :: season_steps] = last_seen_values(series[phase::season_steps])[:-1]
    return forecast


def _known_beforehand(dataset: Dataset, season_steps: int) -> tuple[Floats, Floats, Floats]:
    """The values of the test part, and both simple forecasts of them."""
    start, end = dataset.test_start, len(dataset.values)
    target = dataset.values[:, dataset.target_index]
    persistence = last_seen_values(target)[start - 1 : end - 1]
    return target[start:end], persistence, last_seen_of_season(target, season_steps)[start:end]
