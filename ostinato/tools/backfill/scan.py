"""A scan of a file's ids and times: whether each sequence's rows stand together and in order, and where parts begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tools.backfill.blocks import starts_of
from ostinato.tools.backfill.column_files import ColumnFiles
from ostinato.tools.backfill.keys import id_keys, time_keys

MOST_ROWS = 262_144
MOST_IDS = 8_000_000
"""Ids of which a digest is kept, 16 bytes of each, to see one that comes again. With more of them, that are not in
order, rows are sorted.
"""
_COMPARED_AT_ONCE = 65_536


class FileScan(NamedTuple):
    """What stands in a file.

    Attributes:
        is_in_order: whether the rows of each id stand together, in the order of their times.
        cuts: the row before which each part begins, and behind them the number of rows; meant for rows in order.
    """

    num_rows: int
    num_sequences: int
    is_in_order: bool
    cuts: tuple[int, ...]


def scan(
    files: ColumnFiles,
    id_column: str,
    time_column: str,
    part_rows: int,
    report: Callable[[int], None] = lambda _rows: None,
) -> FileScan:
    """Look through ids and times; a part is of ``part_rows`` rows at least, and of whole sequences.

    ``report``: called with the number of rows that are done more.

    Raises:
        InputError: an id or a time is missing; names the row.
    """
    scanner = _Scanner(id_column, time_column, part_rows)
    for batch in files.batches([name for name in (id_column, time_column) if name], MOST_ROWS):
        scanner.add(batch)
        report(len(batch))
    return scanner.end()


def cuts_of_rows(num_rows: int, part_rows: int) -> tuple[int, ...]:
    """Where parts begin, of rows that are a sequence each."""
    return (*range(0, num_rows, part_rows), num_rows)


class _Scanner:
    def __init__(self, id_column: str, time_column: str, part_rows: int) -> None:
        self._id_column, self._time_column, self._part_rows = id_column, time_column, part_rows
        self._num_rows = self._num_sequences = 0
        self._cuts = [0]
        self._is_timely = True
        self._is_sorted = True
        self._last: tuple[Any, Any] | None = None
        self._digests: list[NDArray[np.uint64]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        ids = batch.column(self._id_column)
        _check_whole(ids, self._id_column, self._num_rows)
        times = None
        if self._time_column:
            _check_whole(batch.column(self._time_column), self._time_column, self._num_rows)
            times = time_keys(batch.column(self._time_column))
        last_id, last_time = self._last or (None, None)
        heads = starts_of(ids)
        goes_on = self._last is not None and ids[0].as_py() == last_id
        if times is not None:
            is_back = times[1:] < times[:-1]
            is_back[heads - 1] = False
            self._is_timely &= not is_back.any() and not (goes_on and times[0] < last_time)
        if not goes_on:
            heads = np.concatenate([[0], heads])
        self._add_heads(ids.take(pa.array(heads)), last_id, goes_on=goes_on)
        self._cut(heads + self._num_rows)
        self._num_rows += len(batch)
        self._last = ids[-1].as_py(), None if times is None else times[-1]

    def _add_heads(self, heads: pa.Array, last_id: Any, *, goes_on: bool) -> None:
        if not len(heads):
            return
        self._num_sequences += len(heads)
        self._is_sorted &= not pc.any(pc.less_equal(heads.slice(1), heads.slice(0, len(heads) - 1))).as_py()
        if last_id is not None:
            first = heads[0].as_py()
            self._is_sorted &= bool(first > last_id)
        del goes_on
        if self._num_sequences <= MOST_IDS:
            self._digests.append(np.stack(id_keys(heads), axis=1))

    def _cut(self, heads: NDArray[np.int64]) -> None:
        """Begin a part at the first sequence behind each ``part_rows`` rows."""
        at = 0
        while (at := int(np.searchsorted(heads, self._cuts[-1] + self._part_rows))) < len(heads):
            self._cuts.append(int(heads[at]))

    def end(self) -> FileScan:
        """What there was."""
        is_grouped = self._is_sorted or (self._num_sequences <= MOST_IDS and not self._comes_again())
        cuts = (*self._cuts, self._num_rows) if self._num_rows else (0,)
        return FileScan(self._num_rows, self._num_sequences, is_grouped and self._is_timely, cuts)

    def _comes_again(self) -> bool:
        digests = np.concatenate(self._digests)
        self._digests.clear()  # of a file in no order there is one for each row
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        for start in range(0, len(order) - 1, _COMPARED_AT_ONCE):
            several = digests[order[start : start + _COMPARED_AT_ONCE + 1]]
            if (several[1:] == several[:-1]).all(axis=1).any():
                return True
        return False


def _check_whole(column: pa.Array, name: str, before: int) -> None:
    is_absent = column.is_null()
    if pa.types.is_floating(column.type):
        is_absent = pc.or_(is_absent, pc.is_nan(column).fill_null(True))
    absent = is_absent.to_numpy(zero_copy_only=False)
    if absent.any():
        raise InputError(f"column {name!r}: row {before + int(np.argmax(absent)) + 1} has none (null)")
