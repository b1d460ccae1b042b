"""``ostinato train``: a recipe and its data become a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from ostinato.models.report import Report, ScoreTable


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file: data, network and training settings.", metavar="RECIPE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory to write; runs/<name> where not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed in place of the recipe's.")] = None,
) -> None:
    """Train what a recipe says, and score it on the held-out part of its data.

    A recipe's `kind` says what: each module of ostinato/models/kinds is one. Without a kind it is a forecaster on any
    CSV.

    Example:  ostinato train examples/beijing_pm25/lstm.toml --output runs/beijing-lstm

    Then:     ostinato export runs/beijing-lstm --repository repository
    """
    from ostinato.models.kinds.registry import kind_of, load_kind

    console = Console()
    kind = load_kind(kind_of(recipe))
    with _progress_bar(console) as bar:
        directory, tables = kind.train_run(recipe, output, seed, _reporter(bar, recipe.stem))
    for table in tables:
        console.print(_shown(table))
        if table.note:
            console.print(table.note, highlight=False)
    console.print(f"written to {directory}", highlight=False)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  {task.fields[text]}"),
        TimeElapsedColumn(),
        console=console,
    )


def _reporter(bar: Progress, name: str) -> Report:
    task = bar.add_task(f"train {name}", total=None, text="")

    def report(done: int, total: int, text: str) -> None:
        bar.update(task, total=total, completed=done, text=text)

    return report


def _shown(scores: ScoreTable) -> Table:
    table = Table(title=scores.title)
    for place, column in enumerate(scores.columns):
        table.add_column(column, justify="right" if place else "left")
    for row in scores.rows:
        table.add_row(*row)
    return table
