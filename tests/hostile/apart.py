"""A decoder under fire in a process of its own, which may die: the case that it died of is known."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from tests.hostile.breach import Breach, Toll
from tests.hostile.decoders import Decoder
from tests.hostile.in_process import case, play_decoder

_SPAWN = multiprocessing.get_context("spawn")
MOST_DEATHS = 5


def play_apart(decoder: Decoder, seed: int, *, seconds: float, numbers: Sequence[int] | None = None) -> Toll:
    """See ``play_decoder``: the cases of these numbers, or one after another for so long."""
    toll = Toll(decoder.name)
    give_up_at = time.monotonic() + seconds
    first = 0
    while len(toll.breaches) < MOST_DEATHS:
        last, part = _play_until_death(decoder, seed, first, numbers, give_up_at)
        toll.num_cases += part.num_cases
        toll.seconds += part.seconds
        for answer, number in part.counts.items():
            toll.counts[answer] = toll.counts.get(answer, 0) + number
        toll.breaches += part.breaches
        if last is None or numbers is not None or time.monotonic() > give_up_at:
            break
        first = last + 1
    return toll


def _play_until_death(
    decoder: Decoder, seed: int, first: int, numbers: Sequence[int] | None, give_up_at: float
) -> tuple[int | None, Toll]:
    """The case that the process died of, None if it did not; and what it came to."""
    current: Any = _SPAWN.Value("q", -1, lock=False)
    ours, theirs = _SPAWN.Pipe(duplex=False)
    seconds = give_up_at - time.monotonic()
    began_at = time.monotonic()
    process = _SPAWN.Process(target=_play, args=(decoder, seed, first, numbers, seconds, current, theirs))
    process.start()
    theirs.close()
    try:
        toll: Toll = ours.recv()
    except EOFError:
        process.join()
        died_of = int(current.value)
        toll = Toll(decoder.name, num_cases=died_of + 1 - first, seconds=time.monotonic() - began_at)
        content = case(decoder, seed, died_of) if died_of >= 0 else b""
        detail = f"the process died with {process.exitcode}"
        toll.breaches.append(Breach(decoder.name, seed, died_of, detail, content))
        return died_of, toll
    process.join()
    return None, toll


def _play(
    decoder: Decoder,
    seed: int,
    first: int,
    numbers: Sequence[int] | None,
    seconds: float,
    current: Any,
    out: Connection,
) -> None:
    give_up_at = time.monotonic() + seconds

    def note(number: int) -> None:
        current.value = number

    out.send(
        play_decoder(
            *(decoder, seed, count(first) if numbers is None else numbers),
            before=note,
            is_over=lambda: numbers is None and time.monotonic() > give_up_at,
        )
    )
