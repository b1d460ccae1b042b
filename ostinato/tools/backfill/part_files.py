"""Files of parts: row groups that are the same whatever memory a run had, each file whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

GROUP_STEPS = 131_072
"""Steps of a row group, or one row more than there is room for."""


@dataclass
class PartTally:
    """What a part came to.

    Attributes:
        sequences, steps: that were read.
        unanswered: steps whose answer is not finite.
        num_skipped: sequences with a row that the model does not take.
        skipped: of each of them, or of the first, its id, the row counted from 1, and why.
    """

    sequences: int = 0
    steps: int = 0
    unanswered: int = 0
    num_skipped: int = 0
    skipped: list[tuple[str, int, str]] = field(default_factory=list)


class RowGroups:
    """A Parquet file that is written row group by row group, cut by the number of steps in their rows alone."""

    def __init__(self, path: Path, schema: pa.Schema, compression: str) -> None:
        self._writer = parquet.ParquetWriter(path, schema, compression=compression)
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._num_steps = 0

    def write(self, batch: pa.RecordBatch, steps: NDArray[np.int64] | None = None) -> None:
        """Add rows; ``steps``: int64 ``[n]``, those in each row, where it is not one."""
        sums = np.arange(1, len(batch) + 1) if steps is None else np.cumsum(steps)
        start = done = 0
        while start < len(batch):
            end = min(len(batch), int(np.searchsorted(sums, done + GROUP_STEPS - self._num_steps)) + 1)
            self._held.append(batch.slice(start, end - start))
            self._num_steps += int(sums[end - 1]) - done
            start, done = end, int(sums[end - 1])
            if self._num_steps >= GROUP_STEPS:
                self._flush()

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema).combine_chunks()
            self._writer.write_table(table, row_group_size=len(table))
        self._held, self._num_steps = [], 0

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file, which is of no use."""
        self._writer.close()


@contextmanager
def whole_file(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Where to write a file that is to be there whole or not at all, whenever the process is killed.

    ``folder``: where it is until then; None = its own.
    """
    begun = (folder or path.parent) / f".{path.name}.{os.getpid()}"
    try:
        yield begun
        with begun.open("rb") as file:
            os.fsync(file.fileno())
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)


@contextmanager
def row_groups(path: Path, schema: pa.Schema, compression: str, folder: Path | None = None) -> Iterator[RowGroups]:
    """A Parquet file that is there when all of it was written; ``folder`` as of ``whole_file``."""
    with whole_file(path, folder) as begun:
        groups = RowGroups(begun, schema, compression)
        try:
            yield groups
        except BaseException:
            groups.abandon()
            raise
        groups.close()


def part_path(folder: Path, index: int) -> Path:
    """The file of a part."""
    return folder / f"part-{index:06}.parquet"


def write_json(path: Path, content: Any) -> None:
    """A small file, whole or not at all."""
    with whole_file(path) as begun:
        begun.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def tally_path(folder: Path, index: int) -> Path:
    """The file of a part's tally, which is there before the part is."""
    return part_path(folder, index).with_suffix(".json")


def write_tally(folder: Path, index: int, tally: PartTally) -> None:
    """Note what a part came to."""
    write_json(tally_path(folder, index), asdict(tally))


def read_tally(folder: Path, index: int) -> PartTally:
    """What a part that is there came to."""
    content = json.loads(tally_path(folder, index).read_text(encoding="utf-8"))
    return PartTally(**{**content, "skipped": [tuple(each) for each in content["skipped"]]})


def join(parts: Sequence[Path], path: Path, schema: pa.Schema, compression: str, folder: Path | None = None) -> None:
    """Parts behind each other as one file, a row group at a time; ``folder`` as of ``whole_file``."""
    with whole_file(path, folder) as begun, parquet.ParquetWriter(begun, schema, compression=compression) as writer:
        for part in parts:
            with parquet.ParquetFile(part) as file:
                for index in range(file.num_row_groups):
                    table = file.read_row_group(index)
                    writer.write_table(table, row_group_size=len(table))
