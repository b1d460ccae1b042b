"""``redis://HOST:PORT/DB``: sessions in Redis, shared by all workers of all replicas."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import hiredis
import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import OstinatoError, RecordUnreadable, StateStoreUnavailable
from ostinato.service.state.arena import STALE, Arena
from ostinato.service.state.base import Address, Facts, SessionPage, Snapshot
from ostinato.service.state.commit import Commit
from ostinato.service.state.cursor import read_cursor, write_cursor
from ostinato.service.state.durable import MAX_SESSIONS, DurableStore
from ostinato.service.state.records import Head, read_head
from ostinato.service.state.redis.address import RedisAddress
from ostinato.service.state.redis.connection import AnswerLost, RedisError, Refused, pack
from ostinato.service.state.redis.scan import Position, Scan, foreign
from ostinato.service.state.redis.servers import Command, RedisServers, cluster_slot
from ostinato.service.state.redis.swaps import ABSENT, Swapped, Swaps
from ostinato.service.state.redis.watch import Watch
from ostinato.service.state.schemas import SCHEMA

CURSOR = "redis"

MIN_SCAN_KEYS = 16
MAX_SCANS = 32
"""A page is over after so many, however few sessions they found among the other keys of the database."""

OVERTAKEN = "was cut off from this server before it answered, and another change has followed since"

COUNTED = 250
"""Records that are counted in one go."""


class RedisStore(DurableStore):
    """Sessions as keys ``ostinato:session:<id>`` of a Redis server, or of a cluster, with this memory as their cache;
    with another prefix where the address has one.

    What makes it sound is the stamp of each record: no two changes of any session have the same, from any writer. A
    commit is as durable as Redis makes it (``appendfsync``). Redis forgets a record by itself when its session ended so
    long ago that nobody is told any more.

    A Redis that is not there makes requests fail at once, and one that does not answer after ``timeout_seconds`` and
    then at once; nothing else needs it, and everything works again when it is back.
    """

    _absent = ABSENT

    def __init__(
        self,
        address: RedisAddress,
        *,
        tombstone_seconds: float,
        memory_budget: float,
        record_schema: int = SCHEMA,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        super().__init__(
            tombstone_seconds=tombstone_seconds,
            memory_budget=memory_budget,
            record_schema=record_schema,
            max_sessions=max_sessions,
        )
        self._servers = RedisServers(address)
        self._session_key, self._versions_key = address.session_key, address.versions_key
        self._swaps = Swaps(self._servers)
        self._all = Scan(self._servers)
        self._next_stamp = secrets.randbits(62) + 1
        self._noted_versions: set[bytes] = set()
        self._watch = Watch(self._servers, on_failure=lambda: self.on_failure and self.on_failure())

    def __repr__(self) -> str:
        return f"<RedisStore {len(self._residents)} sessions in memory, {self._servers!r}>"

    @property
    def trouble(self) -> str | None:
        """See ``Store.trouble``."""
        return self._watch.trouble

    async def open(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.open``."""
        await self._note_version(arena.manifest)
        return await super().open(session_id, arena, ttl_seconds=ttl_seconds, now=now, snapshot=snapshot)

    async def find_or_begin(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """See ``Store.find_or_begin``."""
        await self._note_version(arena.manifest)
        return await super().find_or_begin(session_id, arena, ttl_seconds=ttl_seconds, now=now)

    async def begin(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """See ``Store.begin``."""
        await self._note_version(arena.manifest)
        return await super().begin(session_id, arena, ttl_seconds=ttl_seconds, now=now, snapshot=snapshot)

    async def refresh(self, session_id: str, address: Address, now: float) -> None:
        """See ``Store.refresh``; Redis is always asked."""
        try:
            self._renew(session_id, address, await self._read(session_id), now)
        except OstinatoError as error:
            self._forget(session_id, address, error)
            raise

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_] | Awaitable[NDArray[np.bool_]]:
        """See ``Store.commit``; it is on its way to Redis when this returns."""
        whole, arena, layout = commit, commit.arena, self._layouts[commit.arena]
        stamps = arena.stamp[commit.slots]
        may_win: NDArray[np.bool_] = stamps != STALE
        may_win &= arena.steps[commit.slots] == commit.steps_before
        num_rows = int(np.count_nonzero(may_win))
        if not num_rows:
            return may_win
        commit, stamps = commit.of(may_win), stamps[may_win]
        new_stamps = np.arange(self._next_stamp, self._next_stamp + num_rows)
        self._next_stamp += num_rows
        session_ids = arena.session_ids
        session_key = self._session_key
        keys = [session_key + (session_ids[slot] or "").encode() for slot in commit.slots.tolist()]
        records = layout.records(commit, layout.fill_rows(commit, new_stamps, now))
        keep_seconds = arena.ttl_seconds[commit.slots] + self._tombstone_seconds
        sent = self._swaps.begin(keys, stamps, records, keep_seconds)
        # The states are the runner's memory, to which the next iteration writes.
        commit = replace(commit, states=[states.copy() for states in commit.states])
        return self._settle(sent, whole, commit, new_stamps, may_win, now)

    async def page(
        self, model: str | None, limit: int, cursor: str | None, now: float, tenant: str | None = None
    ) -> SessionPage:
        """See ``Store.page``, in Redis' own order.

        A session that is there all the while is on a page; as with Redis' ``SCAN``, it may be on two.
        """
        position = Position() if cursor is None else read_cursor(CURSOR, cursor, Position, Position.is_possible)
        position = position.of_tenant(tenant)
        found: list[Facts] = []
        num_unreadable = 0
        with _translated():
            for _ in range(MAX_SCANS):
                left = position.left
                for number, head in enumerate(await self._all.heads(left)):
                    if isinstance(head, RecordUnreadable):
                        num_unreadable += 1
                        self._note_unreadable(left[number], head)
                        continue
                    if head is None or head.is_tombstone or now >= head.expires_at:
                        continue
                    if model not in (None, head.model):
                        continue
                    if len(found) == limit:
                        word = write_cursor(CURSOR, position._replace(left=left[number:]))
                        return SessionPage(found, word, num_unreadable)
                    found.append(head.facts(left[number]))
                if len(found) == limit:
                    position = position._replace(left=())
                    break
                following = await self._all.next(position, max(MIN_SCAN_KEYS, limit - len(found)))
                if following is None:
                    return SessionPage(found, None, num_unreadable)
                position = following.of_tenant(tenant)
        return SessionPage(found, write_cursor(CURSOR, position), num_unreadable)

    async def start(self) -> None:
        """See ``Store.start``; what the servers are set to is looked at, and said where it may lose sessions."""
        self._watch.start()

    async def stop(self) -> None:
        """See ``Store.stop``."""
        await self._watch.stop()
        await self._census.stop()
        await self._servers.close()

    async def missing_versions(self) -> dict[tuple[str, str], int]:
        """See ``Store.missing_versions``; it looks at every session, where a version is missing."""
        with _translated():
            noted = {
                tuple(member.decode().split("/", 1)) for member in await self._fetch(self._versions_key, "SMEMBERS")
            }
            counts = dict.fromkeys(noted - self._arenas.keys(), 0)
            position = Position() if counts else None
            while position is not None:
                for head in await self._all.heads(position.left):
                    if not isinstance(head, Head) or head.is_tombstone:
                        continue
                    if (head.model, head.version) in counts:
                        counts[head.model, head.version] += 1
                position = await self._all.next(position, COUNTED)
            for (model, version), count in counts.items():
                if not count:
                    await self._ask(self._versions_key, "SREM", f"{model}/{version}")
        return {version: count for version, count in counts.items() if count}

    async def _count_live(self, arena: Arena, now: float) -> int:
        name, version, count = arena.manifest.name, arena.manifest.version, 0
        position: Position | None = Position()
        with _translated():
            while position is not None:
                for head in await self._all.heads(position.left):
                    if isinstance(head, Head) and (head.model, head.version) == (name, version):
                        count += not head.is_tombstone and now < head.expires_at
                position = await self._all.next(position, COUNTED)
        return count

    async def _read(self, session_id: str) -> bytes | None:
        with _translated():
            try:
                record: bytes | None = await self._fetch(self._session_key + session_id.encode(), "GET")
            except Refused as error:
                if "WRONGTYPE" in str(error):
                    raise foreign(session_id) from error
                raise
        return record

    async def _swap(self, session_id: str, make: Callable[[bytes | None, int], bytes]) -> bytes | None:
        while True:
            record = await self._read_any(session_id)
            made = make(record, self._next_stamp)
            self._next_stamp += 1
            head = read_head(session_id, made)
            keep_seconds = self._tombstone_seconds + (0 if head.is_tombstone else head.ttl_seconds)
            stamps = np.frombuffer((record or b"")[:8].ljust(8, b"\xff"), "<i8")
            with _translated(is_write=True):
                won, unknown, _ = await self._swaps.begin(
                    [self._session_key + session_id.encode()], stamps, [made], np.array([keep_seconds], np.float64)
                )
                if unknown is not None:
                    raise AnswerLost(f"{self._servers.address} {OVERTAKEN}")
            if won[0]:
                return made

    async def _read_any(self, session_id: str) -> bytes | None:
        """``_read``; b"" of what is no record at all."""
        try:
            return await self._read(session_id)
        except RecordUnreadable:
            return b""

    async def _settle(
        self,
        sent: Awaitable[Swapped],
        whole: Commit,
        commit: Commit,
        new_stamps: NDArray[np.int64],
        may_win: NDArray[np.bool_],
        now: float,
    ) -> NDArray[np.bool_]:
        """Put into memory what Redis took: of ``commit``, the rows ``may_win`` of the whole; returns which of all.

        Where the answer was lost, the copies keep their stamps: if Redis took the records, its stamps are others. One
        server of a cluster that fails is that for its own sessions, and none of the others'.
        """
        with _translated(is_write=True):
            taken, unknown, trouble = await sent
        won = may_win.copy()
        won[may_win] = taken
        if unknown is not None:
            self._residents.mark_slots_stale(commit.arena, commit.slots[unknown])
            whole.unknown = np.zeros(len(may_win), np.bool_)
            whole.unknown[may_win] = unknown
            whole.trouble = trouble
        committed = commit.of(taken)
        committed.apply(now)
        committed.arena.stamp[committed.slots] = new_stamps[taken]
        return won

    async def _note_version(self, manifest: Manifest) -> None:
        """Have it known that there may be sessions of a model version, before there is one."""
        member = f"{manifest.name}/{manifest.version}".encode()
        if member not in self._noted_versions:
            with _translated():
                await self._ask(self._versions_key, "SADD", member)
            self._noted_versions.add(member)

    async def _ask(self, key: bytes, command: str, *arguments: bytes | str) -> Any:
        """What Redis says to a command about a key.

        Raises:
            RedisError.
        """
        (answer,) = await self._servers.ask([Command(cluster_slot(key), pack(command, key, *arguments))])
        return self._accepted(answer)

    async def _fetch(self, key: bytes, command: str) -> Any:
        """``_ask`` for a command that changes nothing."""
        (answer,) = await self._servers.read([Command(cluster_slot(key), pack(command, key))])
        return self._accepted(answer)

    def _accepted(self, answer: Any) -> Any:
        if isinstance(answer, hiredis.ReplyError):
            raise Refused(self._servers.refusal(answer))
        return answer


@contextmanager
def _translated(*, is_write: bool = False) -> Iterator[None]:
    """Foreign errors become ours, here and nowhere else."""
    try:
        yield
    except AnswerLost as error:
        if is_write:
            raise StateStoreUnavailable(
                f"{error}; it may or may not have been applied; with seq it is safe to retry"
            ) from error
        raise StateStoreUnavailable(f"{error}; {StateStoreUnavailable.NOTHING}") from error
    except RedisError as error:
        raise StateStoreUnavailable(f"{error}; {StateStoreUnavailable.NOTHING}") from error
