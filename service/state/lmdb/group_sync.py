"""Group sync: many wait for the disk at once, and one sync serves all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class GroupSync:
    """Runs a sync for all who wait for one; those who come while one runs wait for the next.

    Args:
        begin_sync: returns what puts all that was written before on the disk; that runs in a thread.
    """

    def __init__(self, begin_sync: Callable[[], Callable[[], None]]) -> None:
        self._begin_sync = begin_sync
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Until everything that was written before is on the disk.

        Raises:
            OSError: it is not.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
        await asyncio.shield(self._next)

    async def _run(self, running: asyncio.Task[None] | None) -> None:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        await asyncio.to_thread(self._begin_sync())
