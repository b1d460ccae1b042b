"""``ostinato train``: a recipe and its data become a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ostinato.commands.progress import progress_bar, reporter
from ostinato.extras import require

if TYPE_CHECKING:
    from ostinato.models.report import ScoreTable


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file: data, network and training settings.", metavar="RECIPE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory to write.", show_default="runs/<name>")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training.", show_default="the recipe's")] = None,
) -> None:
    """Train what a recipe says, and score it on the held-out part of its data.

    A recipe's `kind` says what: each module of ostinato/models/kinds is one. Without a kind it is a forecaster on any
    CSV.

    A table (CSV) may be compressed (.xz, .gz, .bz2); its header is cut at the commas, semicolons, tabs or bars that it
    has most of. An empty cell, NA, NaN, null, ? or what the recipe lists under data.missing is a missing value. Numbers
    have a decimal point and no separator of thousands. Rows are steps in time: what is missing between two of them is
    told and put in as missing values, or refused, as data.gaps of the recipe says. docs/tables.md says it all.

    Example:  ostinato train examples/beijing_pm25/lstm.toml --output runs/beijing-lstm

    Then:     ostinato export runs/beijing-lstm --repository repository
    """
    require("torch", __name__)
    from ostinato.models.kinds.registry import kind_of, load_kind
    from ostinato.models.run_files import check_directory

    check_directory(output)
    console = Console()
    kind = load_kind(kind_of(recipe))
    with progress_bar(console, "epochs") as bar:
        directory, tables = kind.train_run(recipe, output, seed, reporter(bar, f"train {recipe.stem}"))
    for table in tables:
        console.print(_shown(table))
        if table.note:
            console.print(table.note, highlight=False)
    console.print(f"written to {directory}", highlight=False)


def _shown(scores: ScoreTable) -> Table:
    table = Table(title=scores.title)
    for place, column in enumerate(scores.columns):
        table.add_column(column, justify="right" if place else "left")
    for row in scores.rows:
        table.add_row(*row)
    return table
