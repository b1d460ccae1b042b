"""Columns that say whose steps a message has, and which: ids, ``seq``, ``at``, and where they are in their source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.service.edge.arrow.cells import is_null, unfit
from ostinato.service.edge.arrow.ipc import CheckType
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.sessions.blocks import NO_SEQ
from ostinato.service.sessions.offsets import MAX_SOURCE_CHARACTERS, RowOffsets, check_source

MAX_ID_BYTES = 128
"""Ids that share their text are refused where they are longer than this on average."""


def to_text(column: pa.Array, name: str = "session_id", what: str = "ids", max_bytes: int = MAX_ID_BYTES) -> pa.Array:
    """Ids, or other short texts, as plain utf8, in whichever of Arrow's forms they came.

    Raises:
        InvalidInput: they are not text; or many rows share a long text, which would be written out for each of them.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind):
        return column.cast(pa.utf8())
    if pa.types.is_dictionary(kind):
        words = to_text(column.dictionary, name, what, max_bytes)
        num_bytes = pc.sum(pc.binary_length(words).take(column.indices)).as_py() or 0
    elif pa.types.is_string_view(kind):
        # A view is 16 bytes, the first four of them the length of its text.
        lengths = np.frombuffer(column.buffers()[1], np.int32, 4 * len(column))[::4]
        num_bytes = lengths.sum(where=~is_null(column), dtype=np.int64)
    else:
        raise unfit(kind, "text", name)
    if num_bytes > max_bytes * len(column):
        raise InvalidInput(f"{what} of more than {max_bytes} characters", field=name)
    if pa.types.is_dictionary(kind):
        return words.take(column.indices)
    # Arrow's own cast follows even the views of nulls, which nobody has checked, out of its buffers.
    return pa.array(column.to_pylist(), pa.utf8())


def check_text(kind: pa.DataType, name: str = "session_id") -> None:
    """Refuse ids, or other texts, that are none."""
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(words) or pa.types.is_large_string(words) or pa.types.is_string_view(words)):
        raise unfit(words, "text", name)


def check_whole(kind: pa.DataType, name: str) -> None:
    """Refuse a column of numbers that is no integers."""
    if not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise unfit(kind, "integers", name)


def to_seqs(
    column: pa.Array, errors: dict[int, OstinatoError], name: str = "seq", what: str = "number of steps"
) -> NDArray[np.int64]:
    """int64 ``[R]``, ``NO_SEQ`` where null; negative ones are added to ``errors``."""
    if pa.types.is_null(column.type):
        return np.full(len(column), NO_SEQ)
    given = column.fill_null(0) if column.null_count else column
    seqs: NDArray[np.int64] = given.to_numpy().astype(np.int64, copy=False)
    if seqs.min() < 0:  # or too large for int64
        for row in np.flatnonzero(seqs < 0).tolist():
            errors[row] = InvalidInput(f"{column[row]} is no {what}", field=f"{name}[{row}]")
    return np.where(is_null(column), NO_SEQ, seqs) if column.null_count else seqs


def check_times(kind: pa.DataType) -> None:
    """Refuse an ``at`` that is neither text nor timestamps."""
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(words) or pa.types.is_large_string(words) or pa.types.is_string_view(words)
    if not (is_text or pa.types.is_timestamp(kind) or pa.types.is_null(kind)):
        raise unfit(kind, "timestamps, or text", "at")


def to_times(column: pa.Array, errors: dict[int, OstinatoError]) -> list[str | None]:
    """R times as text, None where null; of timestamps with a zone in UTC, of others without an offset. One that is
    finer than a microsecond, or no date, is added to ``errors``.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if not pa.types.is_timestamp(kind):
        return to_text(column).to_pylist()  # type: ignore[no-any-return]
    is_null_row = is_null(column)
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[kind.unit]
    counts = column.cast(pa.int64()).fill_null(0).to_numpy()
    suffix, found = "Z" if kind.tz else "", []
    for row, count in enumerate(counts.tolist()):
        text = None
        if not is_null_row[row]:
            microseconds, rest = divmod(count * 1_000_000, per_second)
            try:
                if rest:
                    raise ValueError("it is finer than a microsecond")
                text = (datetime(1970, 1, 1) + timedelta(microseconds=microseconds)).isoformat() + suffix
            except (ValueError, OverflowError) as error:
                errors[row] = InvalidInput(f"{count} {kind.unit} since 1970: {error}", field=f"at[{row}]")
        found.append(text)
    return found


OFFSETS = {
    "offset": lambda kind: check_whole(kind, "offset"),
    "first_offset": lambda kind: check_whole(kind, "first_offset"),
    "source": lambda kind: check_text(kind, "source"),
}
"""The columns that say where rows are in their source. The source of all may be noted in the schema's metadata."""

KEYS: dict[str, CheckType] = {"seq": lambda kind: check_whole(kind, "seq"), "at": check_times, **OFFSETS}
"""The columns that say which steps a message has, none of which need be there."""


def read_offsets(
    columns: Mapping[str, pa.Array], notes: Mapping[bytes, bytes], errors: dict[int, OstinatoError]
) -> RowOffsets | None:
    """Where the rows are in their sources; None where nothing is said of any.

    Raises:
        InvalidInput: a source is none, or there are sources and no offsets.
    """
    if "offset" not in columns:
        if columns or b"source" in notes:
            raise InvalidInput("a source or first_offset needs a column 'offset': where the last reading is", "offset")
        return None
    lasts = to_seqs(columns["offset"], errors, "offset", "offset")
    firsts = lasts
    if "first_offset" in columns:
        firsts = to_seqs(columns["first_offset"], errors, "first_offset", "offset")
    if "source" in columns:
        sources = _to_sources(columns["source"])
    else:
        noted = check_source(notes.get(b"source", b"").decode(errors="replace"))
        sources = np.full(len(lasts), noted, object)
    return RowOffsets.read(sources, firsts, lasts, errors)


def _to_sources(column: pa.Array) -> NDArray[np.object_]:
    """Sources, objects ``[R]``; null is the empty one."""
    texts = to_text(column, "source", "sources", 4 * MAX_SOURCE_CHARACTERS).fill_null("")
    distinct = pc.dictionary_encode(texts)
    words = [check_source(word) for word in distinct.dictionary.to_pylist()]
    made: NDArray[np.object_] = np.array(words, object)[distinct.indices.to_numpy()]
    return made
