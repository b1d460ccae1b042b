"""Folds of a backtest by rolling origins: the same recipe with later and later ends of what may be learned from."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import cast

import numpy as np

from ostinato.models.data.series import Dataset
from ostinato.models.errors import DataError
from ostinato.models.networks.forecaster_recipe import Recipe

# Of all of the time that a file spans, from where on it is tested.
_FIRST_TEST = 0.5
# Of what lies before a fold's test part, what it is stopped by.
_VALIDATION = 0.15


def rolling_origins(recipe: Recipe, dataset: Dataset, number: int) -> list[Recipe]:
    """So many folds, each tested on the stretch of time after the one before it; the last ends with the file.

    A fold learns from all before its validation part, which lies right before its test part (Tashman, 2000,
    "Out-of-sample tests of forecasting accuracy"). What comes after its test part is known to none of its parts.

    Raises:
        DataError: the stretches would be shorter than a forecast.
    """
    times = np.unique(np.concatenate([series.times for series in dataset.series]))
    borders = [round(len(times) * (_FIRST_TEST + (1 - _FIRST_TEST) * fold / number)) for fold in range(number + 1)]
    shortest = min(end - start for start, end in itertools.pairwise(borders))
    if shortest < recipe.training.horizon_steps + 1 or borders[0] < 2 * (recipe.training.horizon_steps + 1):
        raise DataError(
            f"--backtest: the second half of the file's {len(times)} moments makes no {number} test parts of more than "
            f"{recipe.training.horizon_steps} steps (training.horizon_steps); ask for fewer folds"
        )
    made = []
    for start, end in itertools.pairwise(borders):
        data = recipe.data.model_copy(
            update={
                "validation_from": _moment(times, round(start * (1 - _VALIDATION))),
                "test_from": _moment(times, start),
                "test_until": _moment(times, end) if end < len(times) else None,
            }
        )
        made.append(recipe.model_copy(update={"data": data}))
    return made


def _moment(times: np.ndarray[tuple[int, ...], np.dtype[np.datetime64]], place: int) -> datetime:
    return cast(datetime, times[place].astype("datetime64[us]").item())
