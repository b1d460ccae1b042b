"""Entries of the journal as bytes.

    head      magic, kind, number, bytes of the ids, bytes of all that follows them, checksum of the whole entry
    ids       the length of each record, and the sessions' ids
    records   one behind another
    ids       the same again
    tail      magic, and in other words all that the head says; checksum of the tail and the ids

Checksums cover the segment's number and the entry's place, so what a file held before is no entry. Ids and sizes stand
there twice for the case of damage: whichever half is damaged, the other tells whose records they are, and each of those
has a checksum of its own. Releases before this one wrote no tail, and read an entry with one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

HEAD = struct.Struct("<4sBIIQQ")
"""Magic, kind, number of records (of a mark: of a segment), bytes of the ids, bytes behind them, checksum."""
HEAD_MAGIC = b"ostj"
TAIL = struct.Struct("<4sQQBIIQQQQQ")
"""Magic, segment, where the entry begins, kind, number, bytes of the ids, of the records, boot, synced segment, synced
end, checksum.
"""
TAIL_MAGIC = b"ostt"
_PLACE = struct.Struct("<QQBI")
_NUMBER = struct.Struct("<Q")

RECORDS, OVER, STORED, BEGUN = 1, 2, 3, 4
"""Records of sessions; marks: the segment ends, all of an earlier one is in the database, where the former ended."""

SIZE_BITS = 32
SIZE_MASK = (1 << SIZE_BITS) - 1


class Synced(NamedTuple):
    """All before this place is on the disk."""

    segment: int = 0
    end: int = 0


NOTHING_SYNCED = Synced()


class Entry(NamedTuple):
    """One entry of a segment: ``places`` are offset << 32 | size of each record in the file.

    ``number`` is that of the segment that a mark is about; of a mark that a segment has begun, where the former ended.
    """

    kind: int
    session_ids: list[str]
    places: list[int]
    number: int


class Tail(NamedTuple):
    """What the end of an entry tells of it; ``boot`` and ``synced`` are as they were when it was written."""

    start: int
    kind: int
    number: int
    ids: bytes
    records_bytes: int
    boot: int
    synced: Synced

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.start + HEAD.size + 2 * len(self.ids) + self.records_bytes + TAIL.size


def ids_of(session_ids: Sequence[str], lengths: NDArray[np.uint32]) -> bytes:
    """Ids and the lengths of their records; ``parse_ids`` undoes it."""
    return lengths.tobytes() + "\n".join(session_ids).encode()


def parse_ids(ids: bytes | memoryview, number: int) -> tuple[list[str], NDArray[np.uint32]]:
    """``number`` ids, and the lengths of their records."""
    lengths = np.frombuffer(ids, "<u4", number)
    return bytes(ids[lengths.nbytes :]).decode().split("\n"), lengths


def pack_entry(segment: int, start: int, kind: int, number: int, ids: bytes, records: Any, synced: Synced) -> list[Any]:
    """The parts of an entry that stands at ``start``, to be written one behind another."""
    records_bytes = memoryview(records).nbytes
    fields = TAIL_MAGIC, segment, start, kind, number, len(ids), records_bytes, BOOT, *synced
    tail = TAIL.pack(*fields, _tail_checksum(fields, ids))
    behind_bytes = records_bytes + len(ids) + TAIL.size
    whole = xxhash.xxh3_64(_PLACE.pack(segment, start, kind, number))
    for part in (ids, records, ids, tail):
        whole.update(part)
    head = HEAD.pack(HEAD_MAGIC, kind, number, len(ids), behind_bytes, whole.intdigest())
    return [head + ids, records, ids + tail]


def parse_entry(segment: int, start: int, head: bytes, body: memoryview) -> Entry | None:
    """A sound entry; None where it is none. ``body`` is all behind the head."""
    _, kind, number, ids_bytes, _, checksum = HEAD.unpack(head)
    whole = xxhash.xxh3_64(_PLACE.pack(segment, start, kind, number))
    whole.update(body)
    if whole.intdigest() != checksum:
        return None
    if kind == RECORDS:
        session_ids, lengths = parse_ids(body[:ids_bytes], number)
        return Entry(kind, session_ids, places_of(start + HEAD.size + ids_bytes, lengths), number)
    return Entry(kind, [], [], _NUMBER.unpack_from(body)[0] if kind == BEGUN else number)


def parse_tail(segment: int, content: bytes, at: int) -> Tail | None:
    """The tail that stands at ``at`` in a segment's ``content``; None where no sound one does."""
    if at + TAIL.size > len(content):
        return None
    *fields, checksum = TAIL.unpack_from(content, at)
    magic, of_segment, start, kind, number, ids_bytes, records_bytes, boot, synced_segment, synced_end = fields
    ids = content[max(0, at - ids_bytes) : at]
    if magic != TAIL_MAGIC or of_segment != segment or _tail_checksum(tuple(fields), ids) != checksum:
        return None
    tail = Tail(start, kind, number, ids, records_bytes, boot, Synced(synced_segment, synced_end))
    return tail if tail.end == at + TAIL.size else None


def parse_by_head(segment: int, content: bytes, start: int) -> Tail | None:
    """What the tail of the entry at ``start`` would say, had it not been damaged, by the entry's head.

    None where no head is there, or what is behind it is not of this very entry.
    """
    if start + HEAD.size > len(content):
        return None
    magic, kind, number, ids_bytes, behind_bytes, _ = HEAD.unpack_from(content, start)
    begins_at = start + HEAD.size
    tail_at = begins_at + ids_bytes + behind_bytes - TAIL.size
    if magic != HEAD_MAGIC or behind_bytes < ids_bytes + TAIL.size or tail_at + TAIL.size > len(content):
        return None
    ids = content[begins_at : begins_at + ids_bytes]
    *said, boot, synced_segment, synced_end, checksum = TAIL.unpack_from(content, tail_at)
    records_bytes = behind_bytes - ids_bytes - TAIL.size
    expected = [TAIL_MAGIC, segment, start, kind, number, ids_bytes, records_bytes]
    fields = (*expected, boot, synced_segment, synced_end)
    is_repeated = said == expected and ids == content[tail_at - ids_bytes : tail_at]
    if not is_repeated and _tail_checksum(fields, ids) != checksum:
        return None
    return Tail(start, kind, number, ids, records_bytes, 0, NOTHING_SYNCED)


def places_of(start: int, lengths: NDArray[Any]) -> list[int]:
    """Offset << 32 | size of records of these lengths that stand one behind another from ``start`` on."""
    sizes = lengths.astype(np.int64)
    places: list[int] = ((start + np.cumsum(sizes) - sizes) << SIZE_BITS | sizes).tolist()
    return places


def _tail_checksum(fields: tuple[Any, ...], ids: bytes) -> int:
    whole = xxhash.xxh3_64(TAIL.pack(*fields, 0))
    whole.update(ids)
    return whole.intdigest()


def _read_boot() -> int:
    """A number that is another after the machine was started again; 0 = it is not known."""
    try:
        return xxhash.xxh3_64_intdigest(Path("/proc/sys/kernel/random/boot_id").read_bytes()) or 1
    except OSError:
        return 0


BOOT = _read_boot()
"""Of this run of the machine: what was written in it is in the files, as the kernel has them, unless it was damaged. Of
what was written before, and not synced, a power cut may have taken anything.
"""
