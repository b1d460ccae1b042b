"""Schemas of records: how one begins, and which of them this release reads and writes.

A release reads the schema before its own and writes its own, or the one before where it is told to
(``Settings.record_schema``), as long as replicas of the release before are live. A record of a schema that it does not
know is left as it is, and its session refused, until somebody closes it.

Every schema keeps the fields of ``FROZEN`` where they are, so that each release can tell whose record it is not able to
read, and when that ends.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import xxhash

CHECKSUM_BYTES = 8

_NAMES, _LENGTH = struct.Struct("<HH"), struct.Struct("<H")
_TIME, _CHECKSUM = struct.Struct("<d"), struct.Struct("<Q")

FROZEN = np.dtype(
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


class Schema(NamedTuple):
    """The layout of a record: its head, the model's name and version, the source of its readings where the schema has
    one, a checksum of all these, states and outputs.

    Attributes:
        number: is in each record.
        head: the fields in front, which begin with those of ``FROZEN``; ``session`` and ``body`` are checksums of the
            session's id and of all behind the first checksum.
    """

    number: int
    head: np.dtype[np.void]

    @property
    def has_offsets(self) -> bool:
        """Whether a record says where its session's readings are in their source."""
        return "offset" in (self.head.names or ())

    def names_bytes(self, record: bytes | memoryview) -> int:
        """How long the names and the source of a record are, of which the head is there."""
        named: int = sum(_NAMES.unpack_from(record, NAMES_AT))
        if self.has_offsets and len(record) >= self.head.itemsize:
            assert self.head.fields is not None
            named += _LENGTH.unpack_from(record, self.head.fields["source_bytes"][1])[0]
        return named

    def body_at(self, names_bytes: int) -> int:
        """Where the states begin."""
        return self.head.itemsize + names_bytes + CHECKSUM_BYTES


def _extended(*fields: tuple[str, str]) -> np.dtype[np.void]:
    """A head with these fields behind ``FROZEN``."""
    before: list[Any] = [(name, FROZEN[name]) for name in FROZEN.names or ()]
    return np.dtype([*before, *fields])


_CHECKED = (("session", "<u8"), ("body", "<u8"))
# The last reading's place; the steps that the session had with it; of the source as it is, with zeros behind it.
_OFFSET = (("offset", "<i8"), ("offset_steps", "<i8"), ("source_bytes", "<u2"))

SCHEMAS = {
    2: Schema(2, _extended(*_CHECKED)),
    3: Schema(3, _extended(*_CHECKED, *_OFFSET)),
}
"""What this release reads. One that adds another drops the first."""

SCHEMA = 3
"""What it writes; ``SCHEMA - 1`` where it is told to."""

SCHEMA_AT, KIND_AT, NAMES_AT, EXPIRES_AT = (
    FROZEN.fields[name][1]  # type: ignore[index]  # it has fields
    for name in ("schema", "kind", "model_bytes", "expires_at")
)


def checksum(content: bytes | memoryview) -> int:
    """Of any bytes; two that differ have the same with a probability of 2^-64."""
    return xxhash.xxh3_64_intdigest(content)


def session_checksum(session_id: str) -> int:
    """Of a session's id, which its records bear: one that lies under another's is not read."""
    return xxhash.xxh3_64_intdigest(session_id.encode())


def head_of(record: bytes | memoryview) -> bytes:
    """As much of a record as tells what it is of, and that this is so."""
    if len(record) < FROZEN.itemsize:
        return bytes(record)
    schema = SCHEMAS.get(record[SCHEMA_AT])
    return bytes(record[: FROZEN.itemsize if schema is None else schema.body_at(schema.names_bytes(record))])


def is_over(record: bytes | memoryview, ended_before: float) -> bool:
    """Whether a session had ended by then. When, is at one place in every schema, so that a record which cannot be
    read goes, too, when its time has come; but not one whose head, and so perhaps its time, is damaged.
    """
    if len(record) < FROZEN.itemsize or _TIME.unpack_from(record, EXPIRES_AT)[0] > ended_before:
        return False
    schema = SCHEMAS.get(record[SCHEMA_AT])
    return schema is None or _has_sound_head(record)


def is_of_another(session_id: bytes | memoryview, record: bytes | memoryview) -> bool:
    """Whether a record whose head is sound is not that of the session under whose id it lies."""
    schema = SCHEMAS.get(record[SCHEMA_AT]) if len(record) >= FROZEN.itemsize + CHECKSUM_BYTES else None
    if schema is None:
        return False
    return _CHECKSUM.unpack_from(record, FROZEN.itemsize)[0] != checksum(session_id) and _has_sound_head(record)


def names_of(record: bytes | memoryview) -> bytes:
    """What two records have alike that are of one schema and one version, whether their heads are sound or not."""
    if len(record) < FROZEN.itemsize or (schema := SCHEMAS.get(record[SCHEMA_AT])) is None:
        return b""
    lengths = bytes(record[NAMES_AT : NAMES_AT + _NAMES.size])
    begin = schema.head.itemsize
    return lengths + bytes(record[begin : begin + sum(_NAMES.unpack(lengths))])


def version_of(record: bytes | memoryview) -> bytes | None:
    """Model and version, a line each; None where the record's schema is not read here, or its head is damaged."""
    schema = SCHEMAS.get(record[SCHEMA_AT]) if len(record) >= FROZEN.itemsize else None
    if schema is None or not _has_sound_head(record):
        return None
    model_bytes, version_bytes = _NAMES.unpack_from(record, NAMES_AT)
    names = bytes(record[schema.head.itemsize : schema.head.itemsize + model_bytes + version_bytes])
    return names[:model_bytes] + b"\n" + names[model_bytes:]


def _has_sound_head(record: bytes | memoryview) -> bool:
    """Whether a record's head, of a schema that is read here, is what was written."""
    head = head_of(record)
    return bool(checksum(head[:-CHECKSUM_BYTES]) == _CHECKSUM.unpack(head[-CHECKSUM_BYTES:])[0])
