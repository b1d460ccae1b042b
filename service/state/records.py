"""A session as bytes, as the durable stores keep it.

A record is a head of fixed layout, the model's name and version, the states, the output of the step applied last, and
where the chunk applied last had more steps than one, the outputs of all of them. Numbers are little-endian and states
stand in the manifest's order, so that a batch of records is one array and is written without a look at each. What is
checked, and which layouts there are, is in ``schemas.py``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import OstinatoError, RecordUnreadable, SessionClosed, SessionExpired, UnknownSession
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Commit, Facts, Snapshot
from ostinato.service.state.endings import session_error
from ostinato.service.state.schemas import (
    FROZEN,
    SCHEMA,
    SCHEMA_AT,
    SCHEMAS,
    Schema,
    checksum,
    session_checksum,
)

LIVE, CLOSED = 1, 2

HEAD_BYTES = max(schema.body_at(2 * 128) for schema in SCHEMAS.values())
"""No head, with its names and checksum, is longer."""

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
    body: int | None
    """Checksum of what follows; None in a schema that has none."""
    schema: Schema
    model: str
    version: str

    def facts(self, session_id: str) -> Facts:
        """What the interface shows of it."""
        times = self.opened_at, self.ttl_seconds, self.expires_at
        return Facts(session_id, self.model, self.version, self.steps, *times)

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
    row = np.frombuffer(record, schema.head, 1)[0]
    model_bytes = int(row["model_bytes"])
    names_end = schema.head.itemsize + model_bytes + int(row["version_bytes"])
    names = bytes(record[schema.head.itemsize : names_end])
    if row["kind"] not in (LIVE, CLOSED) or len(record) < names_end + schema.check_bytes:
        raise _damaged(session_id, "its head says what none says")
    if schema.has_checksums:
        if checksum(record[:names_end]) != _CHECKSUM.unpack_from(record, names_end)[0]:
            raise _damaged(session_id, "the checksum of its head is wrong")
        if row["session"] != session_checksum(session_id):
            raise _damaged(session_id, "it is another session's")
    body = int(row["body"]) if schema.has_checksums else None
    facts = {name: row[name].item() for name in _FACTS}
    model, version = names[:model_bytes].decode(errors="replace"), names[model_bytes:].decode(errors="replace")
    return Head(**facts, body=body, schema=schema, model=model, version=version)


_FACTS = [name for name in Head._fields if name in (FROZEN.names or ()) and name != "schema"]


def is_sound(session_id: str, record: bytes | memoryview) -> bool:
    """Whether a record is, by its own checksums, what was written for the session."""
    try:
        head = read_head(session_id, record)
        check_body(session_id, head, record)
    except RecordUnreadable:
        return False
    return head.body is not None


def check_body(session_id: str, head: Head, record: bytes | memoryview) -> None:
    """Look whether what follows a head is what was written.

    Raises:
        RecordUnreadable: it is not.
    """
    begins_at = head.schema.body_at(len(head.model.encode()) + len(head.version.encode()))
    if head.body is not None and checksum(record[begins_at:]) != head.body:
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
    if schema.has_checksums:
        row["session"], row["body"] = session_checksum(session_id), checksum(b"")
    made = row.tobytes() + model + version
    return made + _CHECKSUM.pack(checksum(made)) if schema.has_checksums else made


def _damaged(session_id: str, why: str) -> RecordUnreadable:
    return RecordUnreadable(
        f"session {session_id!r}: its record is damaged: {why}; close the session, and open it again from a state that "
        "was exported"
    )


class Layout:
    """The records of one model version, and the way between them and its arena.

    Args:
        schema: of the records that are made.

    Attributes:
        row: a record without what follows the last output, as a dtype.
    """

    def __init__(self, arena: Arena, schema: Schema = SCHEMAS[SCHEMA]) -> None:
        manifest = arena.manifest
        self._arena = arena
        self._schema = schema
        self._model, self._version = manifest.name.encode(), manifest.version.encode()
        self._states = [f"state {index}" for index in range(len(arena.states))]
        self.row = self._row_of(schema)
        self._head_bytes = schema.head.itemsize + len(self._model) + len(self._version)
        self._body_at = self._head_bytes + schema.check_bytes
        self._checksum = zlib.crc32(_description(manifest).encode())
        self._template = np.zeros(1, self.row)
        self._template["schema"], self._template["kind"] = schema.number, LIVE
        self._template["model_bytes"], self._template["version_bytes"] = len(self._model), len(self._version)
        self._template["layout"], self._template["num_outputs"] = self._checksum, 1
        self._template["names"] = np.frombuffer(self._model + self._version, self.row["names"])
        # Of each session in the arena, by its slot.
        self._sessions = np.zeros(arena.capacity, np.uint64)
        # Kept, since what is the same in every record is written once; and so are the views of what is checked.
        self._rows = self._template[:0]
        self._heads: list[memoryview] = []
        self._bodies: list[memoryview] = []

    def keep_id(self, slot: int, session_id: str) -> None:
        """Have the session's records bear its id; to be called when it comes to the arena."""
        self._sessions[slot] = session_checksum(session_id)

    def fill_rows(self, commit: Commit, stamps: Slots | int, now: float) -> NDArray[Any]:
        """The records ``[R]`` of what is committed at ``now``, without long answers; valid until the next call."""
        arena, slots = self._arena, commit.slots
        if len(self._rows) < len(slots):
            self._make_rows(len(slots))
        rows = self._rows[: len(slots)]
        rows["stamp"] = stamps
        rows["steps"] = commit.steps_after
        rows["last_seq"] = commit.steps_before
        rows["digest"] = commit.digests
        rows["opened_at"] = arena.opened_at[slots]
        ttl_seconds = arena.ttl_seconds[slots]
        rows["ttl_seconds"] = ttl_seconds
        rows["expires_at"] = now + ttl_seconds
        for name, states in zip(self._states, commit.states, strict=True):
            rows[name] = _items(states)
        rows["output"] = _items(commit.outputs)
        if self._schema.has_checksums:
            rows["session"] = self._sessions[slots]
            rows["body"] = _checksums(self._bodies[: len(slots)])
            rows["check"] = _checksums(self._heads[: len(slots)])
        return rows

    def records(self, commit: Commit, rows: NDArray[Any]) -> list[bytes]:
        """``rows`` as records of their own, with the long answers."""
        flat = rows.tobytes()
        size = self.row.itemsize
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
        row = self._template.copy()
        row["stamp"], row["steps"] = stamp, snapshot.steps
        row["last_seq"], row["digest"] = snapshot.last_seq, snapshot.digest
        row["opened_at"], row["ttl_seconds"], row["expires_at"] = opened_at, ttl_seconds, expires_at
        for name, state in zip(self._states, snapshot.states, strict=True):
            row[name] = _items(state[None])
        row["output"] = _items(snapshot.answer[-1:])
        if self._schema.has_checksums:
            row["session"] = session_checksum(session_id)
        return self._with_answer(row, snapshot.answer)

    def read(self, session_id: str, head: Head, record: bytes | memoryview) -> Snapshot:
        """What a record of this model version holds.

        Raises:
            RecordUnreadable: the version's states are not what they were when it was written, or it is damaged.
        """
        check_body(session_id, head, record)
        if head.layout != self._checksum:
            raise RecordUnreadable(
                f"session {session_id!r}: {head.model}/{head.version} has another graph or other states than when it "
                "was stored; put the former version back, and add the new one under another number"
            )
        arena = self._arena
        output = arena.last_output
        answer_bytes = head.num_outputs * output[0].nbytes if head.num_outputs > 1 else 0
        layout = self.row if head.schema is self._schema else self._row_of(head.schema)
        if len(record) != layout.itemsize + answer_bytes:
            raise _damaged(session_id, f"it has {len(record)} bytes")
        row = np.frombuffer(record, layout, 1)
        states = [
            np.frombuffer(row[name].tobytes(), rows.dtype).reshape(rows.shape[1:])
            for name, rows in zip(self._states, arena.states, strict=True)
        ]
        answer = row["output"].tobytes() if not answer_bytes else bytes(record[layout.itemsize :])
        outputs = np.frombuffer(answer, output.dtype).reshape(-1, output.shape[1])
        return Snapshot(states, head.steps, outputs, head.last_seq, head.digest)

    def _with_answer(self, row: NDArray[Any], answer: NDArray[Any]) -> bytes:
        """A record of its own, with the outputs of a chunk of more than one step behind it."""
        outputs = b""
        if len(answer) > 1:
            row["num_outputs"] = len(answer)
            outputs = np.ascontiguousarray(answer).tobytes()
        if self._schema.has_checksums:
            row["body"] = checksum(row.tobytes()[self._body_at :] + outputs)
            row["check"] = checksum(row.tobytes()[: self._head_bytes])
        return row.tobytes() + outputs

    def _row_of(self, schema: Schema) -> np.dtype[np.void]:
        fields: list[tuple[str, Any]] = [(name, schema.head[name]) for name in schema.head.names or ()]
        fields.append(("names", f"V{len(self._model) + len(self._version)}"))
        if schema.has_checksums:
            fields.append(("check", "<u8"))
        fields += [(name, _void(rows)) for name, rows in zip(self._states, self._arena.states, strict=True)]
        return np.dtype([*fields, ("output", _void(self._arena.last_output))])

    def _make_rows(self, num_rows: int) -> None:
        self._rows = np.repeat(self._template, num_rows)
        flat, size = memoryview(self._rows.view(np.uint8)), self.row.itemsize  # type: ignore[arg-type]
        starts = range(0, num_rows * size, size)
        self._heads = [flat[start : start + self._head_bytes] for start in starts]
        self._bodies = [flat[start + self._body_at : start + size] for start in starts]


def _checksums(views: Sequence[memoryview]) -> NDArray[np.uint64]:
    """``checksum`` of each ``[R]``: the bytes of all in one array are a third quicker than numbers."""
    return np.frombuffer(b"".join(map(xxhash.xxh3_64_digest, views)), ">u8")


def _void(rows: NDArray[Any]) -> str:
    """One row as an item of bytes: numpy moves these in a fraction of the time of its numbers."""
    return f"V{rows[0].nbytes}"


def _items(rows: NDArray[Any]) -> NDArray[np.void]:
    contiguous = np.ascontiguousarray(rows)
    return contiguous.reshape(-1).view(f"V{contiguous[0].nbytes}")


def _description(manifest: Manifest) -> str:
    """What the bytes of a record stand for. The graph is part of it: another one would go on from a state that is not
    its own.
    """
    parts = [f"{role} {graph.content}" for role, graph in sorted(manifest.graphs.items())]
    parts += [f"{state.name} {state.dtype} {list(state.row_shape)}" for state in manifest.carried]
    parts += [f"{output.name} {output.dtype} {output.num_features}" for output in manifest.outputs]
    if manifest.framing is not None:  # by which steps are told from those that are left over
        parts += [f"{manifest.framing} {output.name} {output.per_frame}" for output in manifest.outputs]
    return "; ".join(parts)
