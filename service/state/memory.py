"""``memory://``: the arena's columns are the sessions; they live in one process and end with it."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import (
    InvalidInput,
    OstinatoError,
    Overloaded,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownSession,
)
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Address, Commit, Facts, SessionPage, Snapshot, Store, facts_of
from ostinato.service.state.endings import session_error
from ostinato.service.state.residents import Residents
from ostinato.service.state.roster import Roster

_CURSOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


class MemoryStore(Store):
    """Sessions of one process.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        max_sessions: live sessions of a model version, inclusive.
    """

    def __init__(self, *, tombstone_seconds: float, max_sessions: int) -> None:
        self._tombstone_seconds = tombstone_seconds
        self._max_sessions = max_sessions
        self._residents = Residents()
        self._expired: list[Arena] = []
        # In the order in which they are forgotten, since all are remembered equally long.
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
        if self.use(session_id, now) is not None:
            raise session_error(session_id, SessionExists)
        if arena.num_sessions >= self._max_sessions:
            raise Overloaded(f"{self._max_sessions} sessions of this model are live, and that is the most allowed")
        address = self._residents.put(session_id, arena)
        arena.stamp[address.slot] = 1  # never stale: there is no other writer
        ttl = ttl_seconds or math.inf
        self._residents.set_life(address, opened_at=now, ttl_seconds=ttl, expires_at=now + ttl)
        if snapshot is not None:
            snapshot.put(address)
        self._tombstones.pop(session_id, None)
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
            forgotten_at, error = self._tombstones.get(session_id, (-math.inf, UnknownSession))
            raise session_error(session_id, error if now < forgotten_at else UnknownSession)
        return address

    def refresh(self, session_id: str, address: Address, now: float) -> None:
        """See ``Store.refresh``: what is in memory is the session."""

    async def look(self, session_id: str, now: float) -> Facts:
        """See ``Store.look``."""
        return facts_of(session_id, await self.find(session_id, now))

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_]:
        """See ``Store.commit``; always at once."""
        won: NDArray[np.bool_] = commit.arena.steps[commit.slots] == commit.steps_before
        commit.of(won).apply(now)
        return won

    async def replace(self, session_id: str, address: Address, snapshot: Snapshot, now: float) -> None:
        """See ``Store.replace``."""
        del session_id
        snapshot.put(address)
        arena, slot = address
        arena.expires_at[slot] = now + arena.ttl_seconds[slot]

    async def close(self, session_id: str, address: Address | None, now: float) -> None:
        """See ``Store.close``."""
        del address
        self._end(session_id, await self.find(session_id, now), SessionClosed, now)

    def expire(self, now: float) -> list[Arena]:
        """See ``Store.expire``."""
        for session_id, address in self._residents.expired(now):
            self._expire(session_id, address, now)
        while self._tombstones and next(iter(self._tombstones.values()))[0] <= now:
            del self._tombstones[next(iter(self._tombstones))]
        expired, self._expired = self._expired, []
        return expired

    async def page(self, model: str | None, limit: int, cursor: str | None, now: float) -> SessionPage:
        """See ``Store.page``; the cursor is an arena's number and a slot."""
        number, start = 0, 0
        if cursor is not None:
            match = _CURSOR.fullmatch(cursor)
            if match is None:
                raise InvalidInput("the cursor is not one that this server gave", field="cursor")
            number, start = int(match[1]), int(match[2])
        found: list[Facts] = []
        for index, arena in enumerate(self._residents.arenas[number:], number):
            if model in (None, arena.manifest.name):
                for slot in range(start, arena.high_water):
                    session_id, address = arena.session_ids[slot], Address(arena, slot)
                    if session_id is None or not self._residents.is_live(address, now):
                        continue
                    if len(found) == limit:
                        return SessionPage(found, f"{index}.{slot}")
                    found.append(facts_of(session_id, address))
            start = 0
        return SessionPage(found, None)

    def _expire(self, session_id: str, address: Address, now: float) -> None:
        self._expired.append(address.arena)
        self._end(session_id, address, SessionExpired, now)

    def _end(self, session_id: str, address: Address, error: type[OstinatoError], now: float) -> None:
        self._residents.drop(session_id, address)
        if self._tombstone_seconds:
            self._tombstones[session_id] = (now + self._tombstone_seconds, error)
