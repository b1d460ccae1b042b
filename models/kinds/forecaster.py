"""Forecasters one step ahead on any CSV: recipes with ``kind = "forecaster"``, and those without a kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ostinato.models.data.series import check_target, load_dataset, tell_notes
from ostinato.models.data.series_recipe import Recipe
from ostinato.models.networks.recurrent import AnyForecaster, Features, build_forecaster
from ostinato.models.report import ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.forecaster import ForecastScores, check_scores, score
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.forecasting import fit
from ostinato.models.training.job import Job

RECIPE = Recipe


@dataclass(frozen=True)
class ForecasterRun:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyForecaster
    features: Features
    content: dict[str, Any]


def train(recipe: Recipe, job: Job) -> Trained:
    """Train on the training part, stop by the validation part, score once on the test part (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    dataset = load_dataset(recipe.data)
    tell_notes(dataset, job.tell)
    check_target(dataset)
    check_scores(dataset, recipe.data.season_steps)
    network, fitted = fit(recipe, dataset, job)
    scores = score(network, dataset, recipe.data.season_steps)
    return Trained(
        network,
        fitted,
        data=dataset.parts(),
        metrics={
            **asdict(scores),
            "improvement_over_persistence": scores.improvement_over_persistence,
            "validation_mae": fitted.validation,
        },
        sections=(_table(recipe, scores, fitted),),
        of_the_kind={"features": asdict(Features.of(dataset)), "categories": dataset.categories},
    )


def load_run(directory: Path) -> ForecasterRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> ForecasterRun:
    features = Features.of_content(content["features"])
    network = build_forecaster(features, Recipe.model_validate(content["recipe"]).network)
    return ForecasterRun(network, features, content)


def _table(recipe: Recipe, scores: ForecastScores, fitted: Fitted) -> ScoreTable:
    forecasts = (
        ("network", scores.mae),
        ("persistence", scores.persistence_mae),
        (f"seasonal naive ({recipe.data.season_steps} steps)", scores.seasonal_naive_mae),
    )
    return ScoreTable(
        title=f"{recipe.data.target}, one step ahead, {scores.num_scored_steps:,} scored steps\n"
        f"{scores.first_time} to {scores.last_time}",
        columns=("forecast", "MAE", "compared with persistence"),
        rows=tuple((name, f"{mae:.3f}", f"{mae / scores.persistence_mae - 1:+.1%}") for name, mae in forecasts),
        note=fitted.sentence(),
    )
