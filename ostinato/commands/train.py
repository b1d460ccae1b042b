"""``ostinato train``: a recipe and its data become a run directory; ``--init`` writes a recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ostinato.commands.progress import progress_bar, reporter
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import InputError
from ostinato.extras import require

if TYPE_CHECKING:
    from ostinato.models.report import ScoreTable


def train(
    recipe: Annotated[
        Path,
        typer.Argument(help="TOML file: data, network and training. With --init, your data file.", metavar="RECIPE"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Run directory (with --init, recipe) to write.",
            show_default="runs/NAME; with --init, printed",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training.", show_default="the recipe's")] = None,
    seeds: Annotated[
        int, typer.Option(help="Train so many times with consecutive seeds; the best one becomes the run.", min=1)
    ] = 1,
    backtest: Annotated[int, typer.Option(help="Train and test again from so many rolling origins.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was interrupted.")] = False,
    init: Annotated[
        str | None,
        typer.Option(help="Write a recipe of this kind for a file of yours.", metavar="KIND", show_default="train"),
    ] = None,
) -> None:
    """Train what a recipe says, and score it on the held-out part of its data.

    A recipe's `kind` says what is learned; without one it is a forecaster. docs/training.md says what each kind reads,
    and has every key of a recipe. docs/tables.md says how tables are read.

    The run directory gets weights, run.json, and report.html with curves, scores and rivals. What was learned is saved
    there after each epoch, too. --resume continues a training that was interrupted, and gives the weights that it would
    have had.

    Then export the run: 'ostinato export runs/beijing-lstm --repository repository'.

    [bold]Examples[/]

    ostinato train examples/beijing_pm25/lstm.toml --output runs/beijing-lstm

    ostinato train --init forecaster load.csv --output load.toml
    """
    require("torch", __name__)
    from ostinato.models.kinds.registry import kind_of, write_draft
    from ostinato.models.trainer import Wishes, train_recipe

    console = table_console()
    if init is not None:
        _check_alone(seed=seed, seeds=seeds > 1, backtest=backtest, resume=resume)
        text = write_draft(init, recipe, output)
        if output is None:
            typer.echo(text, nl=False)
        else:
            console.print(f"written to {output}; then: ostinato train {output}", highlight=False, soft_wrap=True)
        return
    kind_of(recipe)
    wishes = Wishes(output, seed, seeds, backtest, resume)
    with progress_bar(console, "epochs", has_remaining=True) as bar:
        directory, tables = train_recipe(recipe, wishes, reporter(bar, f"train {recipe.stem}"))
    for table in tables:
        console.print(score_table(table))
        if table.note:
            console.print(table.note, highlight=False)
    console.print(f"written to {directory}; look at {directory / 'report.html'}", highlight=False, soft_wrap=True)


def _check_alone(**others: object) -> None:
    for name, given in others.items():
        if given:
            raise InputError(f"--init writes a recipe and trains nothing: --{name} has no part in it")


def score_table(scores: ScoreTable) -> WholeTable:
    """A table of scores, a line each."""
    table = WholeTable(title=escape(scores.title))
    for place, column in enumerate(scores.columns):
        table.add_column(escape(column), justify="right" if place else "left", overflow="fold")
    for row in scores.rows:
        table.add_row(*map(escape, row))
    return table
