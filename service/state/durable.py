"""A durable store: sessions are records elsewhere, and memory holds copies of those used last."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import (
    OstinatoError,
    Overloaded,
    RecordUnreadable,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.state.arena import STALE, Arena, Slots, session_bytes
from ostinato.service.state.base import Address, Facts, Snapshot, Store
from ostinato.service.state.endings import session_error
from ostinato.service.state.records import Head, Layout, read_head, tombstone
from ostinato.service.state.residents import Residents
from ostinato.service.state.roster import Roster
from ostinato.service.state.schemas import SCHEMA, SCHEMAS

logger = logging.getLogger(__name__)

MAX_NOTED = 10_000
"""Sessions that are remembered to have been named in the log."""

ENDED = (UnknownSession, SessionExpired, SessionClosed)


class DurableStore(Store):
    """Sessions as records, by compare-and-set, with the arenas as their cache.

    A stamp tells one change of a session from every other, so a copy in memory is the session exactly as long as the
    record has its stamp: a count of steps would not do, for a session can be closed and opened again, or set back. A
    store that is told of others' changes may do with fewer stamps: it marks copies ``STALE``, and then nothing may be
    awaited between its reading of a record and its return.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        memory_budget: bytes of memory that the copies may take.
        record_schema: of the records that are written.

    Raises:
        ValueError: this release does not write that schema.
    """

    def __init__(self, *, tombstone_seconds: float, memory_budget: float, record_schema: int = SCHEMA) -> None:
        if record_schema not in SCHEMAS:
            raise ValueError(
                f"--record-schema {record_schema}: this release writes {' or '.join(map(str, SCHEMAS))}; {SCHEMA} is "
                "its own, the one before is for as long as replicas of the release before are live"
            )
        self._schema = SCHEMAS[record_schema]
        self._unreadable: set[str] = set()
        self._tombstone_seconds = tombstone_seconds
        self._memory_budget = memory_budget
        self._residents = Residents(memory_budget)
        self._layouts: dict[Arena, Layout] = {}
        self._arenas: dict[tuple[str, str], Arena] = {}
        self._expired: list[Arena] = []

    def num_slots(self, manifest: Manifest) -> int:
        """See ``Store.num_slots``: as many as the budget has room for."""
        return max(1, int(self._memory_budget // session_bytes(manifest)))

    def attach(self, arena: Arena) -> None:
        """See ``Store.attach``."""
        self._residents.attach(arena)
        self._layouts[arena] = Layout(arena, self._schema)
        self._arenas[arena.manifest.name, arena.manifest.version] = arena

    async def open(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.open``."""
        former = self._residents.use(session_id)
        if former is not None and former.arena.busy[former.slot]:
            record = await self._read(session_id)
            if record is not None and self._end_of(session_id, self._head(session_id, record), now) is None:
                raise session_error(session_id, SessionExists)
            # It ended elsewhere, and its slot is in use, so it must not be given to the new one.
            raise Overloaded(f"a request of session {session_id!r} is still under way; try again")
        ttl = ttl_seconds or math.inf
        begin = snapshot or Snapshot.initial(arena)
        layout = self._layouts[arena]

        def opened(record: bytes | None, stamp: int) -> bytes:
            if record is not None and self._end_of(session_id, self._head(session_id, record), now) is None:
                raise session_error(session_id, SessionExists)
            return layout.record(session_id, begin, stamp=stamp, opened_at=now, ttl_seconds=ttl, expires_at=now + ttl)

        return self._bring(session_id, await self._swap(session_id, opened), now)

    def use(self, session_id: str, now: float) -> Address | None:
        """See ``Store.use``."""
        address = self._residents.use(session_id)
        if address is None:
            return None
        arena, slot = address
        if arena.busy[slot] or (arena.stamp[slot] != STALE and self._residents.is_live(address, now)):
            return address
        # This copy is old, or its time has come; another writer may have renewed it.
        if arena.stamp[slot] != STALE:
            self._expired.append(arena)
        self._residents.drop(session_id, address)
        return None

    def use_all(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """See ``Store.use_all``."""
        return self._residents.use_all(arena, roster, now)

    async def find(self, session_id: str, now: float) -> Address:
        """See ``Store.find``."""
        address = self.use(session_id, now)
        if address is None:
            record = await self._read(session_id)
            # Another request may have brought it meanwhile.
            address = self.use(session_id, now) or self._bring(session_id, record, now, is_load=True)
        return address

    async def look(self, session_id: str, now: float) -> Facts:
        """See ``Store.look``."""
        return self._live_head(session_id, await self._read(session_id), now).facts(session_id)

    async def replace(self, session_id: str, address: Address, snapshot: Snapshot, now: float) -> None:
        """See ``Store.replace``."""
        layout = self._layouts[address.arena]

        def replaced(record: bytes | None, stamp: int) -> bytes:
            head = self._live_head(session_id, record, now)
            ttl = head.ttl_seconds
            times = {"opened_at": head.opened_at, "ttl_seconds": ttl, "expires_at": now + ttl}
            return layout.record(session_id, snapshot, stamp=stamp, **times)

        try:
            try:
                record = await self._swap(session_id, replaced)
            finally:
                # Whatever became of it, the copy in memory is not the session any more; a store's stamps need not tell.
                address.arena.stamp[address.slot] = STALE
            self._renew(session_id, address, record, now)
        except OstinatoError as error:
            self._forget(session_id, address, error)
            raise

    async def close(self, session_id: str, address: Address | None, now: float) -> None:
        """See ``Store.close``."""

        def closed(record: bytes | None, stamp: int) -> bytes:
            try:
                head = self._live_head(session_id, record, now)
            except RecordUnreadable:
                head = None  # what nobody can read may go
            return tombstone(session_id, head, stamp, now, self._schema)

        try:
            await self._swap(session_id, closed)
        except OstinatoError as error:
            if address is not None:
                self._forget(session_id, address, error)
            raise
        finally:
            # Written or not, waited for to its end or not: a request that has a copy finds out when it commits.
            self._residents.mark_stale(session_id)
        self._unreadable.discard(session_id)
        if address is not None:
            self._residents.drop(session_id, address)

    def expire(self, now: float) -> list[Arena]:
        """See ``Store.expire``: copies whose time has come leave memory; the records tell the rest by their times."""
        for session_id, address in self._residents.expired(now):
            self._expired.append(address.arena)
            self._residents.drop(session_id, address)
        expired, self._expired = self._expired, []
        return expired

    @abstractmethod
    async def _read(self, session_id: str) -> bytes | None:
        """The newest record of an id, dead or alive; None where there is none."""

    @abstractmethod
    async def _swap(self, session_id: str, make: Callable[[bytes | None, int], bytes]) -> bytes | None:
        """Put ``make(newest record, new stamp)`` in the place of the newest record, with nobody in between.

        Returns the newest record then: what it made, or what another writer has put there since. Whatever ``make``
        raises leaves the record as it is; it may be called more than once.
        """

    def _bring(self, session_id: str, record: bytes | None, now: float, *, is_load: bool = False) -> Address:
        """Put a session into a slot."""
        head = self._live_head(session_id, record, now)
        arena = self._arenas.get((head.model, head.version))
        if arena is None:
            raise UnknownModel(
                f"session {session_id!r} runs model {head.model!r} version {head.version!r}, which is not served; put "
                "that version back into the repository, or close the session"
            )
        assert record is not None
        snapshot = self._snapshot(session_id, arena, head, record)
        held = self._residents.use(session_id)
        if held is not None:
            # Another request brought it meanwhile; or it is from a former life of the id.
            is_old = held.arena.stamp[held.slot] != head.stamp
            if is_old:
                self._residents.mark_stale(session_id)
            is_busy = held.arena.busy[held.slot]
            if is_busy and held.arena is not arena:
                raise Overloaded(f"a request of session {session_id!r} is still under way; try again")
            if is_busy or not is_old:
                return held
            self._residents.drop(session_id, held)
        address = self._residents.put(session_id, arena)
        self._fill(session_id, address, head, snapshot)
        if is_load and arena.on_load is not None:
            arena.on_load()
        return address

    def _renew(self, session_id: str, address: Address, record: bytes | None, now: float) -> None:
        """Make a copy in memory as the record is, unless it is.

        Raises:
            SessionClosed: it was closed, and the id is another model version's by now; or as ``Store.refresh``.
        """
        arena, slot = address
        if record is not None and self._head(session_id, record).stamp == arena.stamp[slot]:
            return
        head = self._live_head(session_id, record, now)
        if self._arenas.get((head.model, head.version)) is not arena:
            raise session_error(session_id, SessionClosed)
        assert record is not None
        self._fill(session_id, address, head, self._snapshot(session_id, arena, head, record))

    def _fill(self, session_id: str, address: Address, head: Head, snapshot: Snapshot) -> None:
        snapshot.put(address)
        self._layouts[address.arena].keep_id(address.slot, session_id)
        address.arena.stamp[address.slot] = head.stamp
        self._residents.set_life(
            address, opened_at=head.opened_at, ttl_seconds=head.ttl_seconds, expires_at=head.expires_at
        )

    def _forget(self, session_id: str, address: Address, error: OstinatoError) -> None:
        """Give the slot of a session back that turned out not to be live."""
        if isinstance(error, ENDED) and self._residents.use(session_id) == address:
            self._residents.drop(session_id, address)

    def _live_head(self, session_id: str, record: bytes | None, now: float) -> Head:
        if record is None:
            raise session_error(session_id, UnknownSession)
        head = self._head(session_id, record)
        end = self._end_of(session_id, head, now)
        if end is not None:
            raise end
        return head

    def _end_of(self, session_id: str, head: Head, now: float) -> OstinatoError | None:
        """Why a session is not live; None where it is, or a request of this very copy of it is under way."""
        address = self._residents.use(session_id)
        if address is not None and address.arena.stamp[address.slot] == head.stamp and address.arena.busy[address.slot]:
            return None
        return head.end(session_id, now, self._tombstone_seconds)

    def _head(self, session_id: str, record: bytes) -> Head:
        try:
            return read_head(session_id, record)
        except RecordUnreadable as error:
            self._note_unreadable(session_id, error)
            raise

    def _snapshot(self, session_id: str, arena: Arena, head: Head, record: bytes) -> Snapshot:
        try:
            return self._layouts[arena].read(session_id, head, record)
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
