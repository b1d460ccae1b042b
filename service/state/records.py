"""A session as bytes, as the durable stores keep it.

A record is a head of fixed layout, the model's name and version, the states, the output of the step applied last, and
where the chunk applied last had more steps than one, the outputs of all of them. Numbers are little-endian and states
stand in the manifest's order, so that a batch of records is one array and is written without a look at each.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import OstinatoError, RecordUnreadable, SessionClosed, SessionExpired, UnknownSession
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Commit, Facts, Snapshot
from ostinato.service.state.endings import session_error

SCHEMA = 1
"""The layout below. A release that changes it counts on, and says which ones it still reads."""

LIVE, CLOSED = 1, 2

HEAD = np.dtype(
    [
        ("stamp", "<i8"),  # first, where a store can compare it without a look at the rest
        ("schema", "u1"),
        ("kind", "u1"),
        ("model_bytes", "<u2"),
        ("version_bytes", "<u2"),
        ("layout", "<u4"),  # checksum of the graph, and of the names, dtypes and shapes of all that follows
        ("steps", "<i8"),
        ("last_seq", "<i8"),
        ("digest", "<i8"),
        ("opened_at", "<f8"),
        ("ttl_seconds", "<f8"),
        ("expires_at", "<f8"),  # of a session that was closed: when that was
        ("num_outputs", "<u4"),
    ]
)


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
        if now >= self.expires_at + tombstone_seconds:
            return session_error(session_id, UnknownSession)
        return session_error(session_id, SessionExpired if self.kind == LIVE else SessionClosed)


def read_head(session_id: str, record: bytes | memoryview) -> Head:
    """The head of a record, at least ``len(HEAD)`` and both names of it.

    Raises:
        RecordUnreadable: it is of another schema, or damaged.
    """
    if len(record) < HEAD.itemsize:
        raise RecordUnreadable(f"session {session_id!r}: its record has {len(record)} bytes and no head; it is damaged")
    stamp, schema, kind, model_bytes, version_bytes, *facts = np.frombuffer(record, HEAD, 1)[0].item()
    if schema != SCHEMA:
        raise RecordUnreadable(
            f"session {session_id!r}: its record is of schema {schema}, and this release reads schema {SCHEMA}; serve "
            "it with the release that wrote it"
        )
    names = bytes(record[HEAD.itemsize : HEAD.itemsize + model_bytes + version_bytes])
    if kind not in (LIVE, CLOSED) or len(names) < model_bytes + version_bytes:
        raise RecordUnreadable(f"session {session_id!r}: its record is damaged")
    model, version = names[:model_bytes].decode(errors="replace"), names[model_bytes:].decode(errors="replace")
    return Head._make((stamp, kind, *facts, model, version))


def tombstone(head: Head, stamp: int, closed_at: float | None) -> bytes:
    """The record of a session that was closed; or where ``closed_at`` is None, of one that has expired."""
    ended_at = head.expires_at if closed_at is None else closed_at
    kind = LIVE if closed_at is None else CLOSED
    model, version = head.model.encode(), head.version.encode()
    record = np.zeros(1, HEAD)
    ending = {"stamp": stamp, "kind": kind, "num_outputs": 0, "expires_at": ended_at}
    for name, value in {**head._asdict(), **ending}.items():
        if name in record.dtype.fields:  # type: ignore[operator]  # a record has some
            record[name] = value
    record["schema"], record["model_bytes"], record["version_bytes"] = SCHEMA, len(model), len(version)
    return record.tobytes() + model + version


class Layout:
    """The records of one model version, and the way between them and its arena.

    Attributes:
        row: a record without what follows the last output, as a dtype.
    """

    def __init__(self, arena: Arena) -> None:
        manifest = arena.manifest
        self._arena = arena
        model, version = manifest.name.encode(), manifest.version.encode()
        self._states = [f"state {index}" for index in range(len(arena.states))]
        fields: list[tuple[str, Any]] = [(name, HEAD.fields[name][0]) for name in HEAD.names or ()]  # type: ignore[index]
        fields.append(("names", f"V{len(model) + len(version)}"))
        fields += [(name, _void(rows)) for name, rows in zip(self._states, arena.states, strict=True)]
        fields.append(("output", _void(arena.last_output)))
        self.row = np.dtype(fields)
        self._checksum = zlib.crc32(_description(manifest).encode())
        self._template = np.zeros(1, self.row)
        self._template["schema"], self._template["kind"] = SCHEMA, LIVE
        self._template["model_bytes"], self._template["version_bytes"] = len(model), len(version)
        self._template["layout"], self._template["num_outputs"] = self._checksum, 1
        self._template["names"] = np.frombuffer(model + version, self.row["names"])
        # Kept, since what is the same in every record is written once.
        self._rows = self._template[:0]

    def fill_rows(self, commit: Commit, stamps: Slots | int, now: float) -> NDArray[Any]:
        """The records ``[R]`` of what is committed at ``now``, without long answers; valid until the next call."""
        arena, slots = self._arena, commit.slots
        if len(self._rows) < len(slots):
            self._rows = np.repeat(self._template, len(slots))
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
        return rows

    def records(self, commit: Commit, rows: NDArray[Any]) -> list[bytes]:
        """``rows`` as records of their own, with the long answers."""
        flat = rows.tobytes()
        size = self.row.itemsize
        made = [flat[start : start + size] for start in range(0, len(flat), size)]
        for row, answer in commit.long_answers.items():
            made[row] = self._with_answer(rows[row : row + 1], answer)
        return made

    def record(
        self, snapshot: Snapshot, *, stamp: int, opened_at: float, ttl_seconds: float, expires_at: float
    ) -> bytes:
        """The record of one session."""
        row = self._template.copy()
        row["stamp"], row["steps"] = stamp, snapshot.steps
        row["last_seq"], row["digest"] = snapshot.last_seq, snapshot.digest
        row["opened_at"], row["ttl_seconds"], row["expires_at"] = opened_at, ttl_seconds, expires_at
        for name, state in zip(self._states, snapshot.states, strict=True):
            row[name] = _items(state[None])
        row["output"] = _items(snapshot.answer[-1:])
        return self._with_answer(row, snapshot.answer)

    def read(self, session_id: str, head: Head, record: bytes | memoryview) -> Snapshot:
        """What a record of this model version holds.

        Raises:
            RecordUnreadable: the version's states are not what they were when it was written, or it is damaged.
        """
        if head.layout != self._checksum:
            raise RecordUnreadable(
                f"session {session_id!r}: {head.model}/{head.version} has another graph or other states than when it "
                "was stored; put the former version back, and add the new one under another number"
            )
        arena = self._arena
        output = arena.last_output
        answer_bytes = head.num_outputs * output[0].nbytes if head.num_outputs > 1 else 0
        if len(record) != self.row.itemsize + answer_bytes:
            raise RecordUnreadable(f"session {session_id!r}: its record has {len(record)} bytes; it is damaged")
        row = np.frombuffer(record, self.row, 1)
        states = [
            np.frombuffer(row[name].tobytes(), rows.dtype).reshape(rows.shape[1:])
            for name, rows in zip(self._states, arena.states, strict=True)
        ]
        answer = row["output"].tobytes() if not answer_bytes else bytes(record[self.row.itemsize :])
        outputs = np.frombuffer(answer, output.dtype).reshape(-1, output.shape[1])
        return Snapshot(states, head.steps, outputs, head.last_seq, head.digest)

    def _with_answer(self, row: NDArray[Any], answer: NDArray[Any]) -> bytes:
        if len(answer) == 1:
            return row.tobytes()
        row = row.copy()
        row["num_outputs"] = len(answer)
        return row.tobytes() + np.ascontiguousarray(answer).tobytes()


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
    output = manifest.outputs[0]
    parts = [f"{role} {graph.sha256}" for role, graph in sorted(manifest.graphs.items())]
    parts += [f"{state.name} {state.dtype} {list(state.row_shape)}" for state in manifest.states]
    return "; ".join([*parts, f"{output.name} {output.dtype} {output.num_features}"])
