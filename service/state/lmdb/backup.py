"""Backup: a copy of a folder as it was at one moment, while servers use it.

With the lock of the journal held, nobody appends, and no file of it is given to another segment: then a transaction is
begun that sees the database as it is, and the segments which are not in it yet are copied. The database itself is
copied behind that, by the same transaction, however long it takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.lmdb.database import DATA_FILE, Database
from ostinato.service.state.lmdb.journal import segment_files
from ostinato.service.state.lmdb.shared_end import alone_in


class BackedUp(NamedTuple):
    """What a backup holds: sessions' records in the database and files of the journal, and bytes of all."""

    num_records: int
    num_segments: int
    num_bytes: int


def back_up(folder: Path, target: Path) -> BackedUp:
    """Copy what a folder holds now into ``target``, which is made; served from there, it is what it was here.

    Every step that was answered before this began is in it. Commits wait while the journal is copied, of which there
    are seldom more than 64 MiB.

    Raises:
        StateStoreUnavailable: there is no such folder, or it is damaged, or the target is there, or cannot be written.
    """
    with _translated(folder):
        if not (folder / DATA_FILE).is_file():
            raise StateStoreUnavailable(f"{folder}: it is not a folder of sessions; it has no {DATA_FILE}")
        if target.exists():
            raise StateStoreUnavailable(f"{target}: it is there already, and no backup is written over another")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            made = _copy(folder, unfinished)
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _sync(target.parent)
    return made


def _copy(folder: Path, target: Path) -> BackedUp:
    with alone_in(folder):
        database = Database(folder)
        try:
            snapshot = database.begin()
            first = database.first_segment() or 1
            segments = [path for number, path in segment_files(folder) if number >= first]
            for path in segments:
                shutil.copyfile(path, target / path.name)
        except BaseException:
            database.close()
            raise
    try:
        num_records = database.copy(target, snapshot)
    finally:
        database.close()
    for path in [*target.iterdir(), target]:
        path.chmod(0o700 if path.is_dir() else 0o600)
        _sync(path)
    return BackedUp(num_records, len(segments), sum(path.stat().st_size for path in target.iterdir()))


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise StateStoreUnavailable(f"{folder}: {getattr(error, 'strerror', None) or error}") from error
