"""A store of records: each session as bytes elsewhere, changed by compare-and-set, and ended for good."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress

from ostinato.service.errors import OstinatoError, SessionClosed, SessionExpired, UnknownSession
from ostinato.service.state.base import Facts, Store
from ostinato.service.state.endings import session_error
from ostinato.service.state.records import Head, read_head, tombstone

ENDED = (UnknownSession, SessionExpired, SessionClosed)


class RecordStore(Store):
    """Sessions as records, and what is true of them wherever they are in memory.

    A record whose time has come tells so, and yet a chunk under way in another process may renew it. So who is the
    first to say that a session has expired makes it so: its record becomes a tombstone, and the chunk's commit is lost.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
    """

    def __init__(self, *, tombstone_seconds: float) -> None:
        self._tombstone_seconds = tombstone_seconds

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
        self, session_id: str, now: float, make: Callable[[Head, int], bytes]
    ) -> tuple[bytes, bytes | None]:
        """``_swap`` of a live session; what was made, and the newest record then. A session whose time has come is
        ended: nobody is told so of one that a chunk under way elsewhere renews afterwards.
        """
        made, end = b"", None

        def changed(record: bytes | None, stamp: int) -> bytes:
            nonlocal made, end
            if record is None:
                raise session_error(session_id, UnknownSession)
            head = read_head(session_id, record)
            end = self._end_of(session_id, head, now)
            if end is None:
                made = make(head, stamp)
            elif head.is_tombstone:
                raise end
            else:
                made = tombstone(head, stamp, None)
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
            head = read_head(session_id, record)
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
        head = read_head(session_id, record)
        end = self._end_of(session_id, head, now)
        if end is not None:
            raise end
        return head

    def _end_of(self, session_id: str, head: Head, now: float) -> OstinatoError | None:
        """Why a session is not live; None where it is, or a request of this very copy of it is under way."""
        if not head.is_tombstone and self._is_under_way(session_id, head.stamp):
            return None
        return head.end(session_id, now, self._tombstone_seconds)


class _Renewed(Exception):
    """A session whose time had come lives after all."""


def _refuse_to_change(_head: Head, _stamp: int) -> bytes:
    raise _Renewed
