"""``ostinato train``: a recipe and a CSV become a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from models.training import Report, Trained


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file: data, network and training settings.", metavar="RECIPE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory to write; runs/<name> where not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed in place of the recipe's.")] = None,
) -> None:
    """Train a forecaster on any CSV, and score it on the held-out part beside persistence and a seasonal naive one.

    Example:  ostinato train examples/beijing_pm25/lstm.toml --output runs/beijing-lstm

    Then:     ostinato export runs/beijing-lstm --repository repository
    """
    from models.data import load_dataset
    from models.recipe import Recipe
    from models.runs import save_run
    from models.training import train as train_forecaster

    console = Console()
    plan = Recipe.read(recipe)
    if seed is not None:
        plan = plan.model_copy(update={"training": plan.training.model_copy(update={"seed": seed})})
    dataset = load_dataset(plan.data)
    with _progress_bar(console) as bar:
        trained = train_forecaster(plan, dataset, _reporter(bar, plan.name))
    directory = output or Path("runs") / plan.name
    save_run(directory, plan, dataset, trained)
    console.print(_scores(plan.data.target, plan.data.season_steps, trained))
    console.print(f"{directory}: {trained.num_epochs} epochs in {trained.training_seconds:.0f} s", highlight=False)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  loss {task.fields[loss]}  validation MAE {task.fields[validation_mae]}"),
        TimeElapsedColumn(),
        console=console,
    )


def _reporter(bar: Progress, name: str) -> Report:
    from models.training import Progress as Step

    task = bar.add_task(f"train {name}", total=None, loss="-", validation_mae="-")

    def report(step: Step) -> None:
        bar.update(
            task,
            total=step.max_epochs,
            completed=step.epoch - 1 + (step.window == step.num_windows),
            loss=f"{step.loss:.4f}",
            validation_mae="-" if step.validation_mae is None else f"{step.validation_mae:.3f}",
        )

    return report


def _scores(target: str, season_steps: int, trained: Trained) -> Table:
    test = trained.test
    table = Table(
        title=f"{target}, one step ahead, {test.num_scored_steps:,} scored steps\n{test.first_time} to {test.last_time}"
    )
    table.add_column("forecast")
    table.add_column("MAE", justify="right")
    table.add_column("beside persistence", justify="right")
    for name, mae in (
        ("network", test.mae),
        ("persistence", test.persistence_mae),
        (f"seasonal naive ({season_steps} steps)", test.seasonal_naive_mae),
    ):
        table.add_row(name, f"{mae:.3f}", f"{mae / test.persistence_mae - 1:+.1%}")
    return table
