"""``ostinato sessions``: look after the sessions of a running service, and move them from one to another."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.client.answers import SessionInfo
from ostinato.client.client import Client
from ostinato.client.verbs import ENDED
from ostinato.commands.backup import backup
from ostinato.commands.options import PATIENCE_SECONDS, URL, AsJson, Patience, Url
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import CommandError, ServiceError
from ostinato.tools.session_files import (
    file_name,
    file_ttl_seconds,
    import_session,
    make_folder,
    read_file,
    write_file,
)

UNREADABLE = "record_unreadable"
"""Code of a session that the service cannot read."""

SessionIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Sessions.", show_default="none")]

sessions = typer.Typer(
    name="sessions",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@sessions.callback()
def about() -> None:
    """List, show, export, import and close sessions of a running service, and back up its store.

    Each command has a --help of its own.

    [bold]Examples[/]

    ostinato sessions list --model beijing-lstm

    ostinato sessions export station-7 --output states

    ostinato sessions import states/station-7.safetensors --url http://127.0.0.1:3001

    ostinato sessions close station-7

    ostinato sessions backup backups/monday --state lmdb://state
    """


sessions.command()(backup)


@sessions.command("list")
def list_sessions(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Sessions of this model only.", show_default="of all")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="The most sessions to list; 0 = all.")] = 0,
    as_json: AsJson = False,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """List live sessions.

    [bold]Examples[/]

    ostinato sessions list

    ostinato sessions list --model beijing-lstm --limit 20

    ostinato sessions list --json | jq -r .session_id
    """
    console, table = table_console(), _table()
    with Client(url, patience_seconds=patience) as client, _counted(client, model, is_quiet=as_json) as found:
        for info in islice(found, limit) if limit else found:
            if as_json:
                typer.echo(_json(info))
            else:
                _add(table, info)
        has_more = limit and table.row_count == limit and next(found, None) is not None
    none = "there is no live session" + (f" of {escape(model)}" if model else "")
    if not as_json:
        console.print(table if table.row_count else none)
    if has_more:
        console.print(f"[dim]There are more than {limit}.[/]")


@sessions.command()
def show(
    session_id: Annotated[str, typer.Argument(metavar="ID", help="The session.")],
    as_json: AsJson = False,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Show one session.

    [bold]Example[/]

    ostinato sessions show station-7
    """
    with Client(url, patience_seconds=patience) as client:
        info = client.resume(session_id).look()
    if as_json:
        typer.echo(_json(info))
        return
    table = _table()
    _add(table, info)
    table_console().print(table)


@sessions.command("export")
def export_sessions(
    session_ids: SessionIds = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.", show_default="this folder")
    ] = Path(),
    every: Annotated[bool, typer.Option("--all", help="Export all live sessions.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="With --all: of this model only.", show_default="of all")
    ] = None,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Write the state of sessions to files <ID>.safetensors.

    A file also has the model, the steps, the last output and the time to live; an existing file is replaced. The
    sessions do not change, and stay live. With --all, sessions that the service cannot read are left out and named, and
    the exit status is 1.

    [bold]Examples[/]

    ostinato sessions export station-7 station-8 --output states

    ostinato sessions export --all --model beijing-lstm --output states
    """
    _check_choice(session_ids, every, model)
    console = Console()
    with Client(url, patience_seconds=patience) as client:
        chosen = _all_ids(client, model) if every else session_ids or []
        paths = {session_id: output / file_name(session_id) for session_id in chosen}
        make_folder(output)
        num_written = 0
        unreadable: list[str] = []
        with _progress(console, "export", len(paths)) as advance:
            for session_id, path in paths.items():
                try:
                    # One that ended since it was listed is none of all live sessions.
                    with _ignored(ENDED if every else ()):
                        write_file(path, client.resume(session_id).state())
                        num_written += 1
                except ServiceError as error:
                    if not every or error.code != UNREADABLE:
                        raise
                    unreadable.append(session_id)
                advance()
    console.print(f"{_count(num_written)} exported to {escape(str(output))}", highlight=False, soft_wrap=True)
    if unreadable:
        names = ", ".join(unreadable)
        raise CommandError(f"the service cannot read the record of {_count(len(unreadable))}, left out: {names}")


@sessions.command("import")
def import_sessions(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files that 'export' wrote.")],
    session_id: Annotated[
        str | None, typer.Option("--session-id", metavar="ID", help="Id of the session.", show_default="the file's")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model.", show_default="the file's")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="The model's version.", show_default="the file's, or the latest")
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option("--ttl", min=0, help="Seconds that it may be idle; 0 = for ever.", show_default="the file's"),
    ] = None,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Open sessions with the state of files.

    Each continues, to the bit, as the exported session would have. It is opened under the id in the file, on the same
    version of its model, or on the latest if that version is not served. Its time to live is that of the file, and
    starts again.

    [bold]Examples[/]

    ostinato sessions import states/*.safetensors --url http://127.0.0.1:3001

    ostinato sessions import states/station-7.safetensors --session-id station-7-again --version 2
    """
    if session_id is not None and len(files) > 1:
        raise typer.BadParameter("it names one session, and there are several files", param_hint="--session-id")
    console = Console()
    contents = [(path, *read_file(path)) for path in files]
    with Client(url, patience_seconds=patience) as client, _progress(console, "import", len(files)) as advance:
        for path, content, metadata in contents:
            session, notes = import_session(
                client,
                path,
                content,
                model=model or metadata.get("model"),
                session_id=session_id or metadata.get("session_id"),
                version=version,
                former_version=metadata.get("version"),
                ttl_seconds=file_ttl_seconds(path, metadata) if ttl is None else ttl,
            )
            name = f"{session.session_id}: {session.model}/{session.version}, {session.steps:,} steps"
            console.print(escape(name), highlight=False, soft_wrap=True)
            for note in notes:
                console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
            advance()


@sessions.command("close")
def close_sessions(
    session_ids: SessionIds = None,
    every: Annotated[bool, typer.Option("--all", help="Close all live sessions of --model.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="With --all: only sessions of this model.", show_default="none")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before several sessions are closed.")] = False,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Close sessions; their state is gone. Asks first where it is more than one.

    [bold]Examples[/]

    ostinato sessions close station-7

    ostinato sessions close --all --model beijing-lstm --yes
    """
    _check_choice(session_ids, every, model)
    if every and model is None:
        raise typer.BadParameter("--model says whose sessions are to be closed", param_hint="--all")
    console = Console()
    with Client(url, patience_seconds=patience) as client:
        chosen = _all_ids(client, model) if every else list(dict.fromkeys(session_ids or []))
        if len(chosen) > 1 and not yes:
            typer.confirm(f"Close {_count(len(chosen))}?", abort=True)
        num_closed = 0
        with _progress(console, "close", len(chosen)) as advance:
            for each in chosen:
                with _ignored(ENDED if every else ()):
                    client.close_session(each)
                    num_closed += 1
                advance()
    console.print(f"{_count(num_closed)} closed", highlight=False)


def _check_choice(session_ids: Sequence[str] | None, every: bool, model: str | None) -> None:
    """Either ids or ``--all``."""
    if bool(session_ids) == every:
        raise typer.BadParameter("name sessions, or give --all, and not both")
    if model is not None and not every:
        raise typer.BadParameter("it goes with --all; an id is one session's, whatever its model", param_hint="--model")


def _all_ids(client: Client, model: str | None) -> list[str]:
    """Of all live sessions."""
    with _counted(client, model) as found:
        return [info.session_id for info in found]


@contextlib.contextmanager
def _counted(client: Client, model: str | None, *, is_quiet: bool = False) -> Iterator[Iterator[SessionInfo]]:
    """The live sessions; those that were passed over, since the service cannot read them, are told at the end."""
    num_unreadable = num_listed = 0

    def walk() -> Iterator[SessionInfo]:
        nonlocal num_unreadable, num_listed
        for page in client.session_pages(model):
            num_unreadable += page.num_unreadable
            num_listed += len(page.sessions)
            report(num_listed, None)
            yield from page.sessions

    with late_progress(Console(stderr=True), "listing", "sessions", disable=is_quiet) as report:
        yield walk()
    if num_unreadable:
        text = f"{_count(num_unreadable)} left out, of whichever model: the service cannot read what it stored of them."
        text += " Its log names them, and 'ostinato sessions close ID' removes one."
        Console(stderr=True).print(f"[yellow]{escape(text)}[/]", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _ignored(codes: Sequence[str]) -> Iterator[None]:
    """Pass over refusals with one of these codes."""
    try:
        yield
    except ServiceError as error:
        if error.code not in codes:
            raise


@contextlib.contextmanager
def _progress(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar; each call counts a session as done."""
    with late_progress(console, what, "sessions") as report:
        done = count(1)
        yield lambda: report(next(done), total)


def _table() -> WholeTable:
    table = WholeTable("session", "model", "version")
    table.add_column("steps", justify="right")
    table.add_column("opened")
    table.add_column("expires")
    return table


def _add(table: WholeTable, info: SessionInfo) -> None:
    expires = _time(info.expires_at) if info.expires_at else "never"
    names = (escape(info.session_id), escape(info.model), escape(info.version))
    table.add_row(*names, f"{info.steps:,}", _time(info.opened_at), expires)


def _time(time: datetime | None) -> str:
    """In the time of this machine, to the second."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time else "-"


def _json(info: SessionInfo) -> str:
    facts = asdict(info)
    del facts["bits_may_differ"]  # which is of a state that was just put there
    return json.dumps(facts, default=datetime.isoformat)


def _count(number: int) -> str:
    return f"{number:,} session" + ("s" if number != 1 else "")
