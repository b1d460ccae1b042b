"""A durable store: sessions are records elsewhere, and memory holds copies of those used last."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import suppress

import numpy as np

from ostinato.service.errors import CopyOutdated, OstinatoError, Overloaded, SessionExists, UnknownModel, UnknownSession
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Address, Facts, Snapshot
from ostinato.service.state.census import Census
from ostinato.service.state.copies import CopyStore
from ostinato.service.state.endings import session_error
from ostinato.service.state.record_store import ENDED
from ostinato.service.state.records import Head, read_head, tombstone
from ostinato.service.state.schemas import SCHEMA

MAX_SESSIONS = 10_000_000
"""Live sessions of a model version, unless the operator says otherwise."""


class DurableStore(CopyStore):
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

    def __init__(
        self,
        *,
        tombstone_seconds: float,
        memory_budget: float,
        record_schema: int = SCHEMA,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        super().__init__(tombstone_seconds=tombstone_seconds, memory_budget=memory_budget, record_schema=record_schema)
        self._census = Census(max_sessions, self._count_live)

    def detach(self, arena: Arena) -> None:
        """See ``Store.detach``."""
        super().detach(arena)
        self._census.forget(arena)

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

    async def move(self, session_id: str, address: Address, arena: Arena, snapshot: Snapshot, now: float) -> Facts:
        """See ``Store.move``."""
        former, opened_at = address.arena, float(address.arena.opened_at[address.slot])
        layout, former_layout, basis = self._layouts[arena], self._layouts[former], Snapshot.of(address)

        def moved(head: Head, stamp: int) -> bytes:
            if self._arenas.get((head.model, head.version)) is not former or head.opened_at != opened_at:
                raise session_error(session_id, CopyOutdated)
            # Another process may have changed it since what ``snapshot`` was made of.
            if not former_layout.is_of(session_id, head, basis):
                raise session_error(session_id, CopyOutdated)
            ttl = head.ttl_seconds
            times = {"opened_at": opened_at, "ttl_seconds": ttl, "expires_at": now + ttl}
            return layout.record(session_id, snapshot, stamp=stamp, **times)

        self._census.take(arena)
        try:
            try:
                made, record = await self._change(session_id, now, moved)
            finally:
                self._residents.mark_slots_stale(former, np.array([address.slot]))
        except BaseException as error:
            self._census.give_back(arena)
            if isinstance(error, OstinatoError):
                self._forget(session_id, address, error)
            raise
        self._census.give_back(former)
        if self._residents.has(session_id, address):
            self._residents.drop(session_id, address)
        with suppress(*ENDED, UnknownModel):  # another process has changed it since
            self._bring(session_id, record, now)
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
            arena = self._arenas.get((head.model, head.version))
            if head.opened_at != found or (address is not None and arena is not address.arena):
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
