"""``python -m tests.mutants``: plant each known fault, one at a time, and see that its test fails."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests import programs
from tests.mutants.mutant import PLANTED, Mutant, planted
from tests.mutants.run import copy_tree, failing, is_noticed

AREAS = tuple(sorted(path.stem for path in PLANTED.glob("*.toml")))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"An area, again for each: {', '.join(AREAS)}.")] = None,
    name: Annotated[str, typer.Option(help="Only faults whose words have this in them.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="How many at once.")] = os.cpu_count() or 1,
) -> None:
    """Plant faults in a copy of the tree, one at a time. Exit status 1 if a test passes in spite of its fault.

    [bold]Examples[/]

    python -m tests.mutants

    python -m tests.mutants --only sessions --name "another row"
    """
    console = programs.console()
    programs.check_known(only, AREAS)
    mutants = [mutant for mutant in planted(*(only or ())) if name in mutant.what]
    if not mutants:
        raise typer.BadParameter(f"no fault has {name!r} in its words")
    with tempfile.TemporaryDirectory(prefix="ostinato-mutants-") as folder:
        first = Path(folder) / "tree-1"
        copy_tree(first)
        console.print(f"{len(mutants)} faults; first their tests without any")
        if said := failing(first, sorted({mutant.test for mutant in mutants}), writes_bytecode=True):
            console.print(said, markup=False, highlight=False)
            raise typer.Exit(1)
        passed = _not_noticed(console, mutants, _copies(first, min(jobs, len(mutants))))
    console.print(f"{len(mutants) - len(passed)} of {len(mutants)} faults were noticed")
    if passed:
        console.print(_table(passed))
        raise typer.Exit(1)


def _copies(first: Path, count: int) -> queue.SimpleQueue[Path]:
    """Copies of a copy, with it, of which each is taken by one fault at a time."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(1, count + 1):
        copy = first.with_name(f"tree-{number}")
        if copy != first:
            shutil.copytree(first, copy, symlinks=True)
        free.put(copy)
    return free


def _not_noticed(console: Console, mutants: list[Mutant], copies: queue.SimpleQueue[Path]) -> list[Mutant]:
    """Plant each fault and tell of it when its test has ended; those whose test passed."""
    num_done = 0

    def plant(mutant: Mutant) -> bool:
        nonlocal num_done
        copy, began_at = copies.get(), time.monotonic()
        try:
            noticed = is_noticed(mutant, copy)
        finally:
            copies.put(copy)
        num_done += 1
        word = "noticed" if noticed else "NOT NOTICED"
        place = f"{num_done:3}/{len(mutants)} {time.monotonic() - began_at:5.1f} s"
        console.print(f"{place}  {word}: {mutant.what} ({mutant.file})", markup=False, highlight=False, soft_wrap=True)
        return noticed

    with ThreadPoolExecutor(copies.qsize()) as pool:
        answers = pool.map(plant, mutants)
        return [mutant for mutant, noticed in zip(mutants, answers, strict=True) if not noticed]


def _table(mutants: list[Mutant]) -> Table:
    table = Table("fault", "file", "test that passed", title="not noticed")
    for mutant in mutants:
        table.add_row(mutant.what, mutant.file, mutant.test)
    return table


programs.command_line(main)(prog_name="python -m tests.mutants")
