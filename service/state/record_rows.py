"""Rows of records: one model version's records of one schema as an array, so that many are written in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ostinato.service.state.arena import Arena
from ostinato.service.state.schemas import Schema

LIVE, CLOSED = 1, 2


class RecordRows:
    """Rows that records are written into, each without what follows the last output.

    Args:
        layout: checksum of what is behind the names.
        source_bytes: how much room a record has for its source.

    Attributes:
        dtype: of a record.
        head_bytes: what the first checksum is of.
        body_at: where the states begin.
    """

    def __init__(self, arena: Arena, schema: Schema, layout: int, source_bytes: int) -> None:
        model, version = arena.manifest.name.encode(), arena.manifest.version.encode()
        self.states = [f"state {index}" for index in range(len(arena.states))]
        fields: list[tuple[str, Any]] = [(name, schema.head[name]) for name in schema.head.names or ()]
        fields += [("names", f"V{len(model) + len(version)}"), ("source", f"S{source_bytes}"), ("check", "<u8")]
        fields += [(name, _void(rows)) for name, rows in zip(self.states, arena.states, strict=True)]
        self.dtype = np.dtype([*fields, ("output", _void(arena.last_output))])
        self.head_bytes = schema.head.itemsize + len(model) + len(version) + source_bytes
        self.body_at = schema.body_at(len(model) + len(version) + source_bytes)
        self._template = np.zeros(1, self.dtype)
        self._template["schema"], self._template["kind"] = schema.number, LIVE
        self._template["model_bytes"], self._template["version_bytes"] = len(model), len(version)
        self._template["layout"], self._template["num_outputs"] = layout, 1
        self._template["names"] = np.frombuffer(model + version, self.dtype["names"])
        if schema.has_offsets:
            self._template["source_bytes"] = source_bytes
        # Kept, since what is the same in every record is written once; and so are the views of what is checked.
        self._rows = self._template[:0]
        self._heads: list[memoryview] = []
        self._bodies: list[memoryview] = []

    def one(self) -> NDArray[Any]:
        """A record ``[1]`` to be filled."""
        return self._template.copy()

    def many(self, num_rows: int) -> NDArray[Any]:
        """Records ``[num_rows]`` to be filled anew; valid until the next call."""
        if len(self._rows) < num_rows:
            self._rows = np.repeat(self._template, num_rows)
            flat, size = memoryview(self._rows.view(np.uint8)), self.dtype.itemsize  # type: ignore[arg-type]
            starts = range(0, num_rows * size, size)
            self._heads = [flat[start : start + self.head_bytes] for start in starts]
            self._bodies = [flat[start + self.body_at : start + size] for start in starts]
        return self._rows[:num_rows]

    def check(self, rows: NDArray[Any]) -> None:
        """Write the checksums of what ``many`` gave and was filled."""
        rows["body"] = _checksums(self._bodies[: len(rows)])
        rows["check"] = _checksums(self._heads[: len(rows)])


def items(rows: NDArray[Any]) -> NDArray[np.void]:
    """Rows ``[R, ...]`` as items ``[R]`` of bytes: numpy moves these in a fraction of the time of its numbers."""
    contiguous = np.ascontiguousarray(rows)
    return contiguous.reshape(-1).view(f"V{contiguous[0].nbytes}")


def _void(rows: NDArray[Any]) -> str:
    return f"V{rows[0].nbytes}"


def _checksums(views: Sequence[memoryview]) -> NDArray[np.uint64]:
    """``checksum`` of each ``[R]``: the bytes of all in one array are a third quicker than numbers."""
    return np.frombuffer(b"".join(map(xxhash.xxh3_64_digest, views)), ">u8")
