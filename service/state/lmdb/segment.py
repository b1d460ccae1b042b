"""A segment: a file of the journal, entries one behind another."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

_FILE_HEAD = struct.Struct("<8sQ")
"""Magic, and the segment's number."""
_FILE_MAGIC = b"ostinatj"
_HEAD = struct.Struct("<4sBIIQQ")
"""Magic, kind, number of records (of a mark: of a segment), bytes of the ids, bytes of the records, checksum."""
_MAGIC = b"ostj"
_PLACE = struct.Struct("<QQBI")
MAX_ENTRY_BYTES = 1 << 30
"""What one call to the system reads whole."""

RECORDS, OVER, STORED = 1, 2, 3
_SIZE_BITS = 32
_SIZE_MASK = (1 << _SIZE_BITS) - 1


class Entry(NamedTuple):
    """One entry of a segment: ``places`` are offset << 32 | size of each record in the file.

    ``number`` is that of the segment that a mark is about.
    """

    kind: int
    session_ids: list[str]
    places: list[int]
    number: int


class Segment:
    """A file of entries.

    Args:
        is_new: the file is made, or one of a former segment's is begun anew; False: it is there.

    Attributes:
        number: its place among the segments.
        end: where the next entry goes, as far as this process knows.
        newest: session id -> where its newest record in this file stands, offset << 32 | size.
        is_over: whether entries go to a later one.

    Raises:
        FileNotFoundError: there is no such segment.
    """

    def __init__(self, path: Path, number: int, *, is_new: bool = False) -> None:
        self.number = number
        self.file = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_new else 0), 0o600)
        self.end = _FILE_HEAD.size
        self.newest: dict[str, int] = {}
        self.is_over = False
        try:
            if is_new:
                os.pwrite(self.file, _FILE_HEAD.pack(_FILE_MAGIC, number), 0)
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
    def is_empty(self) -> bool:
        """Whether it has no entry."""
        return self._read_entry() is None

    def read(self, session_id: str) -> bytes | None:
        """The newest record of a session in this file."""
        place = self.newest.get(session_id)
        if place is None:
            return None
        record = os.pread(self.file, place & _SIZE_MASK, place >> _SIZE_BITS)
        # Asked afterwards: another segment's number is written before its entries.
        return record if self.is_own else None

    def read_on(self) -> Iterator[Entry]:
        """Read the sound entries from ``end`` on, which moves with them."""
        while not self.is_over and (found := self._read_entry()) is not None:
            entry, self.end = found
            self.is_over = entry.kind == OVER
            yield entry

    def append(self, session_ids: Sequence[str], records: Any, sizes: Sequence[int] | int) -> None:
        """Put the records of sessions behind ``end``, or nothing; ``sizes`` is one number where they are alike."""
        num_records = len(session_ids)
        lengths = np.full(num_records, sizes, "<u4") if isinstance(sizes, int) else np.asarray(sizes, "<u4")
        ids = lengths.tobytes() + "\n".join(session_ids).encode()
        start = self.end + _HEAD.size + len(ids)
        self.write(RECORDS, num_records, ids, records)
        places: Iterable[int]
        if isinstance(sizes, int):
            end = start + num_records * sizes
            places = range(start << _SIZE_BITS | sizes, end << _SIZE_BITS | sizes, sizes << _SIZE_BITS)
        else:
            places = _places(start, lengths)
        self.newest.update(zip(session_ids, places, strict=True))

    def write(self, kind: int, number: int, ids: bytes, records: Any) -> None:
        """Put an entry behind ``end``, or nothing."""
        num_bytes = memoryview(records).nbytes
        checksum = self._checksum(kind, number, ids, records)
        parts = [_HEAD.pack(_MAGIC, kind, number, len(ids), num_bytes, checksum), ids, records]
        wanted = _HEAD.size + len(ids) + num_bytes
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

    def _read_entry(self) -> tuple[Entry, int] | None:
        """The entry at ``end``, and its own end; None where no whole, sound one of this segment stands."""
        head = os.pread(self.file, _HEAD.size, self.end)
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            return None
        _, kind, number, ids_bytes, records_bytes, checksum = _HEAD.unpack(head)
        start = self.end + _HEAD.size
        end = start + ids_bytes + records_bytes
        if end > os.fstat(self.file).st_size:
            return None
        body = memoryview(os.pread(self.file, end - start, start))
        ids, records = body[:ids_bytes], body[ids_bytes:]
        if self._checksum(kind, number, ids, records) != checksum:
            return None
        if kind != RECORDS:
            return Entry(kind, [], [], number), end
        lengths = np.frombuffer(ids, "<u4", number)
        session_ids = bytes(ids[lengths.nbytes :]).decode().split("\n")
        return Entry(kind, session_ids, _places(start + ids_bytes, lengths), number), end

    def _checksum(self, kind: int, number: int, ids: bytes | memoryview, records: Any) -> int:
        whole = xxhash.xxh3_64(_PLACE.pack(self.number, self.end, kind, number))
        whole.update(ids)
        whole.update(records)
        return whole.intdigest()


def _places(start: int, lengths: NDArray[Any]) -> list[int]:
    """Offset << 32 | size of records of these lengths that stand one behind another from ``start`` on."""
    sizes = lengths.astype(np.int64)
    places: list[int] = ((start + np.cumsum(sizes) - sizes) << _SIZE_BITS | sizes).tolist()
    return places
