"""Long histories for ``make faults``: servers that lose answers and stand still, under clients that ask at random."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.play import Outcome
from tests.faults.stage import Stage
from tests.histories.conditions import LONG
from tests.histories.play import Playing
from tests.histories.stage import ServerStage

NUM_REQUESTS = 600
"""Of a history; more would only take longer to judge."""


@dataclass(frozen=True)
class Histories:
    """A scenario whose faults are histories: each is judged by itself, so its seed alone plays it again.

    Attributes:
        num_quick, num_long: how many histories a short and a long run have.
    """

    name: str
    what: str
    stores: tuple[str, ...]
    num_quick: int
    num_long: int


HISTORIES = Histories(
    *("histories", "random requests of many clients have an order that explains all answers"),
    stores=tuple(conditions.store for conditions in LONG),
    num_quick=5,
    num_long=200,
)


async def play_histories(
    store: str,
    *,
    num_histories: int,
    seed: int,
    is_quick: bool,
    progress: Callable[[Outcome], None] = lambda _: None,
    num_requests: int = NUM_REQUESTS,
    stage_kind: type[Stage] = ServerStage,
) -> Outcome:
    """Play and judge histories, ``seed`` being that of the first; ``progress`` is told after each.

    A chunk of the outcome is a request here, and what was not answered counts as sent again.
    """
    (conditions,) = (each for each in LONG if each.store == store)
    outcome = Outcome(HISTORIES.name, store, seed, 2 * conditions.num_pairs, num_histories, is_quick)
    began_at = time.monotonic()
    try:
        async with Playing(conditions, stage_kind, seed) as playing:
            for number in range(num_histories):
                history = await playing.play(seed + number, num_requests)
                outcome.findings += history.judge(conditions.reference)
                outcome.num_faults += 1
                outcome.num_chunks += len(history.operations)
                outcome.num_steps += history.num_steps
                outcome.num_retries += history.num_unknown
                progress(outcome)
            if not outcome.is_sound:
                outcome.logs = playing.stage.logs()
    except AssertionError as error:  # a service, or Redis, did not start
        outcome.failure = str(error)
    outcome.seconds = time.monotonic() - began_at
    return outcome
