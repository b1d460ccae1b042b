"""``python -m tests.mutants``: plant each known fault, one at a time, and see that its test fails."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ostinato.commands.tables import WholeTable
from tests import programs
from tests.mutants.mutant import PLANTED, Mutant, planted
from tests.mutants.notes import NOTES, Notes
from tests.mutants.run import Copy, NotRun, copy_tree

AREAS = tuple(sorted(path.stem for path in PLANTED.glob("*.toml")))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"An area, again for each: {', '.join(AREAS)}.")] = None,
    name: Annotated[str, typer.Option(help="Only faults whose words have this in them.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="How many at once.")] = os.cpu_count() or 1,
    resume: Annotated[
        bool, typer.Option("--resume", help=f"Leave out what runs before have noticed, by {NOTES.name}.")
    ] = False,
) -> None:
    """Plant faults in a copy of the tree, one at a time. Exit status 1 if a test passes in spite of its fault.

    [bold]Examples[/]

    python -m tests.mutants

    python -m tests.mutants --only sessions --name "another row"

    python -m tests.mutants --resume
    """
    console = programs.console()
    programs.check_known(only, AREAS)
    chosen = [mutant for mutant in planted(*(only or ())) if name in mutant.what]
    if not chosen:
        raise typer.BadParameter(f"no fault has {name!r} in its words")
    notes, began_at = Notes(resume), time.monotonic()
    mutants = [mutant for mutant in chosen if not notes.has(mutant)]
    with tempfile.TemporaryDirectory(prefix="ostinato-mutants-") as folder, ExitStack() as stack:
        copies = _copies(Path(folder), min(jobs, len(mutants)), stack)
        console.print(f"{len(mutants)} of {len(chosen)} faults are left; first their tests without any")
        first = copies[0] if copies else None
        if first and (said := first.failing(sorted({mutant.test for mutant in mutants}), is_sound=True)):
            console.print(said, markup=False, highlight=False)
            raise typer.Exit(1)
        passed = _not_noticed(console, mutants, copies, notes)
    minutes = (time.monotonic() - began_at) / 60
    console.print(f"{len(chosen) - len(passed)} of {len(chosen)} faults were noticed; it took {minutes:.1f} minutes")
    if passed:
        console.print(_table(passed))
        raise typer.Exit(1)


def _copies(folder: Path, count: int, stack: ExitStack) -> list[Copy]:
    """Copies of the tree, each for one fault at a time."""
    roots = [folder / f"tree-{number}" for number in range(1, count + 1)]
    for root in roots:
        if root == roots[0]:
            copy_tree(root)
        else:
            shutil.copytree(roots[0], root, symlinks=True)
    return [stack.enter_context(Copy(root)) for root in roots]


def _not_noticed(console: Console, mutants: list[Mutant], copies: list[Copy], notes: Notes) -> list[tuple[Mutant, str]]:
    """Plant each fault and tell of it when its test has ended; those whose test passed or did not run, and which."""
    num_done = 0
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def plant(mutant: Mutant) -> str:
        nonlocal num_done
        copy, began_at = free.get(), time.monotonic()
        try:
            key = mutant.key(copy.root)
            why = "" if copy.notices(mutant) else "passed"
        except NotRun as error:
            why = f"did not run: {error}"
        finally:
            free.put(copy)
        if not why:
            notes.add(mutant, key)
        num_done += 1
        word = f"NOT NOTICED, its test {why}" if why else "noticed"
        place = f"{num_done:3}/{len(mutants)} {time.monotonic() - began_at:5.1f} s"
        console.print(f"{place}  {word}: {mutant.what} ({mutant.file})", markup=False, highlight=False, soft_wrap=True)
        return why

    with ThreadPoolExecutor(max(1, len(copies))) as pool:
        answers = pool.map(plant, mutants)
        return [(mutant, why) for mutant, why in zip(mutants, answers, strict=True) if why]


def _table(passed: list[tuple[Mutant, str]]) -> WholeTable:
    table = WholeTable("fault", "file", "test", "which", title="not noticed")
    for mutant, why in passed:
        table.add_row(mutant.what, mutant.file, mutant.test, why.partition(":")[0])
    return table


programs.command_line(main)(prog_name="python -m tests.mutants")
