"""Forecasters one step ahead on any CSV: recipes with ``kind = "forecaster"``, and those without a kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ostinato.models.data.series import check_target, load_dataset, tell_notes
from ostinato.models.networks.recurrent import AnyForecaster, Features, build_forecaster
from ostinato.models.recipe import Recipe
from ostinato.models.report import Report, ScoreTable
from ostinato.models.run_files import read_run, write_run
from ostinato.models.scores.forecaster import ForecastScores, check_scores, score
from ostinato.models.training.fitting import Fitted, reproducible
from ostinato.models.training.forecasting import train


@dataclass(frozen=True)
class ForecasterRun:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyForecaster
    features: Features
    content: dict[str, Any]


def train_run(recipe: Path, directory: Path | None, seed: int | None, report: Report) -> tuple[Path, list[ScoreTable]]:
    """Train on the training part, stop by the validation part, score once on the test part (models/kinds/registry.py).

    Raises:
        TrainingError: the recipe or the data cannot be used, or training fails.
    """
    plan = Recipe.read(recipe, seed)
    dataset = load_dataset(plan.data)
    tell_notes(dataset, report)
    check_target(dataset)
    check_scores(dataset, plan.data.season_steps)
    network, fitted = train(plan, dataset, report)
    with reproducible(plan.training.seed, plan.training.num_threads):
        scores = score(network, dataset, plan.data.season_steps)
    directory = write_run(
        directory,
        network,
        plan,
        fitted,
        data=dataset.parts(),
        metrics={
            **asdict(scores),
            "improvement_over_persistence": scores.improvement_over_persistence,
            "validation_mae": fitted.validation,
        },
        features=asdict(Features.of(dataset)),
        categories=dataset.categories,
    )
    return directory, [_table(plan, scores, fitted)]


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
