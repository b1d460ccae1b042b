"""``memory://``: the arena's columns are the sessions; they live in one process and end with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from service.errors import OstinatoError, SessionClosed, SessionExists, SessionExpired, UnknownSession
from service.state.arena import Arena, Slots
from service.state.base import Address, Commit, Roster, Store

_SLOT_BITS = 32
_SLOT_MASK = (1 << _SLOT_BITS) - 1


class MemoryStore(Store):
    """Sessions of one process.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
    """

    def __init__(self, *, tombstone_seconds: float) -> None:
        self._tombstone_seconds = tombstone_seconds
        # Session id -> arena << 32 | slot: numbers, which the garbage collector never has to look at.
        self._places: dict[str, int] = {}
        self._arenas: list[Arena] = []
        self._numbers: dict[Arena, int] = {}
        self._none_expires_before = math.inf
        # How often a session began or ended: as long as it stays the same, every session is where it was.
        self._num_changes = 0
        self._expired: list[tuple[str, Arena]] = []
        # In the order in which they are forgotten, since all are remembered equally long.
        self._tombstones: dict[str, tuple[float, type[OstinatoError]]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._places)} sessions, {len(self._tombstones)} tombstones>"

    async def open(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """See ``Store.open``."""
        if self.resident(session_id, now) is not None:
            raise SessionExists(f"session {session_id!r} is live; close it first, or use it as it is")
        if arena not in self._numbers:
            self._numbers[arena] = len(self._arenas)
            self._arenas.append(arena)
        slot = arena.allocate(session_id)
        arena.opened_at[slot] = now
        arena.ttl_seconds[slot] = ttl_seconds or math.inf
        arena.expires_at[slot] = now + arena.ttl_seconds[slot]
        self._none_expires_before = min(self._none_expires_before, float(arena.expires_at[slot]))
        self._places[session_id] = self._numbers[arena] << _SLOT_BITS | slot
        self._num_changes += 1
        self._tombstones.pop(session_id, None)
        return Address(arena, slot)

    def resident(self, session_id: str, now: float) -> Address | None:
        """See ``Store.resident``; every live session is."""
        place = self._places.get(session_id)
        if place is None:
            return None
        address = Address(self._arenas[place >> _SLOT_BITS], place & _SLOT_MASK)
        if now < self._none_expires_before or _is_live(address, now):
            return address
        self._expire(session_id, address, now)
        return None

    def resident_slots(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """See ``Store.resident_slots``."""
        if now < self._none_expires_before:
            found = roster.found
            if found is not None and found[0] is arena and found[1] == self._num_changes:
                return found[2]
        places = np.fromiter(map(self._places.get, roster.session_ids, repeat(-1)), np.int64, len(roster.session_ids))
        slots = places & _SLOT_MASK
        slots[(places < 0) | (places >> _SLOT_BITS != self._numbers.get(arena, -1))] = -1
        if now >= self._none_expires_before:
            slots[(arena.expires_at[slots] <= now) & ~arena.busy[slots]] = -1
        slots.flags.writeable = False
        roster.found = arena, self._num_changes, slots
        return slots

    async def find(self, session_id: str, now: float) -> Address:
        """See ``Store.find``."""
        address = self.resident(session_id, now)
        if address is None:
            raise self._absent(session_id, now)
        return address

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_]:
        """See ``Store.commit``; always at once."""
        arena = commit.arena
        won: NDArray[np.bool_] = arena.steps[commit.slots] == commit.steps_before
        if np.count_nonzero(won) < len(won):
            commit = commit.of(won)
        slots = commit.slots
        arena.scatter(slots, commit.states)
        arena.last_seq[slots] = commit.steps_before
        arena.steps[slots] = commit.steps_after
        arena.last_digest[slots] = commit.digests
        arena.keep_last_outputs(slots, commit.outputs)
        arena.expires_at[slots] = now + arena.ttl_seconds[slots]
        _keep_long_answers(commit)
        return won

    async def close(self, session_id: str, now: float) -> None:
        """See ``Store.close``."""
        address = await self.find(session_id, now)
        self._end(session_id, address, SessionClosed, now)

    def expire(self, now: float) -> list[tuple[str, Arena]]:
        """See ``Store.expire``."""
        self._none_expires_before = math.inf
        for arena in self._arenas:
            top = arena.high_water
            for slot in np.nonzero((arena.expires_at[:top] <= now) & ~arena.busy[:top])[0].tolist():
                session_id = arena.session_ids[slot]
                assert session_id is not None
                self._expire(session_id, Address(arena, slot), now)
            self._none_expires_before = min(self._none_expires_before, arena.expires_at[:top].min(initial=math.inf))
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
        del self._places[session_id]
        self._num_changes += 1
        address.arena.release(address.slot)
        if self._tombstone_seconds:
            self._tombstones[session_id] = (now + self._tombstone_seconds, error)


def _is_live(address: Address, now: float) -> bool:
    arena, slot = address
    return bool(arena.expires_at[slot] > now or arena.busy[slot])


def _keep_long_answers(commit: Commit) -> None:
    kept = commit.arena.long_answers
    if kept:
        for slot in commit.slots.tolist():
            kept.pop(slot, None)
    for row, outputs in commit.long_answers.items():
        kept[int(commit.slots[row])] = outputs


_ABSENT: dict[type[OstinatoError], str] = {
    UnknownSession: "no session {!r}; open it with POST /v1/models/<model>/sessions",
    SessionExpired: "session {!r} was idle for longer than its ttl_seconds; open a new one",
    SessionClosed: "session {!r} was closed; open a new one",
}
