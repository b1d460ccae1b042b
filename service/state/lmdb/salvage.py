"""Salvage: what can still be read behind a place in a segment at which no sound entry is.

Where nothing can, the place is the segment's end: behind it is at most an entry that was not finished, or what the file
held for a former segment. Where something can, what is at the place was damaged, or did not reach the disk before a
power cut, and of the latter nothing is promised but what was synced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ostinato.service.state.lmdb.entries import (
    BEGUN,
    BOOT,
    HEAD,
    HEAD_MAGIC,
    RECORDS,
    SIZE_BITS,
    SIZE_MASK,
    TAIL,
    TAIL_MAGIC,
    Entry,
    Synced,
    Tail,
    parse_by_head,
    parse_ids,
    parse_tail,
    places_of,
)
from ostinato.service.state.lmdb.segment import Segment
from ostinato.service.state.records import is_sound


class Salvaged(NamedTuple):
    """An entry behind a place at which no sound one is.

    Attributes:
        start, end: where it is.
        entry: with places of size 0 for records that are damaged.
        damaged_ids: of those sessions.
        is_proof: it shows that what is before it was in the file once, so that it was damaged since.
    """

    start: int
    end: int
    entry: Entry
    damaged_ids: list[str]
    is_proof: bool


def salvage(segment: Segment) -> Salvaged | None:
    """The first entry from the segment's end on that can be read at least in part; None = there is none."""
    content = segment.content
    tails = {
        tail.start: tail
        for at in _found(content, TAIL_MAGIC, segment.end)
        if (tail := parse_tail(segment.number, content, at))
    }
    heads = set(_found(content, HEAD_MAGIC, segment.end))
    # Any later entry may tell what was on the disk, and whether the machine has run all the while.
    place = Synced(segment.number, segment.end)
    is_proof = any(_shows(tail, place) for tail in tails.values())
    for start in sorted(heads | {start for start in tails if start >= segment.end}):
        sound = segment.entry_at(start)
        if sound is not None:
            return Salvaged(start, sound[1], sound[0], [], is_proof)
        tail = tails.get(start)
        # One whose tail was damaged after all of it was written.
        by_head = parse_by_head(segment.number, content, start) if tail is None else None
        told = tail or by_head
        if told is not None:
            entry, damaged_ids = _entry(content, told)
            return Salvaged(start, told.end, entry, damaged_ids, is_proof or by_head is not None)
    return None


def lost_before(segment: Segment, following: Segment) -> int | None:
    """Where a segment ended by the word of the one that follows, if that is behind the end that can be read."""
    found = following.entry_at(following.end)
    if found is None or found[0].kind != BEGUN or found[0].number <= segment.end:
        return None
    tail = parse_tail(following.number, following.content, found[1] - TAIL.size)
    if tail is None or not _shows(tail, Synced(segment.number, segment.end)):
        return None  # a power cut took the end of one file and not the other
    return found[0].number


def _shows(tail: Tail, place: Synced) -> bool:
    """Whether what stood behind ``place`` when a tail was written can only have gone by damage."""
    return bool(BOOT and tail.boot == BOOT) or tail.synced > place


def _found(content: bytes, magic: bytes, start: int) -> Iterator[int]:
    at = content.find(magic, start)
    while at >= 0:
        yield at
        at = content.find(magic, at + 1)


def _entry(content: bytes, tail: Tail) -> tuple[Entry, list[str]]:
    """A damaged entry, each record looked at by itself, and the ids of those that are damaged."""
    if tail.kind != RECORDS:
        number = int.from_bytes(tail.ids, "little") if tail.kind == BEGUN else tail.number
        return Entry(tail.kind, [], [], number), []
    session_ids, lengths = parse_ids(tail.ids, tail.number)
    places, damaged_ids = [], []
    begins_at = tail.start + HEAD.size + len(tail.ids)
    for session_id, place in zip(session_ids, places_of(begins_at, lengths), strict=True):
        at, size = place >> SIZE_BITS, place & SIZE_MASK
        if is_sound(session_id, content[at : at + size]):
            places.append(place)
        else:
            damaged_ids.append(session_id)
            places.append(at << SIZE_BITS)
    return Entry(RECORDS, session_ids, places, tail.number), damaged_ids
