"""The residents: which sessions are in memory, and which of them make room for others."""

from __future__ import annotations

import math
from itertools import repeat
from operator import attrgetter

import numpy as np

from ostinato.service.state.arena import STALE, UNUSED, Arena, Slots, session_bytes
from ostinato.service.state.base import Address
from ostinato.service.state.roster import Found, Roster

_SLOT_BITS = 32
_SLOT_MASK = (1 << _SLOT_BITS) - 1

WINDOW = 32
"""Slots that are compared when room is needed. The one of them used longest ago goes: nearly always one of the least
recently used of all, at a cost that is the same however many there are.
"""


class Residents:
    """The places of the sessions that are in memory.

    Args:
        memory_budget: bytes that they may take; where they would take more, the least recently used ones go.

    Attributes:
        arenas: by number, in which places are told; none is given twice.
        num_changes: how often a session came, went or expired: as long as it stays the same, every session is where
            it was.
    """

    def __init__(self, memory_budget: float = math.inf) -> None:
        self._memory_budget = memory_budget
        # Session id -> arena << 32 | slot: numbers, which the garbage collector never has to look at.
        self._places: dict[str, int] = {}
        self.arenas: dict[int, Arena] = {}
        self._num_attached = 0
        self._numbers: dict[Arena, int] = {}
        self._hands: dict[int, int] = {}
        self._needed_bytes: dict[int, int] = {}
        self._none_expires_before = math.inf
        self._tick = 0
        self.num_changes = 0

    def __len__(self) -> int:
        return len(self._places)

    def attach(self, arena: Arena) -> None:
        """Hold sessions of this arena, too."""
        number = self._numbers[arena] = self._num_attached
        self._num_attached += 1
        self.arenas[number] = arena
        self._hands[number] = 0
        self._needed_bytes[number] = session_bytes(arena.manifest)

    def detach(self, arena: Arena) -> None:
        """Let go of an arena and of all sessions in it, none of which is busy."""
        for slot, session_id in enumerate(list(arena.session_ids)):
            if session_id is not None:
                self.drop(session_id, Address(arena, slot))
        number = self._numbers.pop(arena)
        for by_number in (self.arenas, self._hands, self._needed_bytes):
            del by_number[number]

    def use(self, session_id: str) -> Address | None:
        """Where a session is, live or not, which counts as used now; None = it is not in memory."""
        place = self._places.get(session_id)
        if place is None:
            return None
        arena, slot = address = Address(self.arenas[place >> _SLOT_BITS], place & _SLOT_MASK)
        self._tick += 1
        arena.used_at[slot] = self._tick
        return address

    def use_all(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """The slots in ``arena`` of live sessions, which count as used now: int64 ``[R]``, read-only; -1 of others."""
        self._tick += 1
        found = roster.found
        if now < self._none_expires_before and found and found.arena is arena and found.as_of == self.num_changes:
            arena.used_at[found.held] = self._tick
            return found.slots
        places = np.fromiter(map(self._places.get, roster.names, repeat(-1)), np.int64, len(roster.names))
        slots = places & _SLOT_MASK
        slots[(places < 0) | (places >> _SLOT_BITS != self._numbers.get(arena, -1))] = -1
        slots[arena.stamp[slots] == STALE] = -1
        if now >= self._none_expires_before:
            slots[(arena.expires_at[slots] <= now) & ~arena.busy[slots]] = -1
        held = slots[slots >= 0]
        arena.used_at[held] = self._tick
        slots.flags.writeable = False
        roster.found = Found(arena, self.num_changes, slots, held)
        return slots

    def is_live(self, address: Address, now: float) -> bool:
        """Whether its time has not come, or a request of it is under way."""
        arena, slot = address
        return bool(now < self._none_expires_before or arena.expires_at[slot] > now or arena.busy[slot])

    def put(self, session_id: str, arena: Arena) -> Address:
        """A slot for a session that is not in memory."""
        assert session_id not in self._places
        self._make_room(arena)
        slot = arena.allocate(session_id)
        self._tick += 1
        arena.used_at[slot] = self._tick
        address = Address(arena, slot)
        self._places[session_id] = self._place(address)
        self.num_changes += 1
        return address

    def set_life(self, address: Address, *, opened_at: float, ttl_seconds: float, expires_at: float) -> None:
        """Put a session's times there; ``inf`` = never."""
        arena, slot = address
        arena.opened_at[slot] = opened_at
        arena.ttl_seconds[slot] = ttl_seconds
        arena.expires_at[slot] = expires_at
        self._none_expires_before = min(self._none_expires_before, expires_at)

    def mark_stale(self, session_id: str) -> None:
        """Another process has changed a session, so that the copy in memory, if there is one, is old."""
        place = self._places.get(session_id)
        if place is not None:
            self.arenas[place >> _SLOT_BITS].stamp[place & _SLOT_MASK] = STALE
            self.num_changes += 1

    def mark_all_stale(self) -> None:
        """Other processes may have changed any session."""
        for arena in self.arenas.values():
            arena.stamp[: arena.high_water] = STALE
        self.num_changes += 1

    def mark_slots_stale(self, arena: Arena, slots: Slots) -> None:
        """What is in ``slots`` of an arena is old, or may be."""
        arena.stamp[slots] = STALE
        self.num_changes += 1

    def has(self, session_id: str, address: Address) -> bool:
        """Whether a session's place is there, and not elsewhere or nowhere."""
        return self._places.get(session_id) == self._place(address)

    def drop(self, session_id: str, address: Address) -> None:
        """Give a slot back that a session has, or had."""
        if self.has(session_id, address):
            del self._places[session_id]
        self.num_changes += 1
        address.arena.release(address.slot)

    def part_with(self, session_id: str, address: Address) -> None:
        """A busy slot is not the session's any more; ``expired`` tells of it when it is free."""
        del self._places[session_id]
        self.mark_slots_stale(address.arena, np.array([address.slot]))
        address.arena.expires_at[address.slot] = self._none_expires_before = -math.inf

    def may_have_expired(self, now: float) -> bool:
        """Whether it is worth looking for sessions whose time has come."""
        return now >= self._none_expires_before

    def expired(self, now: float) -> list[tuple[str, Address]]:
        """The sessions whose time has come, except busy ones."""
        found: list[tuple[str, Address]] = []
        self._none_expires_before = math.inf
        for arena in self.arenas.values():
            top = arena.high_water
            for slot in np.nonzero((arena.expires_at[:top] <= now) & ~arena.busy[:top])[0].tolist():
                session_id = arena.session_ids[slot]
                assert session_id is not None
                found.append((session_id, Address(arena, slot)))
            self._none_expires_before = min(self._none_expires_before, arena.expires_at[:top].min(initial=math.inf))
        return found

    def _place(self, address: Address) -> int:
        return self._numbers[address.arena] << _SLOT_BITS | address.slot

    def _make_room(self, arena: Arena) -> None:
        """Let sessions go until one more fits."""
        if self._memory_budget == math.inf:
            return
        needed_bytes = self._needed_bytes[self._numbers[arena]]
        while sum(arena.memory_bytes for arena in self.arenas.values()) + needed_bytes > self._memory_budget:
            crowded = max(self.arenas.values(), key=attrgetter("memory_bytes"))
            slot = self._least_recently_used(crowded)
            if slot is None:
                return  # all are busy; there is a slot for each that may be
            session_id = crowded.session_ids[slot]
            assert session_id is not None
            self.drop(session_id, Address(crowded, slot))
            if crowded.on_evict is not None:
                crowded.on_evict()

    def _least_recently_used(self, arena: Arena) -> int | None:
        number = self._numbers[arena]
        top = arena.high_water
        for _ in range(top // WINDOW + 2):
            start = self._hands[number]
            stop = min(start + WINDOW, top)
            self._hands[number] = 0 if stop == top else stop
            used_at = np.where(arena.busy[start:stop], UNUSED, arena.used_at[start:stop])
            if len(used_at) and used_at[oldest := int(used_at.argmin())] < UNUSED:
                return start + oldest
        return None
