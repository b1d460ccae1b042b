"""The order of a session's requests: one at a time, in the order in which they arrived."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from ostinato.service.errors import OstinatoError
from ostinato.service.state.arena import Arena, Slots


class Turn(NamedTuple):
    """A request that waits until its session is free.

    ``future`` is an ``asyncio.Future`` or acts like one. ``begin`` returns whether it keeps the session busy; where
    ``future`` is done already, it only tidies up.
    """

    future: Any
    begin: Callable[[], bool]


class Turns:
    """Who may touch which slot: ``arena.busy`` says whether someone does, and here is the line behind them.

    Most sessions have at most one request at a time, so a line exists only while somebody waits in it.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[Arena, int], deque[Turn]] = {}

    def __repr__(self) -> str:
        return f"<Turns {sum(map(len, self._lines.values()))} waiting for {len(self._lines)} sessions>"

    def take(self, arena: Arena, slot: int, turn: Turn) -> None:
        """Begin a turn now if the slot is free, or when all before it have had theirs."""
        if arena.busy[slot]:
            self.wait(arena, slot, turn)
        else:
            arena.busy[slot] = turn.begin()

    def wait(self, arena: Arena, slot: int, turn: Turn) -> None:
        """Put a turn behind the others of a busy slot."""
        self._lines.setdefault((arena, slot), deque()).append(turn)

    def end(self, arena: Arena, slot: int) -> None:
        """End the turn that kept a slot busy, and begin the next ones until one keeps it busy."""
        line = self._lines.get((arena, slot)) if self._lines else None
        if line is None:
            arena.busy[slot] = False
            return
        busy = False
        while line and not busy:
            busy = line.popleft().begin()
        if not line:
            self._lines.pop((arena, slot), None)
        arena.busy[slot] = busy

    def end_all(self, arena: Arena, slots: Slots) -> None:
        """``end`` for each of ``slots``."""
        if not self._lines:
            arena.busy[slots] = False
            return
        for slot in slots.tolist():
            self.end(arena, slot)

    def refuse_rest(self, arena: Arena, slot: int, error: OstinatoError) -> None:
        """Answer everyone in a slot's line, whose session has ended, with ``error``."""
        line = self._lines.pop((arena, slot), deque())
        while line:
            turn = line.popleft()
            if not turn.future.done():
                turn.future.set_exception(error)
            turn.begin()

    @asynccontextmanager
    async def alone(self, arena: Arena, slot: int) -> AsyncIterator[None]:
        """Hold a slot, in turn, with nothing of its session under way; raises what the line is refused with."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        session_id = arena.session_ids[slot]
        self.take(arena, slot, Turn(granted, partial(_grant, granted)))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self.end(arena, slot)
            raise
        try:
            yield
        finally:
            # The holder may have ended the session, and the slot may be another's by now.
            if arena.session_ids[slot] == session_id:
                self.end(arena, slot)


def _grant(granted: asyncio.Future[None]) -> bool:
    if granted.done():
        return False
    granted.set_result(None)
    return True
