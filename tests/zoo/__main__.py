"""``python -m tests.zoo``: recurrent modules as people write them, each exported, served, streamed and compared."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ostinato.commands.progress import tracked
from ostinato.commands.tables import WholeTable
from tests.server import running_server
from tests.zoo.entries import all_entries
from tests.zoo.keeper import Outcome, export_all, judge


def main(
    only: Annotated[list[str] | None, typer.Option(help="Part of a module's name, again for each.")] = None,
    every: Annotated[int, typer.Option(help="Take each N-th module only.", min=1, metavar="N")] = 1,
) -> None:
    """Export every module of the zoo, serve all, stream each by 8 sessions in random chunks, and compare to the bit
    with the offline run that its manifest promises. Exit status 1 if one is not as promised.

    [bold]Examples[/]

    python -m tests.zoo

    python -m tests.zoo --only lstm --only window

    python -m tests.zoo --every 4
    """
    console = Console(width=None if sys.stdout.isatty() else 140)
    chosen = [name for name in sorted(all_entries()) if not only or any(part in name for part in only)][::every]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        repository, directories = Path(folder, "repository"), []
        for name, exported in tracked(export_all(chosen, repository), len(chosen), console, "export", "modules"):
            if isinstance(exported, Path):
                directories.append(exported)
            else:
                outcomes.append(Outcome(name, "", exported))
        if directories:
            with running_server(repository, Path(folder), require_models=True) as server:
                judged = judge(directories, server)
                outcomes += tracked(judged, len(directories), console, "stream", "modules")
    console.print(_table(outcomes))
    failed = sum(bool(each.failure) for each in outcomes)
    console.print(f"{len(outcomes)} modules, {len(outcomes) - failed} as promised, {failed} not", highlight=False)
    if failed:
        raise typer.Exit(1)


def _table(outcomes: list[Outcome]) -> WholeTable:
    table = WholeTable(title="the zoo")
    table.add_column("module")
    table.add_column("promise")
    table.add_column("live and offline")
    for each in outcomes:
        table.add_row(each.name, each.promise, f"[red]{each.failure}[/]" if each.failure else "the same to the bit")
    return table


if __name__ == "__main__":
    typer.run(main)
