"""A segment: a file of the journal, entries one behind another."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.service.state.lmdb.entries import (
    HEAD,
    HEAD_MAGIC,
    NOTHING_SYNCED,
    OVER,
    RECORDS,
    SIZE_BITS,
    SIZE_MASK,
    TAIL,
    TAIL_MAGIC,
    Entry,
    Synced,
    ids_of,
    pack_entry,
    parse_entry,
    places_of,
)

_FILE_HEAD = struct.Struct("<8sQ")
"""Magic, and the segment's number."""
_FILE_MAGIC = b"ostinatj"
MAX_ENTRY_BYTES = 1 << 30
"""What one call to the system reads whole."""


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment's file is."""
    return folder / f"journal.{number:08d}"


def begin_file(path: Path, number: int, *, is_new: bool) -> int:
    """Open a segment's file; where it is new, what it holds of a former segment is over."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_new else 0), 0o600)
    try:
        if is_new:
            os.pwrite(file, _FILE_HEAD.pack(_FILE_MAGIC, number), 0)
    except OSError:
        os.close(file)
        raise
    return file


class Segment:
    """A file of entries.

    Args:
        is_new: the file is made, or one of a former segment's is begun again; False: it is there.

    Attributes:
        number: its place among the segments.
        end: where the next entry goes, as far as this process knows.
        newest: session id -> where its newest record in this file is, offset << 32 | size.
        is_over: whether entries go to a later one.

    Raises:
        FileNotFoundError: there is no such segment.
    """

    def __init__(self, path: Path, number: int, *, is_new: bool = False) -> None:
        self.path = path
        self.number = number
        self.file = begin_file(path, number, is_new=is_new)
        self.end = _FILE_HEAD.size
        self.newest: dict[str, int] = {}
        self.is_over = False
        try:
            if not self.is_own:
                raise FileNotFoundError(f"{path} is not begun")
        except OSError:
            os.close(self.file)
            raise

    def __repr__(self) -> str:
        over = ", over" if self.is_over else ""
        return f"<Segment {self.number}: {self.end} bytes, {len(self.newest)} sessions{over}>"

    @property
    def is_own(self) -> bool:
        """Whether the file is this segment's still."""
        return os.pread(self.file, _FILE_HEAD.size, 0) == _FILE_HEAD.pack(_FILE_MAGIC, self.number)

    @property
    def is_begun(self) -> bool:
        """Whether it has a sound entry."""
        return self.entry_at(_FILE_HEAD.size) is not None

    @property
    def content(self) -> bytes:
        """All that is in its file."""
        return os.pread(self.file, os.fstat(self.file).st_size, 0)

    def read(self, session_id: str) -> bytes | None:
        """The newest record of a session in this file; b"" where that is damaged."""
        place = self.newest.get(session_id)
        if place is None:
            return None
        record = os.pread(self.file, place & SIZE_MASK, place >> SIZE_BITS)
        # Asked afterwards: another segment's number is written before its entries.
        return record if self.is_own else None

    def read_all(self, session_ids: Sequence[str]) -> list[bytes] | None:
        """``read`` of many sessions that have records in this file; None where it is another segment's by now."""
        pread, file, newest = os.pread, self.file, self.newest
        places = [newest[session_id] for session_id in session_ids]
        records = [pread(file, place & SIZE_MASK, place >> SIZE_BITS) for place in places]
        return records if self.is_own else None

    def read_on(self) -> Iterator[Entry]:
        """Read the sound entries from ``end`` on, which moves with them."""
        while not self.is_over and (found := self.entry_at(self.end)) is not None:
            entry, self.end = found
            self.is_over = entry.kind == OVER
            yield entry

    def append(
        self, session_ids: Sequence[str], records: Any, sizes: Sequence[int] | int, synced: Synced = NOTHING_SYNCED
    ) -> None:
        """Put the records of sessions behind ``end``, or nothing; ``sizes`` is one number where they are alike."""
        num_records = len(session_ids)
        lengths = np.full(num_records, sizes, "<u4") if isinstance(sizes, int) else np.asarray(sizes, "<u4")
        ids = ids_of(session_ids, lengths)
        start = self.end + HEAD.size + len(ids)
        self.write(RECORDS, num_records, ids, records, synced)
        places: Iterable[int]
        if isinstance(sizes, int):
            end = start + num_records * sizes
            places = range(start << SIZE_BITS | sizes, end << SIZE_BITS | sizes, sizes << SIZE_BITS)
        else:
            places = places_of(start, lengths)
        self.newest.update(zip(session_ids, places, strict=True))

    def write(self, kind: int, number: int, ids: bytes, records: Any, synced: Synced = NOTHING_SYNCED) -> None:
        """Put an entry behind ``end``, or nothing; ``synced`` is what is known to be on the disk."""
        parts = pack_entry(self.number, self.end, kind, number, ids, records, synced)
        wanted = sum(memoryview(part).nbytes for part in parts)
        if wanted > MAX_ENTRY_BYTES:
            raise OSError(errno.EFBIG, f"{wanted} bytes in one commit; the most is {MAX_ENTRY_BYTES}")
        written = os.pwritev(self.file, parts, self.end)
        if written < wanted:
            # The disk is full, or soon: asked once more, it says why.
            written += os.pwrite(self.file, b"".join(parts)[written:], self.end + written)
        if written < wanted:
            raise OSError("the disk is full")
        self.end += wanted

    def cut(self) -> None:
        """Remove what stands behind ``end``, from the disk, too."""
        os.ftruncate(self.file, self.end)
        os.fsync(self.file)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.file)

    def entry_at(self, start: int) -> tuple[Entry, int] | None:
        """The entry at a place, and its end; None where no whole, sound one of this segment stands."""
        head = os.pread(self.file, HEAD.size, start)
        if len(head) < HEAD.size or not head.startswith(HEAD_MAGIC):
            return None
        ids_bytes, behind_bytes = HEAD.unpack(head)[3:5]
        begins_at = start + HEAD.size
        end = begins_at + ids_bytes + behind_bytes
        if end > os.fstat(self.file).st_size or self._is_former(start, end):
            return None
        entry = parse_entry(self.number, start, head, memoryview(os.pread(self.file, end - begins_at, begins_at)))
        return None if entry is None else (entry, end)

    def _is_former(self, start: int, end: int) -> bool:
        """Whether an entry is of a segment that had the file before, as its tail says: where entries are alike, one
        is at the end of each of this segment's, and need not be read whole.
        """
        tail = os.pread(self.file, TAIL.size, max(start, end - TAIL.size))
        if len(tail) < TAIL.size or not tail.startswith(TAIL_MAGIC):
            return False
        number, begins_at = TAIL.unpack(tail)[1:3]
        return bool(number < self.number and begins_at == start)
