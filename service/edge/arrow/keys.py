"""Columns that say whose steps a message has: ids and ``seq``."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.service.edge.arrow.cells import is_null, unfit
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.blocks import NO_SEQ

MAX_ID_BYTES = 128
"""Ids that share their text are refused where they are longer than this on average."""


def to_text(column: pa.Array) -> pa.Array:
    """Ids as plain utf8, in whichever of Arrow's forms they came.

    Raises:
        InvalidInput: they are not text; or many rows share a long text, which would be written out for each of them.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind):
        return column.cast(pa.utf8())
    if pa.types.is_dictionary(kind):
        words = to_text(column.dictionary)
        num_bytes = pc.sum(pc.binary_length(words).take(column.indices)).as_py() or 0
    elif pa.types.is_string_view(kind):
        # A view is 16 bytes, the first four of them the length of its text.
        lengths = np.frombuffer(column.buffers()[1], np.int32, 4 * len(column))[::4]
        num_bytes = lengths.sum(where=~is_null(column), dtype=np.int64)
    else:
        raise unfit(kind, "text", "session_id")
    if num_bytes > MAX_ID_BYTES * len(column):
        raise InvalidInput(f"ids of more than {MAX_ID_BYTES} characters", field="session_id")
    if pa.types.is_dictionary(kind):
        return words.take(column.indices)
    # Arrow's own cast follows even the views of nulls, which nobody has checked, out of its buffers.
    return pa.array(column.to_pylist(), pa.utf8())


def check_text(kind: pa.DataType) -> None:
    """Refuse ids that are no text."""
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(words) or pa.types.is_large_string(words) or pa.types.is_string_view(words)):
        raise unfit(words, "text", "session_id")


def check_seq(kind: pa.DataType) -> None:
    """Refuse a ``seq`` that is no integers."""
    if not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise unfit(kind, "integers", "seq")


def to_seqs(column: pa.Array, errors: dict[int, InvalidInput]) -> NDArray[np.int64]:
    """int64 ``[R]``, ``NO_SEQ`` where null; negative ones are added to ``errors``."""
    if pa.types.is_null(column.type):
        return np.full(len(column), NO_SEQ)
    given = column.fill_null(0) if column.null_count else column
    seqs: NDArray[np.int64] = given.to_numpy().astype(np.int64, copy=False)
    if seqs.min() < 0:  # or too large for int64
        for row in np.flatnonzero(seqs < 0).tolist():
            errors[row] = InvalidInput(f"{column[row]} is no number of steps", field=f"seq[{row}]")
    return np.where(is_null(column), NO_SEQ, seqs) if column.null_count else seqs
