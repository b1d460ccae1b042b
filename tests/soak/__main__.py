"""``python -m tests.soak``: a service under mixed load for long, right to the bit and no larger at the end."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ostinato.commands.progress import progress_bar, reporter
from ostinato.commands.tables import WholeTable
from tests import programs
from tests.faults.scenarios import STORES
from tests.soak.play import Soak, play

MAX_LINES = 10
SHOWN_ROUNDS = 20


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    store: Annotated[str, typer.Option(help=f"One of {', '.join(STORES)}.")] = "lmdb",
    round_seconds: Annotated[
        float, typer.Option(min=1.0, help="After each round all sessions are judged and closed.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of inputs, chunks and visits.")] = 1,
) -> None:
    """Step sessions over HTTP, streams and columnar messages, while others come and go, predict, look and err.

    Each round's answers are compared, to the bit, with offline runs. Exit status 1 if one differs, if a request got
    another answer than it deserved, or if the service's memory or descriptors grow from the first rounds to the last.

    [bold]Examples[/]

    python -m tests.soak

    python -m tests.soak --minutes 2 --store redis --seed 7
    """
    programs.check_known([store], STORES)
    console = programs.console()
    seconds = minutes * 60
    with progress_bar(console, "s", has_remaining=True, transient=True) as bar:
        report = reporter(bar, f"soak, {store}")

        def show(soak: Soak, passed: float) -> None:
            report(int(passed), int(seconds), f"{len(soak.rounds)} rounds")

        soak = asyncio.run(play(store, seconds=seconds, round_seconds=round_seconds, seed=seed, progress=show))
    console.print(table(soak))
    for line in words(soak):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not soak.is_sound:
        raise typer.Exit(1)


def table(soak: Soak) -> WholeTable:
    """A row for each round; of many, some from the first to the last."""
    made = WholeTable(title=f"soak, {soak.store}", title_justify="left")
    for title in ("round", "steps/s", "p50 ms", "p99 ms", "memory MiB", "descriptors"):
        made.add_column(title, justify="right")
    every = max(1, -(-len(soak.rounds) // SHOWN_ROUNDS))
    for number, each in enumerate(soak.rounds, 1):
        if number % every and number not in (1, len(soak.rounds)):
            continue
        milliseconds = [f"{seconds * 1000:.1f}" for seconds in (each.p50_seconds, each.p99_seconds)]
        rate, memory = f"{each.num_steps / each.seconds:,.0f}", f"{each.memory_mib:.1f}"
        made.add_row(str(number), rate, *milliseconds, memory, str(each.num_descriptors))
    return made


def words(soak: Soak) -> list[str]:
    """The verdict, and why."""
    num_steps = sum(each.num_steps for each in soak.rounds)
    lines = [f"{num_steps:,} steps and {soak.num_visits:,} visits in {len(soak.rounds)} rounds, seed {soak.seed}"]
    lines += [str(each) for each in soak.growths]
    lines += [str(finding) for finding in soak.findings[:MAX_LINES]]
    lines += soak.surprises[:MAX_LINES]
    lines += soak.logs.splitlines()
    return [*lines, "sound" if soak.is_sound else "not sound"]


if __name__ == "__main__":
    programs.command_line(main)(prog_name="python -m tests.soak")
