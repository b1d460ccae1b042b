"""``ostinato replay``: a file becomes live sessions."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ostinato.client.async_client import AsyncClient
from ostinato.commands.replay_view import ReplayView, summary
from ostinato.errors import TableError
from ostinato.tools.replay import ModelShape, Options, Replayed, rows_of_sessions
from ostinato.tools.replay import replay as replay_lines
from ostinato.tools.table import Table

URL = "http://127.0.0.1:3000"


def replay(
    file: Annotated[Path, typer.Argument(help="CSV with a header; .xz, .gz and .bz2 are read, too.", metavar="FILE")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose sessions take the rows.")],
    url: Annotated[str, typer.Option(help="Where the service listens.", envvar="OSTINATO_URL")] = URL,
    sessions: Annotated[int, typer.Option(min=1, max=10_000, help="Sessions that replay the file at once.")] = 1,
    offset: Annotated[int, typer.Option(min=0, help="Rows by which each session begins after the one before.")] = 1,
    first: Annotated[
        str, typer.Option("--from", help="The first row: its number, counted from 1, or its time.", metavar="ROW|TIME")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Rows to replay; 0 = to the end of the file.")] = 0,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Rows ahead of the first that bring the state up, unscored and in few requests.")
    ] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Rows a second in each session; 0 = as fast as it goes.")] = 0.0,
    horizon: Annotated[int, typer.Option(min=1, help="Steps ahead to forecast and score.")] = 1,
    known: Annotated[
        str, typer.Option(help="Inputs whose future a longer forecast may read from the file, by commas.")
    ] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="Input and the column that holds it, FEATURE=COLUMN; may be repeated.")
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for which a refused request is sent again.")] = 30.0,
) -> None:
    """Stream the rows of any CSV through sessions of a running service, one step a row, and score what it foretells.

    Columns are found by the names of the model's inputs, words become the model's codes, and an empty field or NA is a
    missing value. Each row is compared with the forecast that was made before it came, beside persistence: the last
    value seen.

    [bold]Examples[/]

    ostinato replay hours.csv --model beijing-lstm

    ostinato replay hours.csv.xz -m beijing-lstm --from 2014-12-01 --warm-up 336 --rate 50

    ostinato replay hours.csv.xz -m beijing-lstm --sessions 64 --limit 500

    ostinato replay hours.csv -m beijing-lstm --horizon 24 --known hour,TEMP --column pm2.5=PM25
    """
    options = Options(
        sessions=sessions,
        offset_rows=offset,
        horizon=horizon,
        known=tuple(name.strip() for name in known.split(",") if name.strip()),
        rows_per_second=rate,
    )
    console = Console()
    work = _replay_file(
        console, file, model, url, options, first, limit or None, warm_up, _renamed(column or []), patience
    )
    with contextlib.suppress(KeyboardInterrupt):
        shape, result = asyncio.run(work)
        console.print(summary(shape, result))
        return
    console.print("[yellow]stopped[/]; the sessions are closed")
    raise typer.Exit(130)


async def _replay_file(
    console: Console,
    file: Path,
    model: str,
    url: str,
    options: Options,
    first: str,
    limit: int | None,
    warm_up: int,
    renamed: dict[str, str],
    patience_seconds: float,
) -> tuple[ModelShape, Replayed]:
    async with AsyncClient(url, patience_seconds=patience_seconds) as client:
        shape = ModelShape.of(await client.model(model))
        if unknown := [name for name in options.known if name not in shape.features]:
            raise TableError(f"--known {unknown[0]}: the model's inputs are {', '.join(shape.features)}")
        table = Table(file, shape.model_input, renamed)
        with console.status(f"reading {file.name}"):
            lines, ahead = table.lines(first=first, before=warm_up, limit=limit)
        options = Options(**{**vars(options), "warm_up_rows": ahead})
        num_rows = sum(rows_of_sessions(len(lines), options))
        with ReplayView(console, shape, num_rows, horizon=options.horizon) as view:
            return shape, await replay_lines(client, shape, lines, options, view)


def _renamed(pairs: list[str]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        feature, equals, name = pair.partition("=")
        if not (feature and equals and name):
            raise typer.BadParameter(f"{pair!r} is not of the form FEATURE=COLUMN", param_hint="--column")
        renamed[feature] = name
    return renamed
