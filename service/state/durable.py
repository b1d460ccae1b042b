"""A durable store: sessions are records elsewhere, and memory holds copies of those used last."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import CopyOutdated, OstinatoError, Overloaded, SessionExists, UnknownModel, UnknownSession
from ostinato.service.state.arena import STALE, Arena, Slots, session_bytes
from ostinato.service.state.base import Address, Facts, Snapshot
from ostinato.service.state.census import Census
from ostinato.service.state.endings import session_error
from ostinato.service.state.record_store import ENDED, RecordStore
from ostinato.service.state.records import Head, Layout, read_head, tombstone
from ostinato.service.state.residents import Residents
from ostinato.service.state.roster import Roster
from ostinato.service.state.schemas import SCHEMA

MAX_SESSIONS = 10_000_000
"""Live sessions of a model version, unless the operator says otherwise."""


class DurableStore(RecordStore):
    """Sessions as records, by compare-and-set, with the arenas as their cache.

    A stamp tells one change of a session from every other, so a copy in memory is the session exactly as long as the
    record has its stamp: a count of steps would not do, for a session can be closed and opened again, or set back. A
    store that is told of others' changes may do with fewer stamps: it marks copies ``STALE``, and then nothing may be
    awaited between its reading of a record and its return.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        memory_budget: bytes of memory that the copies may take.
        record_schema: of the records that are written.
        max_sessions: live sessions of a model version, inclusive.

    Raises:
        ValueError: this release does not write that schema.
    """

    _absent: int
    """The stamp of a copy whose session is not there yet."""

    def __init__(
        self,
        *,
        tombstone_seconds: float,
        memory_budget: float,
        record_schema: int = SCHEMA,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        super().__init__(tombstone_seconds=tombstone_seconds, record_schema=record_schema)
        self._census = Census(max_sessions, self._count_live)
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
        """See ``Store.open``.

        Raises:
            CopyOutdated: it was opened, and another process has ended it by now.
        """
        ttl = ttl_seconds or math.inf
        begin = snapshot or Snapshot.initial(arena)
        layout = self._layouts[arena]
        if self._census.is_due(arena):
            await self._census.recount(arena, now)
        is_taken = False

        def opened(record: bytes | None, stamp: int) -> bytes:
            nonlocal is_taken
            if record is not None and self._end_of(session_id, self._head(session_id, record), now) is None:
                raise session_error(session_id, SessionExists)
            if not is_taken:
                self._census.take(arena)
                is_taken = True
            return layout.record(session_id, begin, stamp=stamp, opened_at=now, ttl_seconds=ttl, expires_at=now + ttl)

        try:
            record = await self._swap(session_id, opened)
        except (SessionExists, Overloaded):
            if is_taken:
                self._census.give_back(arena)
            raise
        except BaseException:
            self._residents.mark_stale(session_id)  # it may be there all the same
            raise
        try:
            return self._bring(session_id, record, now)
        except (*ENDED, UnknownModel) as error:
            raise session_error(session_id, CopyOutdated) from error

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
            record, _ = await self._read_live(session_id, now)
            # Another request may have brought it meanwhile.
            address = self.use(session_id, now) or self._bring(session_id, record, now, is_load=True)
        return address

    async def find_newest(self, session_id: str, now: float) -> Address:
        """See ``Store.find_newest``."""
        record, _ = await self._read_live(session_id, now)
        return self._bring(session_id, record, now, is_load=True)

    async def find_or_begin(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """See ``Store.find_or_begin``."""
        record, former, end = await self._read_settled(session_id, now)
        if isinstance(end, UnknownSession) and self._census.is_due(arena):
            await self._census.recount(arena, now)
            record, former, end = await self._read_settled(session_id, now)
        if end is None:
            return self._bring(session_id, record, now, is_load=True)
        if not isinstance(end, UnknownSession):
            raise end
        held = self._residents.use(session_id)
        # Another request has begun it, too; or one of the session that ended is still under way.
        if held is not None and held.arena is arena and arena.busy[held.slot]:
            return held
        return self._begin(session_id, arena, former, Snapshot.initial(arena), ttl_seconds, now)

    async def begin(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.begin``."""
        if self._census.is_due(arena):
            await self._census.recount(arena, now)
        _, former, end = await self._read_settled(session_id, now)
        held = self._residents.use(session_id)
        if end is None or (held is not None and held.arena.busy[held.slot]):
            raise session_error(session_id, SessionExists)
        return self._begin(session_id, arena, former, snapshot or Snapshot.initial(arena), ttl_seconds, now)

    def _begin(
        self, session_id: str, arena: Arena, former: Head | None, begin: Snapshot, ttl_seconds: float, now: float
    ) -> Address:
        """A slot for a session that is to take the place of the record whose head is ``former``."""
        if (held := self._residents.use(session_id)) is not None:
            self._let_go(session_id, held)
        self._census.take(arena)
        ttl = ttl_seconds or math.inf
        address = self._residents.put(session_id, arena)
        begin.put(address)
        self._layouts[arena].keep_id(address.slot, session_id)
        arena.stamp[address.slot] = self._absent if former is None else former.stamp
        self._residents.set_life(address, opened_at=now, ttl_seconds=ttl, expires_at=now + ttl)
        arena.unborn.add(address.slot)
        return address

    def abandon(self, session_id: str, address: Address) -> None:
        """See ``Store.abandon``."""
        if self._residents.has(session_id, address):
            self._residents.drop(session_id, address)
            self._census.give_back(address.arena)

    async def replace(
        self, session_id: str, address: Address, snapshot: Snapshot, now: float, keeps_steps: bool = False
    ) -> Facts:
        """See ``Store.replace``."""
        arena, slot = address
        layout, opened_at = self._layouts[arena], float(arena.opened_at[slot])

        def replaced(head: Head, stamp: int) -> bytes:
            if self._arenas.get((head.model, head.version)) is not arena or head.opened_at != opened_at:
                raise session_error(session_id, CopyOutdated)
            ttl = head.ttl_seconds
            made = snapshot._replace(steps=head.steps) if keeps_steps else snapshot
            times = {"opened_at": opened_at, "ttl_seconds": ttl, "expires_at": now + ttl}
            return layout.record(session_id, made, stamp=stamp, **times)

        try:
            try:
                made, record = await self._change(session_id, now, replaced)
            finally:
                # Whatever became of it, the copy in memory is not the session any more; a store's stamps need not tell.
                self._residents.mark_slots_stale(arena, np.array([slot]))
            self._renew(session_id, address, record, now)
        except OstinatoError as error:
            self._forget(session_id, address, error)
            raise
        return read_head(session_id, made).facts(session_id)

    async def close(self, session_id: str, address: Address | None, now: float) -> Facts | None:
        """See ``Store.close``."""
        found = None if address is None else float(address.arena.opened_at[address.slot])
        facts: Facts | None = None

        def closed(head: Head | None, stamp: int) -> bytes:
            nonlocal found, facts
            if head is None:  # what nobody can read may go
                return tombstone(session_id, None, stamp, now, self._schema)
            found = head.opened_at if found is None else found
            if head.opened_at != found:
                raise session_error(session_id, CopyOutdated)
            facts = head.facts(session_id)
            return tombstone(session_id, head, stamp, now, self._schema)

        try:
            await self._change(session_id, now, closed, lambda stamp: closed(None, stamp))
        except OstinatoError as error:
            if address is not None:
                self._forget(session_id, address, error)
            raise
        finally:
            # Written or not, waited for to its end or not: a request that has a copy finds out when it commits.
            self._residents.mark_stale(session_id)
        self._unreadable.discard(session_id)
        if facts is not None and (arena := self._arenas.get((facts.model, facts.version))) is not None:
            self._census.give_back(arena)
        if address is not None:
            self._residents.drop(session_id, address)
        return facts

    def expire(self, now: float) -> list[Arena]:
        """See ``Store.expire``: copies whose time has come leave memory; the records tell the rest by their times."""
        for session_id, address in self._residents.expired(now):
            if self._residents.has(session_id, address):
                self._expired.append(address.arena)
            self._residents.drop(session_id, address)
        expired, self._expired = self._expired, []
        return expired

    @abstractmethod
    async def _count_live(self, arena: Arena, now: float) -> int:
        """The sessions of an arena's model version that are live at ``now``, by a walk over all."""

    def num_live(self, arena: Arena) -> int:
        """See ``Store.num_live``: by the last count, and what this process has begun since."""
        return self._census.estimate(arena)

    async def count(self, now: float) -> None:
        """See ``Store.count``."""
        for arena in list(self._arenas.values()):
            if self._census.is_old(arena):
                await self._census.recount(arena, now)

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
            if held.arena.stamp[held.slot] == head.stamp:
                return held
            if held.arena is arena and arena.busy[held.slot]:
                self._residents.mark_stale(session_id)
                return held
            self._let_go(session_id, held)
        address = self._residents.put(session_id, arena)
        self._fill(session_id, address, head, snapshot)
        if is_load and arena.on_load is not None:
            arena.on_load()
        return address

    def _renew(self, session_id: str, address: Address, record: bytes | None, now: float) -> None:
        """Make a copy in memory as the record is, unless it is.

        Raises:
            CopyOutdated: the session is not live, or another model version's by now.
        """
        arena, slot = address
        if not self._residents.has(session_id, address):
            raise session_error(session_id, CopyOutdated)
        if record is None:
            if arena.stamp[slot] == self._absent and slot in arena.unborn:
                return
            raise session_error(session_id, CopyOutdated)
        head = self._head(session_id, record)
        if head.stamp == arena.stamp[slot]:
            return
        is_live = self._end_of(session_id, head, now) is None
        if not is_live or self._arenas.get((head.model, head.version)) is not arena:
            raise session_error(session_id, CopyOutdated)
        self._fill(session_id, address, head, self._snapshot(session_id, arena, head, record))
        arena.unborn.discard(slot)

    def _snapshot(self, session_id: str, arena: Arena, head: Head, record: bytes) -> Snapshot:
        with self._noting(session_id):
            return self._layouts[arena].read(session_id, head, record)

    def _fill(self, session_id: str, address: Address, head: Head, snapshot: Snapshot) -> None:
        snapshot.put(address)
        self._layouts[address.arena].keep_id(address.slot, session_id)
        address.arena.stamp[address.slot] = head.stamp
        self._residents.set_life(
            address, opened_at=head.opened_at, ttl_seconds=head.ttl_seconds, expires_at=head.expires_at
        )

    def _is_under_way(self, session_id: str, stamp: int) -> bool:
        address = self._residents.use(session_id)
        return address is not None and bool(
            address.arena.stamp[address.slot] == stamp and address.arena.busy[address.slot]
        )

    def _let_go(self, session_id: str, held: Address) -> None:
        """A session's place will be elsewhere; whoever is busy with the copy finds out when it commits."""
        if held.arena.busy[held.slot]:
            self._residents.part_with(session_id, held)
        else:
            self._residents.drop(session_id, held)

    def _forget(self, session_id: str, address: Address, error: OstinatoError) -> None:
        """Give the slot of a session back that turned out not to be live."""
        if isinstance(error, ENDED) and self._residents.has(session_id, address):
            self._residents.drop(session_id, address)
