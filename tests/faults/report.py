"""What a run has found, as a table and, for each finding, what reprints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ostinato.commands.tables import WholeTable
from tests.faults.judge import Fault
from tests.faults.play import Outcome

COUNTED = (Fault.LOST, Fault.DOUBLED, Fault.SWAPPED, Fault.IMPOSSIBLE)
MAX_LINES = 12
"""Of what a service printed before it failed."""
MAX_FINDINGS = 5
"""Of each scenario; they are often the same thing many times."""


def table(outcomes: Iterable[Outcome]) -> WholeTable:
    """A row for each scenario and store."""
    made = WholeTable(title="faults", title_justify="left")
    made.add_column("fault")
    made.add_column("store")
    for title in (
        "faults",
        "sessions",
        "chunks",
        "steps",
        "retries",
        "answered again",
        "lost",
        "doubled",
        "swapped",
        "impossible",
    ):
        made.add_column(title, justify="right")
    made.add_column("s", justify="right")
    made.add_column("verdict")
    for outcome in outcomes:
        numbers = (
            *(outcome.num_faults, outcome.num_sessions, outcome.num_chunks, outcome.num_steps, outcome.num_retries),
            *(outcome.num_answers_again, *map(outcome.num_sessions_with, COUNTED)),
        )
        shown = [f"{number:,}" for number in numbers]
        made.add_row(outcome.scenario, outcome.store, *shown, f"{outcome.seconds:.0f}", verdict(outcome))
    return made


def verdict(outcome: Outcome) -> str:
    """In a word."""
    if outcome.is_sound:
        return "[green]sound[/]"
    if outcome.findings:
        return "[red]broken[/]"
    return "[red]not played[/]"


def explain(outcome: Outcome) -> Iterator[str]:
    """Lines about a scenario that is not sound."""
    if outcome.is_sound:
        return
    yield f"{outcome.scenario} over {outcome.store}, seed {outcome.seed}; again with: {outcome.command}"
    if outcome.failure:
        first, *rest = outcome.failure.splitlines()
        yield "\n  ".join([f"  {first}", *rest[-MAX_LINES:]])
    elif outcome.num_faults < outcome.num_wanted:
        yield f"  {outcome.num_faults} of {outcome.num_wanted} faults, then no session was left to be stepped"
    for finding in outcome.findings[:MAX_FINDINGS]:
        yield f"  {finding}"
    if len(outcome.findings) > MAX_FINDINGS:
        yield f"  and {len(outcome.findings) - MAX_FINDINGS} more"
    if outcome.logs:
        yield outcome.logs
