"""The census of a store that processes share: how many sessions of each model version are live, about.

Nobody counts as sessions come and go, for they expire by themselves and other processes open them, too. They are
counted by a walk over all, and after it by what this process began: near the limit before nearly each opening, far from
it seldom, and never so often that it is a twentieth of the work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from ostinato.service.errors import Overloaded, StateStoreUnavailable
from ostinato.service.state.arena import Arena

SHARE_OF_ROOM = 16
"""A recount is due when this process has begun a sixteenth of what there was room for: others begin some, too."""
REST = 20
"""After a recount there is none for so many times as long as it took."""
PATIENCE_SECONDS = 0.25
"""How long an opening waits for a recount; a longer one goes on beside it."""

OLD_SECONDS = 60.0
LONG_REST = 200
"""For those who only look a count is old after a minute, or 200 times as long as it took."""

logger = logging.getLogger(__name__)

CountLive = Callable[[Arena, float], Awaitable[int]]


class Tally:
    """What is known of one model version: ``counted`` at the last recount, None before, and ``begun`` since."""

    __slots__ = ("begun", "counted", "next_at", "old_at", "recount")

    def __init__(self) -> None:
        self.counted: int | None = None
        self.begun = 0
        self.next_at = self.old_at = -math.inf
        self.recount: asyncio.Task[None] | None = None


_NOTHING = Tally()


class Census:
    """Tallies of the live sessions by model version.

    Args:
        max_sessions: of each version, inclusive.
        count: counts the sessions of an arena's version that are live at a time, in the whole store.
    """

    def __init__(self, max_sessions: int, count: CountLive, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_sessions = max_sessions
        self._count = count
        self._clock = clock
        self._tallies: dict[Arena, Tally] = {}

    def is_due(self, arena: Arena) -> bool:
        """Whether to recount before one more session of it begins."""
        tally = self._tallies.setdefault(arena, Tally())
        if tally.counted is None:
            return True
        room = self._max_sessions - tally.counted
        return tally.begun >= room // SHARE_OF_ROOM and self._clock() >= tally.next_at

    def estimate(self, arena: Arena) -> int:
        """How many are live, about; what this process has begun, until they were counted."""
        tally = self._tallies.get(arena, _NOTHING)
        return max(0, (tally.counted or 0) + tally.begun)

    def is_old(self, arena: Arena) -> bool:
        """Whether to recount for those who only look, who are in no hurry."""
        tally = self._tallies.setdefault(arena, Tally())
        return tally.recount is None and self._clock() >= tally.old_at

    async def recount(self, arena: Arena, now: float) -> None:
        """Count, or let it be counted beside what goes on, where that takes long."""
        tally = self._tallies[arena]
        if tally.recount is None:
            tally.recount = asyncio.get_running_loop().create_task(self._recount(arena, tally, now))
        await asyncio.wait({tally.recount}, timeout=PATIENCE_SECONDS)

    def take(self, arena: Arena) -> None:
        """One more begins.

        Raises:
            Overloaded: as many are live as may be.
        """
        tally = self._tallies.setdefault(arena, Tally())
        if (tally.counted or 0) + tally.begun >= self._max_sessions:
            raise Overloaded(
                f"{self._max_sessions} sessions of this model are live, and that is the most allowed (--max-sessions)"
            )
        tally.begun += 1

    def give_back(self, arena: Arena) -> None:
        """One less is live, or one did not begin after all."""
        self._tallies.setdefault(arena, Tally()).begun -= 1

    def forget(self, arena: Arena) -> None:
        """Nobody asks for it any more."""
        tally = self._tallies.pop(arena, None)
        if tally is not None and tally.recount is not None:
            tally.recount.cancel()

    async def stop(self) -> None:
        """End what is under way."""
        running = [tally.recount for tally in self._tallies.values() if tally.recount is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _recount(self, arena: Arena, tally: Tally, now: float) -> None:
        began_at, begun = self._clock(), tally.begun
        try:
            tally.counted = await self._count(arena, now)
            tally.begun -= begun
        except StateStoreUnavailable as error:
            logger.warning("the sessions of %s could not be counted: %s", arena.manifest.name, error)
            tally.counted = tally.counted or 0  # anyone who opens one is told that the store is away
        finally:
            ended_at = self._clock()
            tally.next_at = ended_at + REST * (ended_at - began_at)
            tally.old_at = ended_at + max(OLD_SECONDS, LONG_REST * (ended_at - began_at))
            tally.recount = None
