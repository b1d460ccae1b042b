"""``ostinato replay``: a file becomes live sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.client.async_client import AsyncClient
from ostinato.commands.horizon_view import horizon_table
from ostinato.commands.options import (
    PATIENCE_SECONDS,
    SERIES_OPTION,
    URL,
    FirstRow,
    GapsOption,
    KnownNames,
    Patience,
    RenamedColumns,
    RowLimit,
    SeriesName,
    TimeNames,
    Url,
    renamed_columns,
    split_names,
)
from ostinato.commands.pictures import check_can_draw
from ostinato.commands.replay_picture import draw
from ostinato.commands.replay_view import ReplayView, summary
from ostinato.commands.tables import table_console
from ostinato.errors import TableError
from ostinato.tables.gaps import Gaps
from ostinato.tables.table import Table
from ostinato.tools import horizon_report
from ostinato.tools.input_table import InputRows, InputTable
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.output_place import check_output_place
from ostinato.tools.replay import Replayed, ReplayOptions, replay_each, rows_of_sessions
from ostinato.tools.replay import replay as replay_rows
from ostinato.tools.replay_report import scores_of
from ostinato.tools.tensor_files import read_context


def replay(
    file: Annotated[
        Path,
        typer.Argument(help="Table with a header: CSV, plain or .xz, .gz, .bz2, Parquet or JSON.", metavar="FILE"),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose sessions take the rows.")],
    url: Url = URL,
    sessions: Annotated[
        int, typer.Option(min=1, max=10_000, help="Sessions that replay the file at the same time.")
    ] = 1,
    offset: Annotated[
        int, typer.Option(min=0, help="How many rows later each session begins than the one before it.")
    ] = 1,
    first: FirstRow = "",
    limit: RowLimit = 0,
    warm_up: Annotated[
        int,
        typer.Option(
            min=0, help="Rows before the first one that only build up the state: in few requests, and not scored."
        ),
    ] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Rows a second in each session; 0 = as fast as possible.")] = 0.0,
    horizon: Annotated[
        int,
        typer.Option(min=1, help="Steps ahead to forecast and score; a service takes --max-horizon, 1000."),
    ] = 1,
    known: KnownNames = "",
    series: SeriesName = "",
    column: RenamedColumns = None,
    time: TimeNames = "",
    gaps: GapsOption = None,
    context: Annotated[
        str,
        typer.Option(
            help="The model's context, which is the same in all steps of a session: a JSON object, or a file with one.",
            show_default="none",
        ),
    ] = "",
    plot: Annotated[
        Path | None,
        typer.Option(help="File for a picture of values and forecasts: .png, .svg or .pdf.", show_default="none"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="File for the scores at each of the steps ahead: .md or .json.", show_default="none"),
    ] = None,
    season: Annotated[
        int,
        typer.Option(min=1, help="Of the report: steps of a season, for the seasonal naive forecast; 1 = no season."),
    ] = 1,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Stream the rows of a table (CSV) through sessions of a running service, one step a row, and score its forecasts.

    The table is read as 'ostinato train' reads it. The header is split at its most frequent sign of comma, semicolon,
    tab and bar. Columns are found by the names of the model's inputs, and words become the codes that they have in the
    training. An empty cell, NA, NaN, null, ? or what the recipe lists is a missing value, and so is a word that the
    training did not have. Numbers have a decimal point and no separator of thousands.

    Rows are steps in time. Steps that are missing between two rows are reported and filled in as missing values, or
    treated as --gaps says. Each row is compared with the forecast made before it arrived, and with persistence, the
    last value seen.

    With --id the table holds several series, and each goes through a session of its own, all at the same time. --report
    scores the forecasts of each step up to --horizon, next to persistence and the seasonal naive forecast.

    [bold]Examples[/]

    ostinato replay hours.csv --model beijing-lstm

    ostinato replay hours.csv.xz -m beijing-lstm --from 2014-12-01 --warm-up 336 --rate 50

    ostinato replay hours.csv.xz -m beijing-lstm --sessions 64 --limit 500

    ostinato replay hours.csv -m beijing-lstm --horizon 24 --known hour,TEMP --column pm2.5=PM25

    ostinato replay hours.parquet -m beijing-seq2seq --id station --horizon 24 --plot hours.png --report hours.md
    """
    if series and sessions > 1:
        raise typer.BadParameter(
            "--id has a session for each series, and --sessions several for one", param_hint="--id"
        )
    if plot is not None:
        check_can_draw(plot)
    if report is not None:
        horizon_report.check_can_write(report, "--report")
        check_output_place(report, file)
    options = ReplayOptions(
        sessions=sessions,
        offset_rows=offset,
        horizon=horizon,
        known=split_names(known),
        rows_per_second=rate,
        context=read_context(context),
        keep_forecasts=plot is not None or report is not None,
    )
    console = table_console()
    Table(file)  # what is wrong with the file is told before a service is asked for
    choice = RowChoice(first, limit or None, warm_up, renamed_columns(column), split_names(time), gaps, series)
    work = _replay_file(console, file, model, url, options, choice, patience)
    with contextlib.suppress(KeyboardInterrupt):
        shape, result = asyncio.run(work)
        console.print(summary(shape, result))
        if report is not None:
            _write_report(console, report, file, shape, result, options, season)
        if plot is not None:
            draw(plot, shape, result.forecasts, options.horizon)
            console.print(f"forecasts drawn to {escape(str(plot))}", highlight=False, soft_wrap=True)
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
    series: str


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
        options = replace(options, known=shape.known_ahead(options.known))
        table = InputTable(
            file, shape.model_input, choice.renamed, time=choice.time, gaps=choice.gaps, series_option=SERIES_OPTION
        )
        first, before, limit = choice.first, choice.warm_up, choice.limit
        read: Mapping[str, InputRows]
        with console.status(f"reading {escape(file.name)}"):
            if choice.series:
                read = table.read_each(choice.series, first=first, before=before, limit=limit)
            else:
                read = {"": table.read(first=first, before=before, limit=limit)}
        for name, part in read.items():
            for warning in part.warnings:
                where = f"{file}: {name}" if name else f"{file}"
                console.print(f"[yellow]{escape(f'{where}: {warning}')}[/]", highlight=False, soft_wrap=True)
        if choice.series:
            num_rows = sum(len(part.rows) - part.num_ahead for part in read.values())
            with ReplayView(console, shape, num_rows, horizon=options.horizon) as view:
                return shape, await replay_each(client, shape, read, options, view)
        options = replace(options, warm_up_rows=read[""].num_ahead)
        num_rows = sum(rows_of_sessions(len(read[""].rows), options))
        with ReplayView(console, shape, num_rows, horizon=options.horizon) as view:
            return shape, await replay_rows(client, shape, read[""].rows, options, view)


def _write_report(
    console: Console,
    path: Path,
    file: Path,
    shape: ModelShape,
    result: Replayed,
    options: ReplayOptions,
    season_steps: int,
) -> None:
    scores = scores_of(shape, result.forecasts, options.horizon, season_steps)
    about: dict[str, Any] = {
        "model": shape.name,
        "version": shape.version,
        "file": str(file),
        "num_series": len(result.forecasts),
    }
    about |= {"num_origins": sum(len(each.made) for each in result.forecasts), "horizon": options.horizon}
    about |= {"season_steps": season_steps, "known": list(shape.known_ahead(options.known))}
    for each in scores:
        console.print(horizon_table(f"{shape.name}/{shape.version}", each))
    horizon_report.write(path, about, scores)
    console.print(f"scores written to {escape(str(path))}", highlight=False, soft_wrap=True)
