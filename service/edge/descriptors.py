"""Descriptors of a worker: how many files and connections may be open, and what is said when they are used up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import time
from collections.abc import Callable
from typing import Any

RESERVED = 64
"""Descriptors that connections leave to all else: the store, models, the log, what libraries open."""
MAX_RAISED = 1_048_576
LOGGED_EVERY_SECONDS = 60.0
USED_UP = (errno.EMFILE, errno.ENFILE)

logger = logging.getLogger(__name__)


def raise_limit() -> int:
    """Raise the process's own limit on open files to the most that it may have; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_RAISED if hard == resource.RLIM_INFINITY else min(hard, MAX_RAISED)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # a system may have a lower limit than it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return most if soft == resource.RLIM_INFINITY else soft


def connections_within(limit: int, wanted: int) -> int:
    """How many connections may be open of those wanted; says so where that is fewer."""
    most = max(1, limit - RESERVED)
    if wanted > most:
        logger.warning(
            "this process may open %d files: it takes %d connections in place of %d (ulimit -n, or LimitNOFILE of a "
            "systemd unit, raises that)",
            limit,
            most,
            wanted,
        )
    return min(wanted, most)


class DescriptorWatch:
    """What the event loop does when no connection can be accepted: say it once in a while, and count it.

    Args:
        count: called for each.
    """

    def __init__(self, count: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._next_at = 0.0
        self._num_silent = 0

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have ``loop`` tell this of what nobody caught, before whoever was told."""
        before = loop.get_exception_handler()

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, OSError) and error.errno in USED_UP:
                self.take()
            elif before is not None:
                before(loop, context)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(handle)

    def probe(self) -> None:
        """See whether a file can be opened: uvloop refuses connections without a word where none can."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in USED_UP:
                self.take()

    def take(self) -> None:
        """A connection could not be accepted."""
        self._count()
        now = self._clock()
        if now < self._next_at:
            self._num_silent += 1
            return
        self._next_at = now + LOGGED_EVERY_SECONDS
        logger.error(
            "no file can be opened, and no connection accepted: all descriptors are in use (%d more times since the "
            "last such line); raise the limit (ulimit -n, LimitNOFILE), or lower --max-connections",
            self._num_silent,
        )
        self._num_silent = 0
