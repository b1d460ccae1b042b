"""Busy polling: an event loop that does not sleep for a while, since the next request may be about to come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class BusyPoll:
    """Keeps an event loop asking for what has come, over and over, until nothing did for so long.

    A processor that sleeps between two requests takes tens of microseconds to wake up, and finds its caches cold: more
    than a small network's step takes. Polling spares a client alone that wait, at the price of the whole core.

    Args:
        seconds: how long it asks on behind the last ``begin``.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0
        self._is_polling = False

    def __repr__(self) -> str:
        return f"<BusyPoll {self._seconds:g} s{', polling' if self._is_polling else ''}>"

    def begin(self) -> None:
        """Something came: more may, for so long from now."""
        self._until = self._clock() + self._seconds
        if not self._is_polling:
            self._is_polling = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Be called again in the loop's next turn: while something is to be called, it looks and does not wait."""
        if self._clock() < self._until:
            self._loop.call_soon(self._poll)
        else:
            self._is_polling = False
