"""``ostinato replay``: a file becomes live sessions."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.client.async_client import AsyncClient
from ostinato.commands.options import (
    PATIENCE_SECONDS,
    URL,
    FirstRow,
    GapsOption,
    Patience,
    RenamedColumns,
    RowLimit,
    TimeNames,
    Url,
    renamed_columns,
    split_names,
)
from ostinato.commands.replay_view import ReplayView, summary
from ostinato.errors import TableError
from ostinato.tables.gaps import Gaps
from ostinato.tables.table import Table
from ostinato.tools.input_table import InputTable
from ostinato.tools.replay import ModelShape, Replayed, ReplayOptions, rows_of_sessions
from ostinato.tools.replay import replay as replay_rows
from ostinato.tools.tensor_files import read_context


def replay(
    file: Annotated[Path, typer.Argument(help="Table with a header (CSV), plain or .xz, .gz, .bz2.", metavar="FILE")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose sessions take the rows.")],
    url: Url = URL,
    sessions: Annotated[int, typer.Option(min=1, max=10_000, help="Sessions that replay the file at once.")] = 1,
    offset: Annotated[int, typer.Option(min=0, help="Rows by which each session begins after the one before.")] = 1,
    first: FirstRow = "",
    limit: RowLimit = 0,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Rows ahead of the first that bring the state up, unscored and in few requests.")
    ] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Rows a second in each session; 0 = as fast as it goes.")] = 0.0,
    horizon: Annotated[int, typer.Option(min=1, help="Steps ahead to forecast and score.")] = 1,
    known: Annotated[
        str,
        typer.Option(
            help="Inputs whose future a longer forecast may read from the file: hour,TEMP", show_default="none"
        ),
    ] = "",
    column: RenamedColumns = None,
    time: TimeNames = "",
    gaps: GapsOption = None,
    context: Annotated[
        str,
        typer.Option(
            help="What is the same in all steps of a session, for a model that takes such: an object of JSON, or a "
            "file of it.",
            show_default="none",
        ),
    ] = "",
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Stream the rows of a table (CSV) through sessions of a running service, one step a row, and score its forecasts.

    The table is read as 'ostinato train' reads it: the header is cut at the commas, semicolons, tabs or bars that it
    has most of; columns are found by the names of the model's inputs; words become the codes that they have in the
    training; an empty cell, NA, NaN, null, ? or what the recipe lists is a missing value, and so is a word that the
    training did not meet. Numbers have a decimal point and no separator of thousands. Rows are steps in time: what is
    missing between two of them is told and put in as missing values, or as --gaps says. Each row is compared with the
    forecast made before it arrived, and that with persistence: the last value seen.

    [bold]Examples[/]

    ostinato replay hours.csv --model beijing-lstm

    ostinato replay hours.csv.xz -m beijing-lstm --from 2014-12-01 --warm-up 336 --rate 50

    ostinato replay hours.csv.xz -m beijing-lstm --sessions 64 --limit 500

    ostinato replay hours.csv -m beijing-lstm --horizon 24 --known hour,TEMP --column pm2.5=PM25
    """
    options = ReplayOptions(
        sessions=sessions,
        offset_rows=offset,
        horizon=horizon,
        known=split_names(known),
        rows_per_second=rate,
        context=read_context(context),
    )
    console = Console()
    Table(file)  # what is wrong with the file is told before a service is asked for
    choice = RowChoice(first, limit or None, warm_up, renamed_columns(column), split_names(time), gaps)
    work = _replay_file(console, file, model, url, options, choice, patience)
    with contextlib.suppress(KeyboardInterrupt):
        shape, result = asyncio.run(work)
        console.print(summary(shape, result))
        return
    console.print("[yellow]stopped[/]; the sessions are closed")
    raise typer.Exit(130)


@dataclass(frozen=True)
class RowChoice:
    """Which rows of a table are replayed, and how they are read."""

    first: str
    limit: int | None
    warm_up: int
    renamed: dict[str, str]
    time: tuple[str, ...]
    gaps: Gaps | None


async def _replay_file(
    console: Console,
    file: Path,
    model: str,
    url: str,
    options: ReplayOptions,
    choice: RowChoice,
    patience_seconds: float,
) -> tuple[ModelShape, Replayed]:
    async with AsyncClient(url, patience_seconds=patience_seconds) as client:
        shape = ModelShape.of(await client.model(model))
        if unknown := [name for name in options.known if name not in shape.features]:
            raise TableError(f"--known {unknown[0]}: the model's inputs are {', '.join(shape.features)}")
        table = InputTable(file, shape.model_input, choice.renamed, time=choice.time, gaps=choice.gaps)
        with console.status(f"reading {escape(file.name)}"):
            read = table.read(first=choice.first, before=choice.warm_up, limit=choice.limit)
        for warning in read.warnings:
            console.print(f"[yellow]{escape(str(file))}: {escape(warning)}[/]", highlight=False, soft_wrap=True)
        options = replace(options, warm_up_rows=read.num_ahead)
        num_rows = sum(rows_of_sessions(len(read.rows), options))
        with ReplayView(console, shape, num_rows, horizon=options.horizon) as view:
            return shape, await replay_rows(client, shape, read.rows, options, view)
