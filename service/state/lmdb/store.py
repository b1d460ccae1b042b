"""``lmdb://PATH``: sessions in files of this machine, shared by its processes."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from ostinato.service.errors import OstinatoError, RecordUnreadable, StateStoreUnavailable
from ostinato.service.state.arena import STALE, Arena
from ostinato.service.state.base import Address, Facts, SessionPage
from ostinato.service.state.commit import Commit
from ostinato.service.state.cursor import read_cursor, write_cursor
from ostinato.service.state.durable import MAX_SESSIONS, DurableStore
from ostinato.service.state.lmdb.checkpoint import Checkpoint
from ostinato.service.state.lmdb.database import DATA_FILE, Database, is_behindable
from ostinato.service.state.lmdb.group_sync import GroupSync
from ostinato.service.state.lmdb.journal import Journal, segment_files
from ostinato.service.state.lmdb.shared_end import alone_in
from ostinato.service.state.names import stored_name, tenant_of
from ostinato.service.state.records import Head, read_head
from ostinato.service.state.schemas import SCHEMA

CURRENT = 1
"""``stamp`` of a copy that is the session: whatever another process changes, the journal tells, and it is stale."""

Value = TypeVar("Value")

COUNTED = 10_000
"""Records that are counted in one go."""

LAST = "\x7f"
"""Behind every id."""
CURSOR = "lmdb"
HELD = 250
"""Records that are counted before others have their turn: a millisecond's work."""


class LmdbStore(DurableStore):
    """Sessions in a folder: a journal of what was committed last, and an LMDB database of all before.

    What was committed survives the process however it ends. It survives a power cut when it is on the disk: at most a
    second later, or with ``sync_always`` before it is answered.

    Args:
        folder: made where it does not exist.
        recovers: take what is there, where something is lost and it is not known whose it was.
        clock: seconds since the epoch, by which old records are removed.

    Raises:
        StateStoreUnavailable: the folder cannot be used.
    """

    _absent = CURRENT

    def __init__(
        self,
        folder: Path,
        *,
        tombstone_seconds: float,
        memory_budget: float,
        sync_always: bool = False,
        recovers: bool = False,
        record_schema: int = SCHEMA,
        max_sessions: int = MAX_SESSIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            tombstone_seconds=tombstone_seconds,
            memory_budget=memory_budget,
            record_schema=record_schema,
            max_sessions=max_sessions,
        )
        self._folder = folder
        self._sync_always = sync_always
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)
            with alone_in(folder):
                self._database = Database(folder, recovers=recovers)
            try:
                self._journal = Journal(folder, self._database.first_segment, self._on_foreign, recovers=recovers)
                if self._database.first_segment() is None:
                    self._journal.begin_sync()()
                    self._database.note_journal()
            except BaseException:
                self._database.close()
                raise
        self._group_sync = GroupSync(self._journal.begin_sync)
        self._checkpoint = Checkpoint(
            folder,
            self._journal,
            self._database,
            self._group_sync,
            tombstone_seconds=tombstone_seconds,
            clock=clock,
            on_failure=lambda: self.on_failure and self.on_failure(),
        )

    @property
    def num_in_journal(self) -> int:
        """Records, the newest of their sessions, that are not in the database yet."""
        return sum(len(segment.newest) for segment in self._journal.segments)

    @property
    def num_bytes(self) -> dict[str, int]:
        """See ``Store.num_bytes``: of the journal, with files kept for later segments, and of the database."""
        files = {"journal": [path for _, path in segment_files(self._folder)], "database": [self._folder / DATA_FILE]}
        return {part: sum(map(_num_bytes, paths)) for part, paths in files.items()}

    def __repr__(self) -> str:
        return f"<LmdbStore {self._folder}, {len(self._residents)} sessions in memory, {self._journal!r}>"

    def refresh(self, session_id: str, address: Address, now: float) -> Awaitable[None] | None:
        """See ``Store.refresh``; at once, but where each answer waits for the disk: another process may have ended
        before it had there what this one reads.
        """
        arena, slot = address
        with self._translated():
            self._journal.follow()
            if arena.stamp[slot] == STALE:
                try:
                    self._renew(session_id, address, self._newest(session_id), now)
                except OstinatoError as error:
                    self._forget(session_id, address, error)
                    raise
        return self._synced(None) if self._sync_always else None

    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_] | Awaitable[NDArray[np.bool_]]:
        """See ``Store.commit``; at once, but where each answer waits for the disk."""
        arena, layout = commit.arena, self._layouts[commit.arena]
        with self._translated(), self._journal.locked():
            won: NDArray[np.bool_] = arena.stamp[commit.slots] != STALE
            won &= arena.steps[commit.slots] == commit.steps_before
            if self._residents.may_have_expired(now):
                self._lose_removed(commit, won, now)
            commit = commit.of(won)
            if len(commit.slots):
                session_ids = arena.ids_of(commit.slots)
                rows = layout.fill_rows(commit, CURRENT, now)
                if commit.long_answers:
                    records = layout.records(commit, rows)
                    self._journal.append(session_ids, b"".join(records), list(map(len, records)))
                else:
                    self._journal.append(session_ids, rows.view(np.uint8), rows.dtype.itemsize)
        commit.apply(now)
        return self._synced(won) if self._sync_always else won

    async def page(
        self, model: str | None, limit: int, cursor: str | None, now: float, tenant: str | None = None
    ) -> SessionPage:
        """See ``Store.page``, by rising name; the cursor is the last one that was looked at."""
        after = None if cursor is None else read_cursor(CURSOR, cursor, str, is_behindable)
        found: list[Facts] = []
        num_unreadable = 0
        with self._translated():
            self._journal.follow()
            # One more than there may be on it tells whether there is another page.
            names = list(islice(self._behind(after, limit + 1, tenant), limit + 1))
            for name, stored in names[:limit]:
                try:
                    record = self._journal.read(name)
                    record = (stored or self._database.read(name)) if record is None else record
                    head = None if record is None else self._head(name, record)
                except RecordUnreadable:
                    num_unreadable += 1
                    continue
                if head is None:
                    continue
                if not head.is_tombstone and now < head.expires_at and model in (None, head.model):
                    found.append(head.facts(name))
        following = write_cursor(CURSOR, names[limit - 1][0]) if len(names) > limit else None
        return SessionPage(found, following, num_unreadable)

    def _behind(self, after: str | None, num_heads: int, tenant: str | None) -> Iterator[tuple[str, bytes | None]]:
        """The names of a tenant's records behind one, in order, and the heads that the database has of them."""
        if tenant:
            after = max(after or "", stored_name(tenant, ""))
        later = {name for segment in self._journal.segments for name in segment.newest}
        while True:
            stored = dict(self._database.behind(after, num_heads))
            names = heapq.nsmallest(num_heads, stored.keys() | {name for name in later if name > (after or "")})
            if not names:
                return
            for name in names:
                after = name
                if tenant in (None, tenant_of(name)):
                    yield name, stored.get(name)
                elif tenant:
                    return  # a tenant's names are together
                else:
                    after = stored_name(tenant_of(name), LAST)  # and among the bare ones: behind them
                    break

    async def start(self) -> None:
        """See ``Store.start``; sessions whose record in the journal is damaged are counted."""
        for session_id in self._journal.damage.session_ids:
            with contextlib.suppress(OstinatoError):
                await self.look(session_id, 0)
        self._checkpoint.start()

    async def stop(self) -> None:
        """See ``Store.stop``."""
        await self._census.stop()
        await self._checkpoint.stop()
        try:
            with self._translated():
                await self._group_sync.wait()
        finally:
            self._journal.close()
            self._database.close()

    async def missing_versions(self) -> dict[tuple[str, str], int]:
        """See ``Store.missing_versions``; it looks at every session, where a version is missing."""
        with self._translated():
            keys = {key for segment in self._journal.segments for key in segment.newest}
            heads = {key: _readable_head(key, self._journal.read(key)) for key in keys}
            later = {key: head for key, head in heads.items() if head is not None}
            found = {(head.model, head.version) for head in later.values()} | self._database.versions()
            missing = found - self._arenas.keys()
            return await asyncio.to_thread(self._count, missing, later) if missing else {}

    async def _count_live(self, arena: Arena, now: float) -> int:
        name, version = arena.manifest.name, arena.manifest.version

        def is_counted(key: str, record: bytes | None) -> bool:
            head = _readable_head(key, record)
            if head is None or head.is_tombstone or now >= head.expires_at:
                return False
            return (head.model, head.version) == (name, version)

        count, after = 0, None
        with self._translated():
            self._journal.follow()
            later = {key for segment in self._journal.segments for key in segment.newest}
            for number, key in enumerate(later, 1):
                count += is_counted(key, self._newest(key))
                if number % HELD == 0:
                    await asyncio.sleep(0)  # others have their turn
            while heads := self._database.behind(after, HELD):
                count += sum(key not in later and is_counted(key, record) for key, record in heads)
                after = heads[-1][0]
                await asyncio.sleep(0)
        return count

    async def _read(self, session_id: str) -> bytes | None:
        with self._translated():
            self._journal.follow()
            return self._newest(session_id)

    async def _swap(self, session_id: str, make: Callable[[bytes | None, int], bytes]) -> bytes | None:
        with self._translated(), self._journal.locked():
            record = make(self._newest(session_id), CURRENT)
            self._journal.append([session_id], record, [len(record)])
            # A copy in memory is old from now on, whatever becomes of this request.
            self._residents.mark_stale(session_id)
        if not self._sync_always:
            return record
        await self._synced(None)
        return await self._read(session_id)  # others may have changed it meanwhile

    def _newest(self, session_id: str) -> bytes | None:
        record = self._journal.read(session_id)
        return self._database.read(session_id) if record is None else record

    def _lose_removed(self, commit: Commit, won: NDArray[np.bool_], now: float) -> None:
        """Of sessions whose time came so long ago that their records were removed, ids are unknown: for good."""
        arena, slots = commit.arena, commit.slots
        for row in np.flatnonzero(won & (arena.expires_at[slots] <= now)).tolist():
            session_id = arena.session_ids[slots[row]] or ""
            if self._newest(session_id) is None:
                self._residents.mark_stale(session_id)
                won[row] = False

    def _on_foreign(self, session_ids: Sequence[str] | None) -> None:
        if session_ids is None:
            self._residents.mark_all_stale()
        else:
            for session_id in session_ids:
                self._residents.mark_stale(session_id)

    async def _synced(self, value: Value) -> Value:
        """``value``, when all that was appended until now is on the disk."""
        with self._translated("it may or may not have been applied; with seq it is safe to retry"):
            await self._group_sync.wait()
        return value

    def _count(self, missing: set[tuple[str, str]], later: dict[str, Head]) -> dict[tuple[str, str], int]:
        """The sessions of each version, ``later`` being what the journal has; a version that has none is forgotten."""
        live = Counter((head.model, head.version) for head in later.values() if not head.is_tombstone)
        counts = {version: live[version] for version in missing}
        after, heads = None, self._database.behind(None, COUNTED)
        while heads:
            for key, record in heads:
                head = _readable_head(key, record)
                if head is None or head.is_tombstone or key in later:
                    continue
                if (head.model, head.version) in counts:
                    counts[head.model, head.version] += 1
            after = heads[-1][0]
            heads = self._database.behind(after, COUNTED)
        for version, count in counts.items():
            if not count:
                self._database.forget_version(*version)
        return {version: count for version, count in counts.items() if count}

    @contextmanager
    def _translated(self, outcome: str = StateStoreUnavailable.NOTHING) -> Iterator[None]:
        """Foreign errors become ours, here and nowhere else."""
        try:
            yield
        except OSError as error:
            raise StateStoreUnavailable(f"{self._folder}: {error.strerror or error}; {outcome}") from error
        except lmdb.Error as error:
            raise StateStoreUnavailable(f"{self._folder}: {error}; {outcome}") from error


def _num_bytes(path: Path) -> int:
    """Of a file, as it is on the disk; 0 where it is gone."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def _readable_head(session_id: str, record: bytes | None) -> Head | None:
    """A record's head; None where there is no record, or another release wrote it."""
    try:
        return None if record is None else read_head(session_id, record)
    except RecordUnreadable:
        return None
