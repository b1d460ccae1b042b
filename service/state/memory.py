"""``memory://``: the arena's columns are the sessions; they live in one process and end with it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.errors import OstinatoError, SessionClosed, SessionExists, SessionExpired, UnknownSession
from service.state.arena import Arena
from service.state.base import Address, Commit, Store


class MemoryStore(Store):
    """Sessions of one process.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
    """

    def __init__(self, *, tombstone_seconds: float) -> None:
        self._tombstone_seconds = tombstone_seconds
        self._addresses: dict[str, Address] = {}
        self._arenas: dict[Arena, None] = {}
        self._expired: list[tuple[str, Arena]] = []
        # In the order in which they are forgotten, since all are remembered equally long.
        self._tombstones: dict[str, tuple[float, type[OstinatoError]]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._addresses)} sessions, {len(self._tombstones)} tombstones>"

    async def open(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """See ``Store.open``."""
        if self.resident(session_id, now) is not None:
            raise SessionExists(f"session {session_id!r} is live; close it first, or use it as it is")
        slot = arena.allocate(session_id)
        self._arenas.setdefault(arena)
        arena.opened_at[slot] = now
        arena.ttl_seconds[slot] = ttl_seconds or math.inf
        arena.expires_at[slot] = now + arena.ttl_seconds[slot]
        address = self._addresses[session_id] = Address(arena, slot)
        self._tombstones.pop(session_id, None)
        return address

    def resident(self, session_id: str, now: float) -> Address | None:
        """See ``Store.resident``; every live session is."""
        address = self._addresses.get(session_id)
        if address is None:
            return None
        arena, slot = address
        if arena.expires_at[slot] > now or arena.busy[slot]:
            return address
        self._expire(session_id, address, now)
        return None

    async def find(self, session_id: str, now: float) -> Address:
        """See ``Store.find``."""
        address = self.resident(session_id, now)
        if address is None:
            raise self._absent(session_id, now)
        return address

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_]:
        """See ``Store.commit``; always at once."""
        arena, slots = commit.arena, commit.slots
        won: NDArray[np.bool_] = arena.steps[slots] == commit.steps_before
        states = commit.states
        if not won.all():
            slots, states = slots[won], [rows[won] for rows in states]
        arena.scatter(slots, states)
        arena.last_seq[slots] = commit.steps_before[won]
        arena.steps[slots] += commit.num_steps[won]
        arena.last_digest[slots] = commit.digests[won]
        arena.last_output[slots] = commit.outputs[won]
        arena.expires_at[slots] = now + arena.ttl_seconds[slots]
        _keep_long_answers(commit, won)
        return won

    async def close(self, session_id: str, now: float) -> None:
        """See ``Store.close``."""
        address = await self.find(session_id, now)
        self._end(session_id, address, SessionClosed, now)

    def expire(self, now: float) -> list[tuple[str, Arena]]:
        """See ``Store.expire``."""
        for arena in self._arenas:
            top = arena.high_water
            for slot in np.nonzero((arena.expires_at[:top] <= now) & ~arena.busy[:top])[0]:
                session_id = arena.session_ids[slot]
                assert session_id is not None
                self._expire(session_id, self._addresses[session_id], now)
        while self._tombstones and next(iter(self._tombstones.values()))[0] <= now:
            del self._tombstones[next(iter(self._tombstones))]
        expired, self._expired = self._expired, []
        return expired

    def scan(self, arena: Arena, start: int, now: float) -> Iterator[tuple[int, str]]:
        """See ``Store.scan``; the position is the slot."""
        for slot in range(start, arena.high_water):
            session_id = arena.session_ids[slot]
            if session_id is not None and (arena.expires_at[slot] > now or arena.busy[slot]):
                yield slot, session_id

    def _absent(self, session_id: str, now: float) -> OstinatoError:
        forgotten_at, error = self._tombstones.get(session_id, (-math.inf, UnknownSession))
        if forgotten_at <= now:
            error = UnknownSession
        return error(_ABSENT[error].format(session_id))

    def _expire(self, session_id: str, address: Address, now: float) -> None:
        self._expired.append((session_id, address.arena))
        self._end(session_id, address, SessionExpired, now)

    def _end(self, session_id: str, address: Address, error: type[OstinatoError], now: float) -> None:
        del self._addresses[session_id]
        address.arena.release(address.slot)
        if self._tombstone_seconds:
            self._tombstones[session_id] = (now + self._tombstone_seconds, error)


def _keep_long_answers(commit: Commit, won: NDArray[np.bool_]) -> None:
    kept = commit.arena.long_answers
    if kept:
        for slot in commit.slots[won].tolist():
            kept.pop(slot, None)
    for row, outputs in commit.long_answers.items():
        if won[row]:
            kept[int(commit.slots[row])] = outputs


_ABSENT: dict[type[OstinatoError], str] = {
    UnknownSession: "no session {!r}; open it with POST /v1/models/<model>/sessions",
    SessionExpired: "session {!r} was idle for longer than its ttl_seconds; open a new one",
    SessionClosed: "session {!r} was closed; open a new one",
}
