"""Trainings in tests: a recipe's whole way to its run directory, with nobody who looks."""

from __future__ import annotations

from pathlib import Path

from ostinato.models.data.series import Dataset, Floats, Series
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.networks.multi_horizon import AnyMultiHorizon
from ostinato.models.networks.recurrent import Forecaster
from ostinato.models.report import Report, ScoreTable
from ostinato.models.scores.forecaster import Judged, judge
from ostinato.models.trainer import Wishes, train_recipe
from ostinato.models.training.fitting import Fitted, reproducible
from ostinato.models.training.forecasting import answers_of, fit, origins_of
from ostinato.models.training.job import Job
from ostinato.models.training.multi_horizon import fit as fit_multi_horizon

NOBODY = Job()


def silent(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def train(recipe: Recipe, dataset: Dataset, report: Report = silent) -> tuple[Forecaster, Fitted]:
    """A forecaster, by its recipe's seed and threads."""
    with reproducible(recipe.training):
        return fit(recipe, dataset, Job(report))


def train_multi_horizon(recipe: Recipe, dataset: Dataset) -> tuple[AnyMultiHorizon, Fitted]:
    """A multi-horizon forecaster, by its recipe's seed and threads."""
    with reproducible(recipe.training):
        return fit_multi_horizon(recipe, dataset, NOBODY)


def judged(network: Forecaster, recipe: Recipe, dataset: Dataset) -> list[Judged]:
    """A forecaster's scores over the test part, one step ahead."""

    def forecast(series: Series, origins: range) -> Floats:
        answers: Floats = answers_of(network, [(series, origins.start, origins.stop)])[0].numpy()
        return answers

    found = origins_of(dataset, "test", 1)
    return judge(forecast, network.forecasts, dataset, found, 1, recipe.data.season_steps)


def train_run(
    recipe: Path, directory: Path | None, seed: int | None = None, report: Report = silent
) -> tuple[Path, list[ScoreTable]]:
    """As ``ostinato train RECIPE --output DIRECTORY --seed SEED``."""
    return train_recipe(recipe, Wishes(directory, seed), report)
