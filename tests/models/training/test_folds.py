from __future__ import annotations

from datetime import datetime

import pytest

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.training.folds import rolling_origins


def test_folds_test_the_second_half_stretch_by_stretch_and_know_nothing_after_it(wave_recipe: Recipe) -> None:
    folds = rolling_origins(wave_recipe, load_dataset(wave_recipe.data), 4)
    begins = [fold.data.test_from for fold in folds]
    # 400 hours from the first of January on: tested from hour 200, 250, 300 and 350.
    assert begins[0] == datetime(2024, 1, 9, 8)
    assert [(later - begins[0]).total_seconds() / 3600 for later in begins] == [0, 50, 100, 150]
    assert [fold.data.test_until for fold in folds] == [*begins[1:], None]
    for fold in folds:
        assert fold.data.validation_from < fold.data.test_from
    first = load_dataset(folds[0].data).only
    assert (len(first.values), first.test_start, first.validation_start) == (250, 200, 170)


def test_too_many_folds_are_refused(wave_recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"--backtest: .* makes no 150 test parts"):
        rolling_origins(wave_recipe, load_dataset(wave_recipe.data), 150)
