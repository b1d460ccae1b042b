"""A session as bytes, as the durable stores keep it.

A record is a head of fixed layout, the model's name and version, the source of its readings, the states, the output of
the step applied last, and where the chunk applied last had more steps than one, the outputs of all of them. Numbers are
little-endian and states are in the manifest's order, so that a batch of records is one array (``record_rows.py``) and
is written without a look at each. What is
checked, and which layouts there are, is in ``schemas.py``.
"""

from __future__ import annotations

import logging
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.errors import OstinatoError, RecordUnreadable, SessionClosed, SessionExpired, UnknownSession
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Facts, Snapshot
from ostinato.service.state.commit import Commit
from ostinato.service.state.endings import session_error
from ostinato.service.state.layouts import ELSEWHERE, is_same_layout, layout_checksum
from ostinato.service.state.reaches import NO_OFFSET, NOWHERE, Reach, room_of
from ostinato.service.state.record_rows import CLOSED, LIVE, RecordRows, items
from ostinato.service.state.schemas import (
    CHECKSUM_BYTES,
    FROZEN,
    SCHEMA,
    SCHEMA_AT,
    SCHEMAS,
    Schema,
    checksum,
    session_checksum,
)

HEAD_BYTES = max(schema.body_at(2 * 128 + 64) for schema in SCHEMAS.values())
"""Hardly a head, with its names, source and checksum, is longer."""

logger = logging.getLogger(__name__)

_CHECKSUM = struct.Struct("<Q")


class Head(NamedTuple):
    """What stands in front of every record, with the model's name and version."""

    stamp: int
    kind: int
    layout: int
    steps: int
    last_seq: int
    digest: int
    opened_at: float
    ttl_seconds: float
    expires_at: float
    num_outputs: int
    body: int
    """Checksum of what follows."""
    schema: Schema
    model: str
    version: str
    reach: Reach
    source_bytes: int

    def facts(self, session_id: str) -> Facts:
        """What the interface shows of it."""
        times = self.opened_at, self.ttl_seconds, self.expires_at
        return Facts(session_id, self.model, self.version, self.steps, *times, self.reach)

    @property
    def is_tombstone(self) -> bool:
        """Whether nothing but a new session can be put in its place."""
        return self.kind == CLOSED or self.num_outputs == 0

    def end(self, session_id: str, now: float, tombstone_seconds: float) -> OstinatoError | None:
        """Why the session is not live; None where it is."""
        if not self.is_tombstone and now < self.expires_at:
            return None
        ended = SessionExpired if self.kind == LIVE else SessionClosed
        return session_error(session_id, UnknownSession if now >= self.expires_at + tombstone_seconds else ended)


def read_head(session_id: str, record: bytes | memoryview) -> Head:
    """The head of a record, of which at least ``head_of`` is given.

    Raises:
        RecordUnreadable: it is of another schema, or damaged, or of another session.
    """
    if not record:
        raise _damaged(session_id, "its newest state was lost with a part of the journal, as the log tells")
    if len(record) < FROZEN.itemsize:
        raise _damaged(session_id, f"it has {len(record)} bytes and no head")
    schema = SCHEMAS.get(record[SCHEMA_AT])
    if schema is None:
        raise RecordUnreadable(
            f"session {session_id!r}: its record is of schema {record[SCHEMA_AT]}, and this release reads "
            f"{' and '.join(map(str, SCHEMAS))}; another release wrote it and can serve it, or it is damaged"
        )
    if len(record) < schema.head.itemsize:
        raise _damaged(session_id, f"it has {len(record)} bytes")
    # All at once: a look at each field costs as much as this one at all of them.
    row = dict(zip(schema.head.names or (), np.frombuffer(record, schema.head, 1).item(), strict=True))
    names_end = schema.head.itemsize + schema.names_bytes(record)
    if row["kind"] not in (LIVE, CLOSED) or len(record) < names_end + CHECKSUM_BYTES:
        raise _damaged(session_id, "its head says what none says")
    if checksum(record[:names_end]) != _CHECKSUM.unpack_from(record, names_end)[0]:
        raise _damaged(session_id, "the checksum of its head is wrong")
    if row["session"] != session_checksum(session_id):
        raise _damaged(session_id, "it is another session's")
    model_bytes, version_bytes = row["model_bytes"], row["version_bytes"]
    names = bytes(record[schema.head.itemsize : names_end])
    model, version = names[:model_bytes], names[model_bytes : model_bytes + version_bytes]
    reach, source = NOWHERE, names[model_bytes + version_bytes :]
    if schema.has_offsets and row["offset"] != NO_OFFSET:
        text = source.rstrip(b"\0").decode(errors="replace")
        reach = Reach(text, row["offset"], row["offset_steps"])
    return Head(
        **{name: row[name] for name in _FACTS},
        body=row["body"],
        schema=schema,
        model=model.decode(errors="replace"),
        version=version.decode(errors="replace"),
        reach=reach,
        source_bytes=len(source),
    )


_FACTS = [name for name in Head._fields if name in (FROZEN.names or ()) and name != "schema"]


def is_cut(record: bytes) -> bool:
    """Whether the first ``HEAD_BYTES`` of a record do not hold all of its head."""
    schema = SCHEMAS.get(record[SCHEMA_AT]) if len(record) == HEAD_BYTES else None
    return schema is not None and schema.body_at(schema.names_bytes(record)) > HEAD_BYTES


def is_sound(session_id: str, record: bytes | memoryview) -> bool:
    """Whether a record is, by its own checksums, what was written for the session."""
    try:
        head = read_head(session_id, record)
        check_body(session_id, head, record)
    except RecordUnreadable:
        return False
    return True


def check_body(session_id: str, head: Head, record: bytes | memoryview) -> None:
    """Look whether what follows a head is what was written.

    Raises:
        RecordUnreadable: it is not.
    """
    if checksum(record[head.schema.body_at(head.schema.names_bytes(record)) :]) != head.body:
        raise _damaged(session_id, "its checksum is wrong")


def tombstone(
    session_id: str, head: Head | None, stamp: int, closed_at: float | None, schema: Schema = SCHEMAS[SCHEMA]
) -> bytes:
    """The record of a session that was closed; ``closed_at`` None = that has expired, ``head`` None = unreadable."""
    model, version = (head.model.encode(), head.version.encode()) if head is not None else (b"", b"")
    row = np.zeros(1, schema.head)
    row["stamp"], row["schema"], row["kind"] = stamp, schema.number, LIVE
    if head is not None:
        for name in ("layout", "steps", "last_seq", "digest", "opened_at", "ttl_seconds", "expires_at"):
            row[name] = getattr(head, name)
    if closed_at is not None:
        row["kind"], row["expires_at"] = CLOSED, closed_at
    row["model_bytes"], row["version_bytes"] = len(model), len(version)
    if schema.has_offsets:
        row["offset"] = NO_OFFSET
    row["session"], row["body"] = session_checksum(session_id), checksum(b"")
    made = row.tobytes() + model + version
    return made + _CHECKSUM.pack(checksum(made))


def _damaged(session_id: str, why: str) -> RecordUnreadable:
    return RecordUnreadable(
        f"session {session_id!r}: its record is damaged: {why}; close the session, and open it again from a state that "
        "was exported"
    )


class Layout:
    """The records of one model version, and the way between them and its arena.

    A record with an offset is of the newest schema whatever it was told: only who writes that has put one there.

    Args:
        schema: of the records that are made.
    """

    def __init__(self, arena: Arena, schema: Schema = SCHEMAS[SCHEMA]) -> None:
        self._arena = arena
        self._schema = schema
        self._checksum = layout_checksum(arena.manifest, arena.made_on)
        self._has_warned = False
        self._forms: dict[tuple[int, int], RecordRows] = {}
        # Of each session in the arena, by its slot.
        self._sessions = np.zeros(arena.capacity, np.uint64)

    def keep_id(self, slot: int, session_id: str) -> None:
        """Have the session's records bear its id; to be called when it comes to the arena."""
        self._sessions[slot] = session_checksum(session_id)

    @property
    def num_bytes(self) -> int:
        """Of a record without a source, and without what follows the last output."""
        return self._form(self._schema, 0).dtype.itemsize

    def fill_rows(self, commit: Commit, stamps: Slots | int, now: float) -> NDArray[Any]:
        """The records ``[R]`` of what is committed at ``now``, without long answers; valid until the next call."""
        arena, slots = self._arena, commit.slots
        reaches = commit.reaches
        if reaches is None and arena.has_offsets:
            reaches = arena.reaches(slots)
        if reaches is not None and (reaches.offsets == NO_OFFSET).all():
            reaches = None
        room, sources = (0, b"") if reaches is None else reaches.encoded()
        form = self._form(self._schema if reaches is None else SCHEMAS[SCHEMA], room)
        rows = form.many(len(slots))
        rows["stamp"] = stamps
        rows["steps"] = commit.steps_after
        rows["last_seq"] = commit.steps_before
        rows["digest"] = commit.digests
        rows["opened_at"] = arena.opened_at[slots]
        ttl_seconds = arena.ttl_seconds[slots]
        rows["ttl_seconds"] = ttl_seconds
        rows["expires_at"] = now + ttl_seconds
        for name, states in zip(form.states, commit.states, strict=True):
            rows[name] = items(states)
        rows["output"] = items(commit.outputs)
        rows["session"] = self._sessions[slots]
        if reaches is not None:
            rows["offset"], rows["offset_steps"] = reaches.offsets, reaches.steps
            rows["source"] = sources
        elif "offset" in (rows.dtype.names or ()):
            rows["offset"], rows["offset_steps"] = NO_OFFSET, 0
        form.check(rows)
        return rows

    def records(self, commit: Commit, rows: NDArray[Any]) -> list[bytes]:
        """``rows`` as records of their own, with the long answers."""
        flat = rows.tobytes()
        size = rows.dtype.itemsize
        made = [flat[start : start + size] for start in range(0, len(flat), size)]
        for row, answer in commit.long_answers.items():
            made[row] = self._with_answer(rows[row : row + 1].copy(), answer)
        return made

    def record(
        self,
        session_id: str,
        snapshot: Snapshot,
        *,
        stamp: int,
        opened_at: float,
        ttl_seconds: float,
        expires_at: float,
    ) -> bytes:
        """The record of one session."""
        reach = snapshot.reach
        has_offset = reach.offset != NO_OFFSET
        form = self._form(SCHEMAS[SCHEMA] if has_offset else self._schema, room_of(reach.source))
        row = form.one()
        row["stamp"], row["steps"] = stamp, snapshot.steps
        row["last_seq"], row["digest"] = snapshot.last_seq, snapshot.digest
        row["opened_at"], row["ttl_seconds"], row["expires_at"] = opened_at, ttl_seconds, expires_at
        for name, state in zip(form.states, snapshot.states, strict=True):
            row[name] = items(state[None])
        row["output"] = items(snapshot.answer[-1:])
        row["session"] = session_checksum(session_id)
        if "offset" in (row.dtype.names or ()):
            row["source"], row["offset"], row["offset_steps"] = reach.source.encode(), reach.offset, reach.steps
        return self._with_answer(row, snapshot.answer)

    def is_of(self, session_id: str, head: Head, snapshot: Snapshot) -> bool:
        """Whether the record with this head holds this very snapshot; the states stand alike in every schema."""
        known = snapshot.steps, snapshot.last_seq, snapshot.digest, snapshot.reach
        if (head.steps, head.last_seq, head.digest, head.reach) != known:
            return False
        mine = self.record(session_id, snapshot, stamp=0, opened_at=0, ttl_seconds=0, expires_at=0)
        return head.body == read_head(session_id, mine).body

    def read(self, session_id: str, head: Head, record: bytes | memoryview) -> Snapshot:
        """What a record of this model version holds.

        Raises:
            RecordUnreadable: the version's states are not what they were when it was written, or it is damaged.
        """
        check_body(session_id, head, record)
        if not is_same_layout(head.layout, self._checksum):
            raise RecordUnreadable(
                f"session {session_id!r}: {head.model}/{head.version} has another graph or other states than when it "
                "was stored; put the former version back, and add the new one under another number"
            )
        if head.layout != self._checksum and not self._has_warned:
            self._has_warned = True
            logger.warning(ELSEWHERE, head.model, head.version)
        arena = self._arena
        output = arena.last_output
        answer_bytes = head.num_outputs * output[0].nbytes if head.num_outputs > 1 else 0
        form = self._form(head.schema, head.source_bytes)
        if len(record) != form.dtype.itemsize + answer_bytes:
            raise _damaged(session_id, f"it has {len(record)} bytes")
        row = np.frombuffer(record, form.dtype, 1)
        states = [
            np.frombuffer(row[name].tobytes(), rows.dtype).reshape(rows.shape[1:])
            for name, rows in zip(form.states, arena.states, strict=True)
        ]
        answer = row["output"].tobytes() if not answer_bytes else bytes(record[form.dtype.itemsize :])
        outputs = np.frombuffer(answer, output.dtype).reshape(-1, output.shape[1])
        return Snapshot(states, head.steps, outputs, head.last_seq, head.digest, head.reach)

    def _with_answer(self, row: NDArray[Any], answer: NDArray[Any]) -> bytes:
        """A record of its own, with the outputs of a chunk of more than one step behind it."""
        outputs = b""
        if len(answer) > 1:
            row["num_outputs"] = len(answer)
            outputs = np.ascontiguousarray(answer).tobytes()
        assert row.dtype.fields is not None
        check_at = row.dtype.fields["check"][1]
        row["body"] = checksum(row.tobytes()[check_at + CHECKSUM_BYTES :] + outputs)
        row["check"] = checksum(row.tobytes()[:check_at])
        return row.tobytes() + outputs

    def _form(self, schema: Schema, source_bytes: int) -> RecordRows:
        form = self._forms.get((schema.number, source_bytes))
        if form is None:
            form = RecordRows(self._arena, schema, self._checksum, source_bytes)
            self._forms[schema.number, source_bytes] = form
        return form
