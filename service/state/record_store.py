"""A store of records: each session as bytes elsewhere, changed by compare-and-set, and ended for good."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ostinato.service.errors import OstinatoError, RecordUnreadable, SessionClosed, SessionExpired, UnknownSession
from ostinato.service.state.base import Facts, Store
from ostinato.service.state.endings import session_error
from ostinato.service.state.records import Head, read_head, tombstone
from ostinato.service.state.schemas import SCHEMAS

logger = logging.getLogger(__name__)

MAX_NOTED = 10_000
"""Sessions that are remembered to have been named in the log."""

ENDED = (UnknownSession, SessionExpired, SessionClosed)


class RecordStore(Store):
    """Sessions as records, and what is true of them wherever they are in memory.

    A record whose time has come tells so, and yet a chunk under way in another process may renew it. So who is the
    first to say that a session has expired makes it so: its record becomes a tombstone, and the chunk's commit is lost.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        record_schema: of the records that are written.

    Raises:
        ValueError: this release does not write that schema.
    """

    def __init__(self, *, tombstone_seconds: float, record_schema: int) -> None:
        if record_schema not in SCHEMAS:
            raise ValueError(
                f"--record-schema {record_schema}: this release writes {' or '.join(map(str, SCHEMAS))}; "
                f"{max(SCHEMAS)} is its own, the one before is for as long as replicas of the release before are live"
            )
        self._schema = SCHEMAS[record_schema]
        self.keeps_offsets = self._schema.has_offsets
        self._tombstone_seconds = tombstone_seconds
        self._unreadable: set[str] = set()

    async def look(self, session_id: str, now: float) -> Facts:
        """See ``Store.look``."""
        _, head = await self._read_live(session_id, now)
        return head.facts(session_id)

    @abstractmethod
    async def _read(self, session_id: str) -> bytes | None:
        """The newest record of an id, dead or alive; None where there is none."""

    @abstractmethod
    async def _swap(self, session_id: str, make: Callable[[bytes | None, int], bytes]) -> bytes | None:
        """Put ``make(newest record, new stamp)`` in the place of the newest record, with nobody in between.

        Returns the newest record then: what it made, or what another writer has put there since. Whatever ``make``
        raises leaves the record as it is; it may be called more than once.
        """

    async def _change(
        self,
        session_id: str,
        now: float,
        make: Callable[[Head, int], bytes],
        make_of_unreadable: Callable[[int], bytes] | None = None,
    ) -> tuple[bytes, bytes | None]:
        """``_swap`` of a live session; what was made, and the newest record then. A session whose time has come is
        ended: nobody is told so of one that a chunk under way elsewhere renews afterwards.

        ``make_of_unreadable``: makes what takes the place of a record that cannot be read; None = nothing does.
        """
        made, end = b"", None

        def changed(record: bytes | None, stamp: int) -> bytes:
            nonlocal made, end
            if record is None:
                raise session_error(session_id, UnknownSession)
            try:
                head = self._head(session_id, record)
            except RecordUnreadable:
                if make_of_unreadable is None:
                    raise
                end, made = None, make_of_unreadable(stamp)
                return made
            end = self._end_of(session_id, head, now)
            if end is None:
                made = make(head, stamp)
            elif head.is_tombstone:
                raise end
            else:
                made = tombstone(session_id, head, stamp, None, self._schema)
            return made

        record = await self._swap(session_id, changed)
        if end is not None:
            raise end
        return made, record

    async def _read_live(self, session_id: str, now: float) -> tuple[bytes, Head]:
        """The newest record of a live session."""
        record, head, end = await self._read_settled(session_id, now)
        if end is not None:
            raise end
        assert record is not None
        assert head is not None
        return record, head

    async def _read_settled(
        self, session_id: str, now: float
    ) -> tuple[bytes | None, Head | None, OstinatoError | None]:
        """The newest record, its head, and why its session is not live, which then is so for good; None = it is."""
        while True:
            record = await self._read(session_id)
            if record is None:
                return None, None, session_error(session_id, UnknownSession)
            head = self._head(session_id, record)
            end = self._end_of(session_id, head, now)
            if end is None or head.is_tombstone:
                return record, head, end
            with suppress(_Renewed, *ENDED):
                await self._change(session_id, now, _refuse_to_change)

    @abstractmethod
    def _is_under_way(self, session_id: str, stamp: int) -> bool:
        """Whether this process is busy with a session, as the record with that stamp has it."""

    def _live_head(self, session_id: str, record: bytes | None, now: float) -> Head:
        if record is None:
            raise session_error(session_id, UnknownSession)
        head = self._head(session_id, record)
        end = self._end_of(session_id, head, now)
        if end is not None:
            raise end
        return head

    def _head(self, session_id: str, record: bytes) -> Head:
        with self._noting(session_id):
            return read_head(session_id, record)

    @contextmanager
    def _noting(self, session_id: str) -> Iterator[None]:
        """Say of a session that its record cannot be read, where that turns out."""
        try:
            yield
        except RecordUnreadable as error:
            self._note_unreadable(session_id, error)
            raise

    def _note_unreadable(self, session_id: str, error: RecordUnreadable) -> None:
        """Say of a session that its record cannot be read, once, and count it."""
        if session_id in self._unreadable:
            return
        if len(self._unreadable) >= MAX_NOTED:
            self._unreadable.clear()
        self._unreadable.add(session_id)
        logger.error("%s", error)
        if self.on_unreadable is not None:
            self.on_unreadable()

    def _end_of(self, session_id: str, head: Head, now: float) -> OstinatoError | None:
        """Why a session is not live; None where it is, or a request of this very copy of it is under way."""
        if not head.is_tombstone and self._is_under_way(session_id, head.stamp):
            return None
        return head.end(session_id, now, self._tombstone_seconds)


class _Renewed(Exception):
    """A session whose time had come lives after all."""


def _refuse_to_change(_head: Head, _stamp: int) -> bytes:
    raise _Renewed
