"""Blocks of rows, cut where memory asks for it: a sequence may begin in one and go on in the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tools.backfill.column_files import together


class RowBlock(NamedTuple):
    """Consecutive rows.

    Attributes:
        first: the number of its first row in the file.
        bounds: int64 ``[N + 1]``: sequence i is the rows ``bounds[i]`` to ``bounds[i + 1]``.
        goes_on: whether the first sequence began in the block before.
        is_cut: whether the last sequence goes on in the next block.
    """

    batch: pa.RecordBatch
    first: int
    bounds: NDArray[np.int64]
    goes_on: bool = False
    is_cut: bool = False


def starts_of(ids: pa.Array) -> NDArray[np.int64]:
    """The rows at which another id begins than in the row before; the first is not among them."""
    if len(ids) < 2:
        return np.zeros(0, np.int64)
    differs = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return np.flatnonzero(differs.to_numpy(zero_copy_only=False)) + 1


def cut_anywhere(batches: Iterator[pa.RecordBatch], id_column: str, first: int) -> Iterator[RowBlock]:
    """Each batch as a block, for models that carry a state from one to the next."""
    before = object()  # no id
    current = next(batches, None)
    while current is not None:
        following = next(batches, None)
        ids = current.column(id_column)
        last = ids[-1].as_py()
        is_cut = following is not None and following.column(id_column)[0].as_py() == last
        yield RowBlock(current, first, _bounds(ids), ids[0].as_py() == before, is_cut)
        before, first, current = last, first + len(current), following


def cut_between(batches: Iterator[pa.RecordBatch], id_column: str, first: int, most_rows: int) -> Iterator[RowBlock]:
    """Blocks of whole sequences only.

    Raises:
        InputError: a sequence has more rows than ``most_rows``.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        rows = together([*held, batch])
        bounds = _bounds(rows.column(id_column))
        whole = int(bounds[-2])  # what follows may not have ended
        if whole:
            yield RowBlock(rows.slice(0, whole), first, bounds[:-1])
            first += whole
        held = [rows.slice(whole)]
        if len(held[0]) > most_rows:
            name = held[0].column(id_column)[0].as_py()
            raise InputError(
                f"{id_column} {name!r} has more than {most_rows:,} rows, more than --memory allows: this model takes "
                "sequences whole"
            )
    if held and len(held[0]):
        yield RowBlock(held[0], first, _bounds(held[0].column(id_column)))


def _bounds(ids: pa.Array) -> NDArray[np.int64]:
    return np.concatenate([[0], starts_of(ids), [len(ids)]]).astype(np.int64)
