"""The course of a sequence: which of its steps go into which request, whatever protocol carries them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from ostinato.tools.load import Script

CYCLE_STEPS = 16
"""Different steps that each sequence has, over and over."""


class Portion(NamedTuple):
    """Steps that go into one request.

    Attributes:
        places: of the steps, in the cycle.
        is_first, is_last: whether a sequence begins or ends with it.
    """

    places: tuple[int, ...]
    is_first: bool
    is_last: bool


class Course(NamedTuple):
    """The requests of a connection's sequences: each portion once, in turn, then from ``again_from`` on, over and over.

    From 0 on where a sequence ends behind the last portion, and the next begins with the first.
    """

    portions: tuple[Portion, ...]
    again_from: int

    @classmethod
    def of(cls, request_steps: int, length: int | None) -> Course:
        """Sequences of ``length`` steps each, ``request_steps`` a request; None = one that has no end."""
        if length is None:
            # After so many requests the next begins where the first did.
            num_requests = math.lcm(request_steps, CYCLE_STEPS) // request_steps + 1
            starts = [request_steps * number for number in range(num_requests)]
            portions = [Portion(_places(start, start + request_steps), not start, False) for start in starts]
            return cls(tuple(portions), 1)
        ends = [min(start + request_steps, length) for start in range(0, length, request_steps)]
        starts = [0, *ends[:-1]]
        portions = [
            Portion(_places(start, end), not start, end == length) for start, end in zip(starts, ends, strict=True)
        ]
        return cls(tuple(portions), 0)


def spans(script: Script) -> Iterator[tuple[int, int]]:
    """Of each request of a script that begins with a sequence, how many steps that has before it, and behind it."""
    done = 0
    for turn in script.turns():
        before = 0 if turn == 0 else done
        done = before + script.steps_of(turn)
        yield before, done


def last_span(script: Script, turn: int, num_steps: int) -> tuple[int, int]:
    """The same of a request that was sent last, where ``num_steps`` were answered in all."""
    end = num_steps if script.again_from else list(accumulate(script.steps))[turn]
    return end - script.steps_of(turn), end


def _places(start: int, end: int) -> tuple[int, ...]:
    return tuple(step % CYCLE_STEPS for step in range(start, end))
