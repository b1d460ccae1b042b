"""The database behind the journal: every session by its id, in LMDB."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from ostinato.service.state.lmdb.meta_pages import DatabaseDamaged, check_file, damaged
from ostinato.service.state.lmdb.trees import MAX_LEAF_BYTES, check_trees
from ostinato.service.state.schemas import head_of, is_of_another, is_over, names_of, version_of

logger = logging.getLogger(__name__)

DATA_FILE = "data.mdb"
MAP_BYTES = 1 << 38
"""Addresses, not memory: the file grows as it is filled, up to this."""
MAX_READERS = 1024
MAX_KEY_BYTES = 511
"""Of LMDB, which finds fault with whoever asks for a longer one."""
_SLICE = 2000
"""Records in one transaction: others wait for no longer than it takes to write these."""
_FIRST = b"first segment"
_NUMBER = struct.Struct("<Q")


def is_behindable(session_id: str) -> bool:
    """Whether ``Database.behind`` takes an id."""
    return len(session_id.encode()) < MAX_KEY_BYTES


class Swept(NamedTuple):
    """How far a sweep came: the id behind which it continues (None = from the beginning), and records it removed."""

    at: str | None
    num_removed: int


class Database:
    """Records by session id. Every method may raise ``lmdb.Error``.

    Args:
        recovers: take what can be found, where a session is known to be lost and not which.

    Raises:
        DatabaseDamaged: its file is not whole.
    """

    def __init__(self, folder: Path, *, recovers: bool = False) -> None:
        self._path = str(folder.resolve())
        check_file(folder / DATA_FILE)
        self._environment = _open(self._path)
        try:
            with self._environment.begin() as transaction:
                check_trees(folder / DATA_FILE, transaction.id())
            self._environment.reader_check()  # the places of processes that were killed
            self._sessions, self._facts, self._versions = _databases(self._path)
            if (folder / DATA_FILE).stat().st_size <= MAX_LEAF_BYTES:
                self._check_keys(folder / DATA_FILE, recovers=recovers)
        except BaseException:
            _close(self._path)
            raise

    def read(self, session_id: str) -> bytes | None:
        """A session's record."""
        with self._environment.begin(self._sessions) as transaction:
            record: bytes | None = transaction.get(session_id.encode())
            return record

    def first_segment(self) -> int | None:
        """Number of the first segment of the journal of which not all is here; None = there was none yet."""
        with self._environment.begin(self._facts) as transaction:
            stored = transaction.get(_FIRST)
            return None if stored is None else _number(stored)

    def note_journal(self) -> None:
        """There is a journal from now on, and it begins with segment 1."""
        with self._environment.begin(self._facts, write=True) as transaction:
            transaction.put(_FIRST, _NUMBER.pack(1), overwrite=False)

    def put_segment(self, number: int, records: Iterable[tuple[str, bytes]], ended_before: float) -> None:
        """Take over what a segment holds, by rising id; from then on the journal begins behind it. On the disk.

        Records of sessions that had ended at ``ended_before`` are removed instead.
        """
        versions: set[bytes] = set()
        seen: set[bytes] = set()
        rest = iter(records)
        while part := list(islice(rest, _SLICE)):
            dead: list[str] = []
            live: list[tuple[bytes, bytes]] = []
            for key, record in part:
                if is_over(record, ended_before):
                    dead.append(key)
                    continue
                live.append((key.encode(), record))
                # Most records are of few versions: only the first with these names is looked at closely.
                if (names := names_of(record)) not in seen and (version := version_of(record)):
                    seen.add(names)
                    versions.add(version)
            with self._environment.begin(self._sessions, write=True) as transaction:
                transaction.cursor().putmulti(live)
                for key in dead:
                    transaction.delete(key.encode())
        with self._environment.begin(write=True) as transaction:
            for version in versions:
                transaction.put(version, b"", db=self._versions)
            first = _number(transaction.get(_FIRST, db=self._facts))
            transaction.put(_FIRST, _NUMBER.pack(max(first, number + 1)), db=self._facts)

    def sweep(self, after: str | None, ended_before: float) -> Swept:
        """Look at the next records and remove those of sessions that had ended at ``ended_before``."""
        # A process that was killed while it read would keep old pages from being used again.
        self._environment.reader_check()
        with self._environment.begin(self._sessions, buffers=True) as transaction:
            seen = list(islice(self._behind(transaction, after), _SLICE))
            dead = [key for key, record in seen if is_over(record, ended_before)]
        if dead:
            with self._environment.begin(self._sessions, write=True) as transaction:
                for key in dead:
                    # Looked at again: it may have been written since.
                    record = transaction.get(key.encode())
                    if record is not None and is_over(record, ended_before):
                        transaction.delete(key.encode())
        return Swept(seen[-1][0] if len(seen) == _SLICE else None, len(dead))

    def behind(self, after: str | None, limit: int) -> list[tuple[str, bytes]]:
        """The heads of at most ``limit`` records behind an id, by rising id."""
        with self._environment.begin(self._sessions, buffers=True) as transaction:
            return [(key, head_of(record)) for key, record in islice(self._behind(transaction, after), limit)]

    def versions(self) -> set[tuple[str, str]]:
        """(model, version) of all sessions there may be here."""
        with self._environment.begin(self._versions) as transaction:
            names = [key.decode(errors="replace").partition("\n") for key, _ in transaction.cursor()]
        return {(model, version) for model, _, version in names}

    def forget_version(self, model: str, version: str) -> None:
        """No session of it is left."""
        with self._environment.begin(self._versions, write=True) as transaction:
            transaction.delete(f"{model}\n{version}".encode())

    def begin(self) -> Any:
        """A transaction that sees all as it is now, for ``copy``."""
        return self._environment.begin(self._sessions)

    def copy(self, folder: Path, transaction: Any) -> int:
        """Write what a transaction sees to a file in ``folder``, and end it; the number of records."""
        try:
            self._environment.copy(str(folder), compact=True, txn=transaction)
            return int(transaction.stat(self._sessions)["entries"])
        finally:
            transaction.abort()

    def close(self) -> None:
        """Let go of the files."""
        _close(self._path)

    def _check_keys(self, path: Path, *, recovers: bool) -> None:
        """Look whether a session that a walk comes by is found by its id, too: one whose id is damaged is not, and
        others may not be for its sake.

        Raises:
            DatabaseDamaged: one is not, and that is not to be accepted.
        """
        num_lost = num_seen = 0
        try:
            with self._environment.begin(self._sessions, buffers=True) as transaction:
                for key, record in transaction.cursor():
                    num_seen += 1
                    num_lost += transaction.get(bytes(key)) is None or is_of_another(key, record)
                num_lost = max(num_lost, transaction.stat(self._sessions)["entries"] - num_seen)
        except lmdb.Error as error:
            what = f"it cannot be walked through ({error})"
        else:
            what = f"{num_lost} or more of its sessions are not found by their ids any more" if num_lost else ""
        if what and not recovers:
            raise DatabaseDamaged(f"{damaged(path, what)}, or take what is found with lmdb://PATH?recover=yes")
        if what:
            logger.error("%s is damaged: %s. What is found is served", path, what)

    def _behind(self, transaction: Any, after: str | None) -> Iterator[tuple[str, memoryview]]:
        cursor = transaction.cursor()
        # No id has a byte 0, so this is the least key behind ``after``.
        if cursor.set_range(b"" if after is None else after.encode() + b"\0"):
            for key, record in cursor:
                yield bytes(key).decode(errors="replace"), record


class _Opened(NamedTuple):
    environment: Any
    databases: tuple[Any, ...]
    num_users: int


_open_environments: dict[str, _Opened] = {}
"""By path: LMDB does not bear that a process opens an environment twice."""


def _open(path: str) -> Any:
    opened = _open_environments.get(path)
    if opened is None:
        environment = lmdb.open(path, map_size=MAP_BYTES, max_dbs=3, max_readers=MAX_READERS, mode=0o600)
        opened = _Opened(environment, (), 0)
    _open_environments[path] = opened._replace(num_users=opened.num_users + 1)
    return opened.environment


def _databases(path: str) -> tuple[Any, ...]:
    """Sessions, facts and versions. They are opened once, since that waits for who writes, and keeps Python's lock
    meanwhile, which a thread of this process that writes would wait for.
    """
    opened = _open_environments[path]
    if not opened.databases:
        databases = tuple(opened.environment.open_db(name) for name in (b"sessions", b"facts", b"versions"))
        opened = _open_environments[path] = _open_environments[path]._replace(databases=databases)
    return opened.databases


def _close(path: str) -> None:
    opened = _open_environments.pop(path)
    if opened.num_users > 1:
        _open_environments[path] = opened._replace(num_users=opened.num_users - 1)
    else:
        opened.environment.close()


def _number(stored: bytes | None) -> int:
    return 1 if stored is None else int(_NUMBER.unpack(stored)[0])
