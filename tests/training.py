"""Trainings in tests: a recipe's whole way to its run directory, with nobody who looks."""

from __future__ import annotations

from pathlib import Path

from ostinato.models.data.series import Dataset
from ostinato.models.data.series_recipe import Recipe
from ostinato.models.networks.multi_horizon import AnyMultiHorizon
from ostinato.models.networks.multi_horizon_recipe import MultiHorizonRecipe
from ostinato.models.networks.recurrent import AnyForecaster
from ostinato.models.report import Report, ScoreTable
from ostinato.models.trainer import Wishes, train_recipe
from ostinato.models.training.fitting import Fitted, reproducible
from ostinato.models.training.forecasting import fit
from ostinato.models.training.job import Job
from ostinato.models.training.multi_horizon import fit as fit_multi_horizon

NOBODY = Job()


def silent(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def train(recipe: Recipe, dataset: Dataset, report: Report = silent) -> tuple[AnyForecaster, Fitted]:
    """A forecaster, by its recipe's seed and threads."""
    with reproducible(recipe.training):
        return fit(recipe, dataset, Job(report))


def train_multi_horizon(recipe: MultiHorizonRecipe, dataset: Dataset) -> tuple[AnyMultiHorizon, Fitted]:
    """A multi-horizon forecaster, by its recipe's seed and threads."""
    with reproducible(recipe.training):
        return fit_multi_horizon(recipe, dataset, NOBODY)


def train_run(
    recipe: Path, directory: Path | None, seed: int | None = None, report: Report = silent
) -> tuple[Path, list[ScoreTable]]:
    """As ``ostinato train RECIPE --output DIRECTORY --seed SEED``."""
    return train_recipe(recipe, Wishes(directory, seed), report)
