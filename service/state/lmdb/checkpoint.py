"""The checkpoint: from the journal to the disk and to the database, and out of that what ended long ago."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ostinato.service.state.lmdb.database import Database
from ostinato.service.state.lmdb.group_sync import GroupSync
from ostinato.service.state.lmdb.journal import Journal
from ostinato.service.state.lmdb.naming import Naming
from ostinato.service.state.lmdb.segment import Segment

Value = TypeVar("Value")

logger = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
SEGMENT_SECONDS = 5.0
"""A segment of the journal ends when it is this old, if not before, and goes to the database."""
READ_AT_ONCE = 500
"""Records of a segment that are read before somebody looks whether its file is still its own."""


LOCK_FILE = "upkeep.lock"
"""As releases before this one call it, which may share the folder."""


class Checkpoint:
    """Puts the journal on the disk every ``SYNC_SECONDS``, and what it holds into the database.

    One of the processes that share the folder does the latter: the one that holds a lock, until it ends.

    Args:
        tombstone_seconds: how long an ended session is remembered.
        clock: seconds since the epoch.
        on_failure: called when something could not be done, which is tried again.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        database: Database,
        group_sync: GroupSync,
        *,
        tombstone_seconds: float,
        clock: Callable[[], float],
        on_failure: Callable[[], object],
    ) -> None:
        self._journal = journal
        self._database = database
        self._group_sync = group_sync
        self._tombstone_seconds = tombstone_seconds
        self._clock = clock
        self._on_failure = on_failure
        self._naming = Naming(folder)
        self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._swept_at: str | None = None
        self._segment_began_at = time.monotonic()
        self._segment_is_over = asyncio.Event()
        journal.on_over = self._segment_is_over.set
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._sync_for_ever()), asyncio.create_task(self._store_for_ever())]

    async def stop(self) -> None:
        """End, when what runs just now has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._naming.forget(0, sys.maxsize)
        os.close(self._lock)

    async def store(self) -> None:
        """End the current segment where it is due, and put all that are over into the database."""
        journal = self._journal
        if not self._is_ours():
            return
        self._segment_is_over.clear()
        # The process that had the lock before may have stored segments, and others may have ended some.
        journal.follow()
        if journal.current.newest and time.monotonic() - self._segment_began_at >= SEGMENT_SECONDS:
            with journal.locked():
                journal.rotate()
            self._segment_began_at = time.monotonic()
        for segment in [segment for segment in journal.segments if segment.is_over]:
            await _finish(asyncio.to_thread(self._naming.name, segment.number + 1))
            await _finish(asyncio.to_thread(self._put, segment))
            with journal.locked():
                if segment in journal.segments:
                    journal.give_up(segment)
            self._naming.forget(0, segment.number)
        # The one to come, before anybody appends to it.
        await _finish(asyncio.to_thread(self._naming.name, journal.current.number + 1))

    async def sweep(self) -> None:
        """Remove sessions that ended long ago, a few at a time."""
        if self._is_ours():
            work = asyncio.to_thread(self._database.sweep, self._swept_at, self._ended_before())
            self._swept_at = (await _finish(work)).at

    def _failed(self, what: str) -> None:
        logger.error(what, exc_info=True)
        self._on_failure()

    def _put(self, segment: Segment) -> None:
        def records() -> Iterator[tuple[str, bytes]]:
            # Even what a later segment has, too: that need not be on the disk yet when this one is given up.
            session_ids = sorted(segment.newest)
            for start in range(0, len(session_ids), READ_AT_ONCE):
                part = session_ids[start : start + READ_AT_ONCE]
                found = segment.read_all(part)
                if found is None:
                    raise OSError(f"segment {segment.number} of the journal was taken away")
                yield from zip(part, found, strict=True)

        self._database.put_segment(segment.number, records(), self._ended_before())

    def _ended_before(self) -> float:
        return self._clock() - self._tombstone_seconds

    def _is_ours(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def _sync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                self._journal.follow()  # the process that wrote it may have ended before it was on the disk
                await self._group_sync.wait()
            except Exception:
                self._failed("the journal could not be put on the disk; it is tried again")

    async def _store_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._segment_is_over.wait(), SYNC_SECONDS)
            try:
                await self.store()
                await self.sweep()
            except Exception:
                self._failed("the journal could not be put into the database; it is tried again")
                await asyncio.sleep(SYNC_SECONDS)


async def _finish(work: Coroutine[Any, Any, Value]) -> Value:
    """Await work in a thread to its end, cancelled or not: the files that it uses are closed behind it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
