"""Forecasters (`kind = "forecaster"`, and recipes without a kind): one step ahead, on any CSV."""

from __future__ import annotations

from pathlib import Path

from ostinato.models.data.series import load_dataset
from ostinato.models.kinds.registry import Report, ScoreTable
from ostinato.models.kinds.runs import save_run
from ostinato.models.recipe import Recipe
from ostinato.models.training.forecasting import Progress, Trained, train


def train_run(recipe: Path, directory: Path | None, seed: int | None, report: Report) -> tuple[Path, list[ScoreTable]]:
    """Train a forecaster, and score it on the held-out part beside two simple forecasts (models/kinds/registry.py).

    Raises:
        TrainingError: the recipe or the data cannot be used, or training fails.
    """
    plan = Recipe.read(recipe, seed)
    dataset = load_dataset(plan.data)
    trained = train(plan, dataset, lambda step: _report(step, report))
    directory = directory or Path("runs") / plan.name
    save_run(directory, plan, dataset, trained)
    return directory, [_scores(plan.data.target, plan.data.season_steps, trained)]


def _report(step: Progress, report: Report) -> None:
    validation_mae = "-" if step.validation_mae is None else f"{step.validation_mae:.3f}"
    done = step.epoch - 1 + (step.window == step.num_windows)
    report(done, step.max_epochs, f"loss {step.loss:.4f}  validation MAE {validation_mae}")


def _scores(target: str, season_steps: int, trained: Trained) -> ScoreTable:
    test = trained.test
    forecasts = (
        ("network", test.mae),
        ("persistence", test.persistence_mae),
        (f"seasonal naive ({season_steps} steps)", test.seasonal_naive_mae),
    )
    return ScoreTable(
        title=f"{target}, one step ahead, {test.num_scored_steps:,} scored steps\n"
        f"{test.first_time} to {test.last_time}",
        columns=("forecast", "MAE", "beside persistence"),
        rows=tuple((name, f"{mae:.3f}", f"{mae / test.persistence_mae - 1:+.1%}") for name, mae in forecasts),
        note=f"{trained.num_epochs} epochs in {trained.training_seconds:.0f} s",
    )
