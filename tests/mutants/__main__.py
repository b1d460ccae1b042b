"""``python -m tests.mutants``: plant each known fault, one at a time, and see that its test fails."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.mutant import PLANTED, Mutant, planted
from tests.mutants.run import copy_tree, failing, is_noticed

AREAS = tuple(sorted(path.stem for path in PLANTED.glob("*.toml")))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"An area, again for each: {', '.join(AREAS)}.")] = None,
    name: Annotated[str, typer.Option(help="Only faults whose words have this in them.")] = "",
) -> None:
    """Plant faults in a copy of the tree, one at a time. Exit status 1 if a test passes in spite of its fault.

    [bold]Examples[/]

    python -m tests.mutants

    python -m tests.mutants --only sessions --name "another row"
    """
    console = Console(width=None if sys.stdout.isatty() else 140)
    if unknown := sorted(set(only or ()) - set(AREAS)):
        raise typer.BadParameter(f"there is no area {unknown[0]!r}; there are {', '.join(AREAS)}")
    mutants = [mutant for mutant in planted(*(only or ())) if name in mutant.what]
    if not mutants:
        raise typer.BadParameter(f"no fault has {name!r} in its words")
    with tempfile.TemporaryDirectory(prefix="ostinato-mutants-") as folder:
        copy = Path(folder) / "tree"
        copy_tree(copy)
        console.print(f"{len(mutants)} faults; first their tests without any")
        if said := failing(copy, sorted({mutant.test for mutant in mutants})):
            console.print(said, markup=False, highlight=False)
            raise typer.Exit(1)
        passed = [mutant for mutant in track(mutants, "planting", console=console) if not is_noticed(mutant, copy)]
    console.print(f"{len(mutants) - len(passed)} of {len(mutants)} faults were noticed")
    if passed:
        console.print(_table(passed))
        raise typer.Exit(1)


def _table(mutants: list[Mutant]) -> Table:
    table = Table("fault", "file", "test that passed", title="not noticed")
    for mutant in mutants:
        table.add_row(mutant.what, mutant.file, mutant.test)
    return table


typer.run(main)
