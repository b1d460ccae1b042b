"""The room of a tenant: how many sessions it may have, and how many it has, about."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ostinato.service.errors import RateLimited

REST_SECONDS, REST = 1.0, 20
"""After a count there is none for so long, or so many times as long as it took, whichever is longer."""
MOST_REMEMBERED = 100_000
"""Sessions begun since the last count, of which more are not remembered: the next count tells."""


class Room:
    """Knows about how many sessions a tenant has, in this process: for all of its keys, which may have limits.

    They are counted by a walk over all, and after it by what this process begins and closes. What others begin and
    close, and what expires, is known with the next walk, which is made with the next beginning when the last is old.
    So between two walks each process may let some begin that others have taken the room of.

    Args:
        count: counts those that are live, in the whole store.
        clock: seconds.
        now: seconds since the epoch, as sessions have them.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._count = count
        self._clock, self._now = clock, now
        self._counted: int | None = None
        self._counted_at = -math.inf
        self._begun: set[str] = set()
        self._next_at = -math.inf
        self._counting: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def one_more(self, name: str, most: int | None) -> AsyncIterator[None]:
        """Begin a session within this; if that fails, there is none of it.

        Args:
            name: of the session, in the store.
            most: how many there may be, inclusive; None = any number.

        Raises:
            RateLimited: there are as many as may be; tells when they are counted again.
        """
        is_new = name not in self._begun
        if most is not None:
            await self._check(most)
        if self._counted is not None:
            self._begun.add(name)
            if len(self._begun) > MOST_REMEMBERED:
                self._forget()
        try:
            yield
        except BaseException:
            if is_new:
                self._begun.discard(name)
            raise

    def give_back(self, name: str, opened_at: float = -math.inf) -> None:
        """A session ended here, or was not begun after all.

        Args:
            opened_at: when it was opened (epoch). One that another process opened since the last count was not counted,
                and leaves no room.
        """
        if name in self._begun:
            self._begun.discard(name)
        elif self._counted is not None and opened_at < self._counted_at:
            self._counted = max(0, self._counted - 1)

    async def _check(self, most: int) -> None:
        if self._counting is None and self._clock() >= self._next_at:
            self._counting = asyncio.ensure_future(self._count_anew())
            self._counting.add_done_callback(self._settle)
        if self._counting is not None:
            await asyncio.shield(self._counting)
        if self._num_live() >= most:
            wait = self._next_at - self._clock()
            raise RateLimited(
                f"{most} sessions are live, and that is the most that this key may have; close one first",
                math.ceil(wait) if 0 < wait < math.inf else 1,
            )

    def _num_live(self) -> int:
        return (self._counted or 0) + len(self._begun)

    async def _count_anew(self) -> None:
        began_at, counted_at, begun = self._clock(), self._now(), set(self._begun)
        counted = await self._count()
        self._counted, self._counted_at = counted, counted_at
        self._begun -= begun  # those that came meanwhile may have been counted or not
        ended_at = self._clock()
        self._next_at = ended_at + max(REST_SECONDS, REST * (ended_at - began_at))

    def _settle(self, counting: asyncio.Task[None]) -> None:
        self._counting = None
        if not counting.cancelled() and counting.exception() is not None:
            self._next_at = self._clock() + REST_SECONDS if self._counted is not None else -math.inf

    def _forget(self) -> None:
        self._counted, self._next_at = None, -math.inf
        self._begun.clear()
