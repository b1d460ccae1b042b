"""Copies: the sessions of a store of records that are in memory, those used last, in the arenas of their versions."""

from __future__ import annotations

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import CopyOutdated, OstinatoError, UnknownModel
from ostinato.service.state.arena import STALE, Arena, Slots, session_bytes
from ostinato.service.state.base import Address, Snapshot
from ostinato.service.state.endings import session_error
from ostinato.service.state.record_store import ENDED, RecordStore
from ostinato.service.state.records import Head, Layout
from ostinato.service.state.residents import Residents
from ostinato.service.state.roster import Roster


class CopyStore(RecordStore):
    """A store of records with copies of them in memory, which a stamp tells from old ones.

    Args:
        tombstone_seconds: how long an ended id is remembered; 0 = not at all.
        memory_budget: bytes of memory that the copies may take.
        record_schema: of the records that are written.

    Raises:
        ValueError: this release does not write that schema.
    """

    _absent: int
    """The stamp of a copy whose session is not there yet."""

    def __init__(self, *, tombstone_seconds: float, memory_budget: float, record_schema: int) -> None:
        super().__init__(tombstone_seconds=tombstone_seconds, record_schema=record_schema)
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

    def detach(self, arena: Arena) -> None:
        """See ``Store.detach``."""
        self._residents.detach(arena)
        self._expired = [each for each in self._expired if each is not arena]
        del self._layouts[arena]
        place = arena.manifest.name, arena.manifest.version
        if self._arenas.get(place) is arena:  # the version may be there again
            del self._arenas[place]

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

    def expire(self, now: float) -> list[Arena]:
        """See ``Store.expire``: copies whose time has come leave memory; the records tell the rest by their times."""
        for session_id, address in self._residents.expired(now):
            if self._residents.has(session_id, address):
                self._expired.append(address.arena)
            self._residents.drop(session_id, address)
        expired, self._expired = self._expired, []
        return expired

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
