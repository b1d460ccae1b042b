"""``memory://``: the arena's columns are the sessions; they live in one process and end with it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import (
    OstinatoError,
    Overloaded,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownSession,
)
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Address, Facts, SessionPage, Snapshot, Store, facts_of
from ostinato.service.state.commit import Commit
from ostinato.service.state.cursor import read_cursor, write_cursor
from ostinato.service.state.endings import session_error
from ostinato.service.state.names import tenant_of
from ostinato.service.state.residents import Residents
from ostinato.service.state.roster import Roster

CURSOR = "memory"


class MemoryStore(Store):
    """Sessions of one process.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        max_sessions: live sessions of a model version, inclusive.
    """

    is_shared = False

    def __init__(self, *, tombstone_seconds: float, max_sessions: int) -> None:
        self._tombstone_seconds = tombstone_seconds
        self._max_sessions = max_sessions
        self._residents = Residents()
        self._expired: list[Arena] = []
        # About in the order in which they are forgotten: of sessions that expired, that is counted from their time.
        self._tombstones: dict[str, tuple[float, type[OstinatoError]]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._residents)} sessions, {len(self._tombstones)} tombstones>"

    def num_slots(self, manifest: Manifest) -> int:
        """See ``Store.num_slots``."""
        del manifest
        return self._max_sessions

    def attach(self, arena: Arena) -> None:
        """See ``Store.attach``."""
        self._residents.attach(arena)

    async def open(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.open``."""
        held = self.use(session_id, now)
        if held is not None and (held.slot not in held.arena.unborn or held.arena is not arena or snapshot is not None):
            raise session_error(session_id, SessionExists)
        if held is not None:  # the chunk that would have opened it finds it opened
            arena.unborn.discard(held.slot)
            self._set_life(held, ttl_seconds, now)
            return held
        address = self._put(session_id, arena, ttl_seconds, now)
        if snapshot is not None:
            snapshot.put(address)
        return address

    def use(self, session_id: str, now: float) -> Address | None:
        """See ``Store.use``; every live session is."""
        address = self._residents.use(session_id)
        if address is None or self._residents.is_live(address, now):
            return address
        self._expire(session_id, address, now)
        return None

    def use_all(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """See ``Store.use_all``."""
        return self._residents.use_all(arena, roster, now)

    async def find(self, session_id: str, now: float) -> Address:
        """See ``Store.find``."""
        address = self.use(session_id, now)
        if address is None:
            raise self._absent(session_id, now)
        return address

    def _absent(self, session_id: str, now: float) -> OstinatoError:
        forgotten_at, error = self._tombstones.get(session_id, (-math.inf, UnknownSession))
        return session_error(session_id, error if now < forgotten_at else UnknownSession)

    async def find_newest(self, session_id: str, now: float) -> Address:
        """See ``Store.find_newest``: what is in memory is the session."""
        return await self.find(session_id, now)

    async def find_or_begin(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """See ``Store.find_or_begin``."""
        try:
            return await self.find(session_id, now)
        except UnknownSession:
            address = self._put(session_id, arena, ttl_seconds, now)
            arena.unborn.add(address.slot)
            return address

    async def begin(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.begin``."""
        if self.use(session_id, now) is not None:
            raise session_error(session_id, SessionExists)
        address = self._put(session_id, arena, ttl_seconds, now)
        if snapshot is not None:
            snapshot.put(address)
        arena.unborn.add(address.slot)
        return address

    def abandon(self, session_id: str, address: Address) -> None:
        """See ``Store.abandon``."""
        self._residents.drop(session_id, address)

    def refresh(self, session_id: str, address: Address, now: float) -> None:
        """See ``Store.refresh``: what is in memory is the session."""

    async def look(self, session_id: str, now: float) -> Facts:
        """See ``Store.look``."""
        arena, slot = await self.find(session_id, now)
        if slot in arena.unborn:  # what was there before is all that there was
            raise self._absent(session_id, now)
        return facts_of(session_id, Address(arena, slot))

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_]:
        """See ``Store.commit``; always at once."""
        won: NDArray[np.bool_] = commit.arena.steps[commit.slots] == commit.steps_before
        commit.of(won).apply(now)
        return won

    async def replace(
        self, session_id: str, address: Address, snapshot: Snapshot, now: float, keeps_steps: bool = False
    ) -> Facts:
        """See ``Store.replace``."""
        arena, slot = address
        if keeps_steps:
            snapshot = snapshot._replace(steps=int(arena.steps[slot]))
        snapshot.put(address)
        arena.expires_at[slot] = now + arena.ttl_seconds[slot]
        return facts_of(session_id, address)

    async def move(self, session_id: str, address: Address, arena: Arena, snapshot: Snapshot, now: float) -> Facts:
        """See ``Store.move``."""
        former, slot = address
        times = {"opened_at": float(former.opened_at[slot]), "ttl_seconds": float(former.ttl_seconds[slot])}
        self._check_room(arena, now)
        self._residents.drop(session_id, address)
        moved = self._residents.put(session_id, arena)
        arena.stamp[moved.slot] = 1
        snapshot.put(moved)
        self._residents.set_life(moved, **times, expires_at=now + times["ttl_seconds"])
        return facts_of(session_id, moved)

    def detach(self, arena: Arena) -> None:
        """See ``Store.detach``."""
        if arena.num_sessions:
            raise ValueError("memory:// has no other place for them")
        self._residents.detach(arena)
        self._expired = [each for each in self._expired if each is not arena]

    async def close(self, session_id: str, address: Address | None, now: float) -> Facts:
        """See ``Store.close``."""
        del address
        address = await self.find(session_id, now)
        facts = facts_of(session_id, address)
        self._end(session_id, address, SessionClosed, now, now)
        return facts

    def expire(self, now: float) -> list[Arena]:
        """See ``Store.expire``."""
        for session_id, address in self._residents.expired(now):
            self._expire(session_id, address, now)
        while self._tombstones and next(iter(self._tombstones.values()))[0] <= now:
            del self._tombstones[next(iter(self._tombstones))]
        expired, self._expired = self._expired, []
        return expired

    async def page(
        self, model: str | None, limit: int, cursor: str | None, now: float, tenant: str | None = None
    ) -> SessionPage:
        """See ``Store.page``; the cursor is an arena's number and a slot."""
        number, start = (0, 0) if cursor is None else read_cursor(CURSOR, cursor, tuple[int, int], _is_possible)
        found: list[Facts] = []
        for index, arena in self._residents.arenas.items():
            if index < number:
                continue
            start = start if index == number else 0
            if model in (None, arena.manifest.name):
                for slot in range(start, arena.high_water):
                    session_id, address = arena.session_ids[slot], Address(arena, slot)
                    if session_id is None or slot in arena.unborn or not self._residents.is_live(address, now):
                        continue
                    if tenant not in (None, tenant_of(session_id)):
                        continue
                    if len(found) == limit:
                        return SessionPage(found, write_cursor(CURSOR, (index, slot)))
                    found.append(facts_of(session_id, address))
        return SessionPage(found, None)

    def _put(self, session_id: str, arena: Arena, ttl_seconds: float, now: float) -> Address:
        """A slot for a session that begins."""
        self._check_room(arena, now)
        address = self._residents.put(session_id, arena)
        arena.stamp[address.slot] = 1  # never stale: there is no other writer
        self._set_life(address, ttl_seconds, now)
        return address

    def _check_room(self, arena: Arena, now: float) -> None:
        if arena.num_sessions >= self._max_sessions and self._residents.may_have_expired(now):
            for expired_id, address in self._residents.expired(now):  # which the sweep has not come to yet
                self._expire(expired_id, address, now)
        if arena.num_sessions >= self._max_sessions:
            raise Overloaded(
                f"{self._max_sessions} sessions of this model are live, and that is the most allowed (--max-sessions)"
            )

    def _set_life(self, address: Address, ttl_seconds: float, now: float) -> None:
        ttl = ttl_seconds or math.inf
        self._residents.set_life(address, opened_at=now, ttl_seconds=ttl, expires_at=now + ttl)

    def _expire(self, session_id: str, address: Address, now: float) -> None:
        self._expired.append(address.arena)
        # Not from ``now``: when the sweep came by decides nothing.
        self._end(session_id, address, SessionExpired, float(address.arena.expires_at[address.slot]), now)

    def _end(self, session_id: str, address: Address, error: type[OstinatoError], ended_at: float, now: float) -> None:
        self._residents.drop(session_id, address)
        self._tombstones.pop(session_id, None)  # they are in the order in which they are forgotten
        if (forgotten_at := ended_at + self._tombstone_seconds) > now:
            self._tombstones[session_id] = (forgotten_at, error)


def _is_possible(position: tuple[int, int]) -> bool:
    return min(position) >= 0
