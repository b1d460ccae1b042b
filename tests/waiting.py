"""Waiting for what must come: as long as it takes, and no longer than a test may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 100.0
"""On a busy machine all may take long, so this says nothing of speed. It is less than a test's limit."""

POLL_SECONDS = 0.05


def until(is_so: Callable[[], object], what: str = "it") -> None:
    """Wait until ``is_so`` says yes; ``what`` is named where it never does."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, f"{what} did not come"
        time.sleep(POLL_SECONDS)


async def until_true(
    is_so: Callable[[], Awaitable[object]] | Callable[[], object], what: str = "it", poll_seconds: float = 0.001
) -> None:
    """The same in an event loop, which runs on meanwhile; ``is_so`` may be awaited."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = is_so()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert time.monotonic() < give_up_at, f"{what} did not come"
        await asyncio.sleep(poll_seconds)
