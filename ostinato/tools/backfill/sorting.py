"""Sorting of rows that are too many for memory: sorted runs on the disk, and a merge that holds a piece of each.

Knuth, The Art of Computer Programming 3, 5.4.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from ostinato.tools.backfill.column_files import rebatched, together

FAN_IN = 32
"""Runs that are merged at once; more of them are merged to fewer before."""
GROUP_ROWS = 65_536
LEAST_ROWS = 256
"""Of a piece of a run that is held: fewer would take longer, and hardly less."""
_KEY = "ostinato.key."

SortKeys = Callable[[pa.RecordBatch], Sequence[NDArray[Any]]]
"""The columns of numbers by which rows are put into order, the most significant first; no two rows have the same."""


def sorted_batches(
    batches: Iterator[pa.RecordBatch], keys: SortKeys, folder: Path, memory_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The same rows in order.

    Args:
        folder: an empty one for the runs, which are removed when they were read.
        memory_bytes: what the rows that are held may take, roughly.
    """
    runs = []
    for number, held in enumerate(_held(batches, keys, memory_bytes // 6)):
        row_bytes = held.nbytes / len(held)
        num_rows = int(max(LEAST_ROWS, min(GROUP_ROWS, memory_bytes / (4 * FAN_IN * row_bytes))))
        runs.append(_write(folder / f"run-0-{number:06}", iter([_in_order(held)]), num_rows))
    level = 0
    while len(runs) > FAN_IN:
        level += 1
        several = [runs[first : first + FAN_IN] for first in range(0, len(runs), FAN_IN)]
        runs = [
            _write(folder / f"run-{level}-{number:06}", _merge(paths, num_rows), num_rows)
            for number, paths in enumerate(several)
        ]
    for batch in _merge(runs, GROUP_ROWS) if runs else ():
        names = [name for name in batch.schema.names if not name.startswith(_KEY)]
        yield batch.select(names)


def _held(batches: Iterator[pa.RecordBatch], keys: SortKeys, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Batches together up to a size, with their keys."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        keyed = batch
        for index, numbers in enumerate(keys(batch)):
            keyed = keyed.append_column(f"{_KEY}{index}", pa.array(numbers))
        if held and size + keyed.nbytes > most_bytes:
            yield together(held)
            held, size = [], 0
        held.append(keyed)
        size += keyed.nbytes
    if held:
        yield together(held)


def _keys_of(batch: pa.RecordBatch) -> list[NDArray[Any]]:
    return [batch.column(name).to_numpy() for name in batch.schema.names if name.startswith(_KEY)]


def _in_order(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array(np.lexsort(_keys_of(batch)[::-1])))


def _write(path: Path, batches: Iterator[pa.RecordBatch], num_rows: int) -> Path:
    """Write a run, in pieces of ``num_rows`` as they are read again. Parquet's own would be whole row groups."""
    first = next(batches)
    options = ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, ipc.new_stream(file, first.schema, options=options) as writer:
        for batch in chain([first], batches):
            for start in range(0, len(batch), num_rows):
                writer.write_batch(batch.slice(start, num_rows))
    return path


@contextmanager
def runs_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for what is sorted, which is gone afterwards."""
    path = folder / ".runs"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class _Run:
    """A sorted run, of which one batch is held."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path))
        self._batches = iter(ipc.open_stream(self._file))
        self._path = path
        self._hold(next(self._batches))

    def _hold(self, batch: pa.RecordBatch) -> None:
        self.batch, self._keys = batch, _keys_of(batch)
        self.last = tuple(numbers[-1] for numbers in self._keys)

    def take(self, last: tuple[Any, ...]) -> pa.RecordBatch:
        """The rows that are held up to a key, inclusive."""
        up_to = np.ones(len(self.batch), bool)
        for numbers, bound in zip(reversed(self._keys), reversed(last), strict=True):
            up_to = (numbers < bound) | ((numbers == bound) & up_to)
        count = int(up_to.sum())
        taken, rest = self.batch.slice(0, count), self.batch.slice(count)
        self.batch, self._keys = rest, [numbers[count:] for numbers in self._keys]
        return taken

    def go_on(self) -> bool:
        """Hold the next batch where nothing is held; False, and the file is removed, where there is none."""
        if len(self.batch):
            return True
        following = next(self._batches, None)
        if following is None:
            self._file.close()
            self._path.unlink()
            return False
        self._hold(following)
        return True


def _merge(paths: Sequence[Path], num_rows: int) -> Iterator[pa.RecordBatch]:
    return rebatched(_merged([_Run(path) for path in paths]), num_rows)


def _merged(runs: list[_Run]) -> Iterator[pa.RecordBatch]:
    while runs:
        # All that comes later in any run comes behind this.
        bound = min(run.last for run in runs)
        yield _in_order(together([run.take(bound) for run in runs]))
        runs = [run for run in runs if run.go_on()]
