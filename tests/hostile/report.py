"""What a run came to: a row for each decoder and attack, and each breach with what plays it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ostinato.commands.tables import WholeTable
from tests.hostile.breach import Toll

MAX_ANSWERS = 6
"""Of each row, the commonest."""
MAX_BREACHES = 5


def table(tolls: Iterable[Toll]) -> WholeTable:
    """A row for each decoder and attack."""
    made = WholeTable(title="hostile", title_justify="left")
    made.add_column("what")
    for title in ("cases", "s", "breaches"):
        made.add_column(title, justify="right")
    made.add_column("answers")
    for toll in tolls:
        numbers = f"{toll.num_cases:,}", f"{toll.seconds:.0f}", f"{len(toll.breaches):,}"
        made.add_row(toll.what, *numbers, answers(toll))
    return made


def answers(toll: Toll) -> str:
    """The commonest answers."""
    commonest = sorted(toll.counts.items(), key=lambda item: -item[1])
    more = ", ..." if len(commonest) > MAX_ANSWERS else ""
    return ", ".join(f"{answer}: {number:,}" for answer, number in commonest[:MAX_ANSWERS]) + more


def explain(tolls: Iterable[Toll]) -> Iterator[str]:
    """Lines about what was not borne."""
    for toll in tolls:
        yield from map(str, toll.breaches[:MAX_BREACHES])
        if len(toll.breaches) > MAX_BREACHES:
            yield f"{toll.what}: and {len(toll.breaches) - MAX_BREACHES} more"
