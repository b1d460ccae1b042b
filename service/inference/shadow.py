"""The shadow of one session: where its run by another version is, and what of it waits."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ostinato.service.engine.recurrent.engine import PrivateWork
from ostinato.service.state.arena import NEVER, Arena, Rows


class AnsweredChunk(NamedTuple):
    """A chunk of a session as it was answered by a version, rows ``[n, width]``; both are copies."""

    inputs: NDArray[Any]
    outputs: NDArray[Any]
    arena: Arena

    @property
    def num_bytes(self) -> int:
        """What it takes while it waits."""
        return int(self.inputs.nbytes + self.outputs.nbytes)


class Shadow:
    """The run of a session's chunks by another version, one after the other.

    Between two chunks its state is here and not in a slot, so that nothing of the engine is taken while a session waits
    for its client: a slot, and a row of the queue, are its own for as long as a chunk runs.

    Attributes:
        name: the session's.
        states: what is carried behind the chunks that have run, each of its ``row_shape``.
        waiting: chunks that have not run, the one that is running first.
        work: what runs; None = nothing.
        arena, slot: where the session was when it was seen last.
    """

    def __init__(self, name: str, states: Rows, arena: Arena) -> None:
        self.name = name
        self.states = states
        self.waiting: deque[AnsweredChunk] = deque()
        self.work: PrivateWork | None = None
        self.arena, self.slot = arena, -1
        self._opened_at = 0.0
        self._history = (0, NEVER, 0)

    def __repr__(self) -> str:
        return f"<Shadow of {self._history[0]} steps, {len(self.waiting)} waiting>"

    def follow(self, slot: int, history: tuple[int, int, int]) -> None:
        """Its session is there, with this behind it: its steps, those before the chunk applied last, and that chunk's
        checksum.
        """
        self.slot = slot
        self._opened_at = float(self.arena.opened_at[slot])
        self._history = history

    def why_not(self, arena: Arena, slot: int) -> str | None:
        """Why the session in a slot, as it is now, is not the one that was seen last: a reason; None = it is."""
        if arena is not self.arena:
            return "changed"  # it was migrated
        if arena.opened_at[slot] != self._opened_at:
            return "ended"
        history = int(arena.steps[slot]), int(arena.last_seq[slot]), int(arena.last_digest[slot])
        if history == self._history:
            return None
        return "changed" if history[1] == NEVER else "stepped_elsewhere"
