"""Locks by name, which are there as long as somebody holds or waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class NamedLocks:
    """Lets those that name the same thing through one after the other."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of a name."""
        lock, num_others = self._locks.get(name) or (asyncio.Lock(), 0)
        self._locks[name] = lock, num_others + 1
        try:
            async with lock:
                yield
        finally:
            _, num_left = self._locks.pop(name)
            if num_left > 1:
                self._locks[name] = lock, num_left - 1
