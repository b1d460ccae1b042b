"""``python -m tests.faults``: everything that may break breaks under load, and nothing acknowledged may suffer."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from ostinato.commands.progress import progress_bar, reporter
from tests import programs
from tests.faults import report
from tests.faults.play import Outcome, play
from tests.faults.scenarios import SCENARIOS, STORES, Scenario
from tests.histories.long import HISTORIES, Histories, play_histories

NAMES = tuple(scenario.name for scenario in (*SCENARIOS, HISTORIES))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"A fault to do, again for each: {', '.join(NAMES)}.")] = None,
    store: Annotated[list[str] | None, typer.Option(help=f"A store, again for each: {', '.join(STORES)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few faults of each kind: about two minutes.")] = False,
    faults: Annotated[int, typer.Option(min=0, help="How many of each kind; 0 = as many as a run has.")] = 0,
    sessions: Annotated[int, typer.Option(min=8, max=4096, help="Sessions that are stepped at once.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of inputs, chunks, and the times of the faults.")] = 1,
) -> None:
    """Step sessions while services, workers, Redis and connections are killed, stopped and cut.

    A client sends a chunk until it is answered. In the end what was answered must be, to the bit, what the model
    answers offline, and no session may have a step less or more than it was sent. Exit status 1 if one has.

    Of [bold]histories[/] every answer to any request at all is judged, by an independent reference of the sessions:
    there must be an order of the requests that explains them. A history's seed is the run's plus its number in the run.

    [bold]Examples[/]

    python -m tests.faults

    python -m tests.faults --quick

    python -m tests.faults --only kill-service --only kill-worker --store lmdb

    python -m tests.faults --only histories --store redis --faults 1000 --seed 7

    python -m tests.faults --only stop-replica --faults 10 --sessions 16 --seed 7
    """
    console = programs.console()
    programs.check_known(only, NAMES)
    programs.check_known(store, STORES)
    plan = [
        (scenario, name)
        for scenario in (*SCENARIOS, HISTORIES)
        for name in scenario.stores
        if (not only or scenario.name in only) and (not store or name in store)
        if faults or scenario.num_quick or not quick
    ]
    if not plan:
        asked = f"{', '.join(only or NAMES)} over {', '.join(store or STORES)}"
        raise typer.BadParameter(f"there is no {asked}: not every store shall survive every fault")
    outcomes: list[Outcome] = []
    try:
        for scenario, name in plan:
            count = faults or (scenario.num_quick if quick else scenario.num_long)
            outcomes.append(_play(console, scenario, name, count, sessions, seed, is_quick=quick))
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]; what was played until now:")
    console.print(report.table(outcomes))
    for outcome in outcomes:
        for line in report.explain(outcome):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(outcomes) < len(plan) or not all(outcome.is_sound for outcome in outcomes):
        raise typer.Exit(1)


def _play(
    console: Console,
    scenario: Scenario | Histories,
    store: str,
    num_faults: int,
    num_sessions: int,
    seed: int,
    *,
    is_quick: bool,
) -> Outcome:
    """Play a scenario with a progress bar, and a line when it is over."""
    with progress_bar(console, "faults", has_remaining=True, transient=True) as bar:
        tell = reporter(bar, f"{scenario.name}, {store}")

        def show(outcome: Outcome) -> None:
            tell(outcome.num_faults, num_faults, f"{outcome.num_steps:,} steps, {outcome.num_retries:,} retries")

        if isinstance(scenario, Histories):
            playing = play_histories(store, num_histories=num_faults, seed=seed, is_quick=is_quick, progress=show)
        else:
            playing = play(
                *(scenario, store),
                num_faults=num_faults,
                num_sessions=num_sessions,
                seed=seed,
                is_quick=is_quick,
                progress=show,
            )
        outcome = asyncio.run(playing)
    line = (
        f"{scenario.what} ({store}): {outcome.num_faults} times in {outcome.seconds:.0f} s, {report.verdict(outcome)}"
    )
    console.print(line, highlight=False)
    return outcome


if __name__ == "__main__":
    programs.command_line(main)(prog_name="python -m tests.faults")
