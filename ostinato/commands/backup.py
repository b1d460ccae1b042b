"""``ostinato sessions backup``: a copy of the sessions in a folder, while servers use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.commands.progress import late_progress
from ostinato.errors import SettingsError

SCHEME = "lmdb://"


def backup(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to create for the copy.")],
    state: Annotated[
        str, typer.Option("--state", help="Store of the sessions, lmdb://PATH.", envvar="OSTINATO_STATE")
    ] = "lmdb://state",
) -> None:
    """Copy the sessions of a folder, as they are now, while servers step them.

    Every step that was answered before is in the copy, and 'ostinato serve --state lmdb://FOLDER' serves it. This needs
    no server, and commits wait for some milliseconds. Back up a Redis with its own tools.

    [bold]Examples[/]

    ostinato sessions backup backups/monday --state lmdb:///var/lib/ostinato/state

    OSTINATO_STATE=lmdb://state ostinato sessions backup backups/monday
    """
    from ostinato.service.state.lmdb.backup import back_up

    if not state.startswith(SCHEME):
        raise SettingsError(
            f"--state {state.partition(':')[0]}:...: only lmdb:// is copied so; of a Redis, copy the file that "
            "BGSAVE or BGREWRITEAOF writes, and memory:// has nothing to copy"
        )
    folder = Path(unquote(state.removeprefix(SCHEME).partition("?")[0]))
    with late_progress(Console(stderr=True), f"copying {folder}", ""):
        made = back_up(folder, target)
    text = (
        f"{made.num_records:,} record{'s' * (made.num_records != 1)} and {made.num_segments} "
        f"file{'s' * (made.num_segments != 1)} of the journal, {made.num_bytes:,} bytes, are in "
        f"{target}"
    )
    Console().print(escape(text), highlight=False, soft_wrap=True)
