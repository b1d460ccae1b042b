"""Files of columns, Parquet or Arrow's, that are read as one table behind each other, any rows of it at a time."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc, parquet

from ostinato.errors import InputError
from ostinato.tables.parquet import SUFFIXES, is_parquet

ARROW_SUFFIXES = (".arrow", ".feather")
SAMPLE_ROWS = 1024
READ_BYTES = 1 << 18
"""Of a column of a row group that is read at a time."""
END_BYTES = 1 << 20
"""Of a file whose checksum is taken."""


def is_of_columns(path: Path) -> bool:
    """Whether it is a folder, a pattern of names, or a file that is known to hold columns."""
    return path.is_dir() or path.suffix.lower() in (*SUFFIXES, *ARROW_SUFFIXES) or _is_pattern(path)


def find_files(path: Path) -> tuple[Path, ...]:
    """The files that a name, a folder or a pattern stands for, in the order of their paths.

    Raises:
        InputError: there is none.
    """
    if path.is_dir():
        found = [each for each in path.rglob("*") if each.suffix.lower() in (*SUFFIXES, *ARROW_SUFFIXES)]
        found = [each for each in found if not any(part[0] in "._" for part in each.relative_to(path).parts)]
    elif path.exists() or not _is_pattern(path):
        found = [path]
    else:
        found = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207  # of whole paths
    if not found:
        raise InputError(f"{path}: there is no file of columns in it ({', '.join((*SUFFIXES, *ARROW_SUFFIXES))})")
    return tuple(sorted(each.absolute() for each in found))


def _is_pattern(path: Path) -> bool:
    return not path.exists() and glob.has_magic(str(path))


class ColumnFiles:
    """Files with the same columns, whose rows are counted through.

    Args:
        paths: at least one.

    Attributes:
        schema: of the first; columns that are asked for have the same type in all.

    Raises:
        InputError: one cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        with _open(self.paths[0]) as file:
            self.schema: pa.Schema = file.schema
            self.compression: str = file.compression

    @cached_property
    def pieces(self) -> list[tuple[Path, int, int]]:
        """Each row group or batch: its file, its number there, and its rows."""
        found = []
        for path in self.paths:
            with _open(path) as file:
                found += [(path, piece, rows) for piece, rows in enumerate(file.sizes)]
        return found

    @property
    def num_rows(self) -> int:
        """Of all files together."""
        return sum(rows for _, _, rows in self.pieces)

    @property
    def most_rows(self) -> int:
        """Those of the largest row group."""
        return max((rows for _, _, rows in self.pieces), default=0)

    def bytes_per_row(self, columns: Sequence[str]) -> float:
        """Of some columns as they lie in memory, roughly: as on the disk, uncompressed, or as the first rows are."""
        sample = next(self.batches(columns, SAMPLE_ROWS), None)
        if sample is None:
            return 0.0
        num_bytes = 0
        for path in self.paths:
            with _open(path) as file:
                num_bytes += file.bytes_of(columns)
        return float(max(sample.nbytes / len(sample), num_bytes / self.num_rows))

    def batches(
        self, columns: Sequence[str], most_rows: int, first: int = 0, end: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows from ``first`` on and before ``end``, in batches of ``most_rows`` of which the last may have less.

        Raises:
            InputError: a file cannot be read, or a column is absent there or of another type.
        """
        end = self.num_rows if end is None else end
        return rebatched(self._as_they_lie(columns, most_rows, first, end), most_rows)

    def _as_they_lie(self, columns: Sequence[str], most_rows: int, first: int, end: int) -> Iterator[pa.RecordBatch]:
        starts = list(accumulate((rows for _, _, rows in self.pieces), initial=0))
        for path in self.paths:
            wanted = [
                (piece, start, rows)
                for (of, piece, rows), start in zip(self.pieces, starts, strict=False)
                if of == path and start < end and start + rows > first
            ]
            if not wanted:
                continue
            with _open(path) as file:
                self._check_columns(file, columns)
                place = wanted[0][1]
                for batch in file.read([piece for piece, _, _ in wanted], list(columns), most_rows):
                    begun, place = place, place + len(batch)
                    if place > first and begun < end:
                        kept = slice(max(0, first - begun), min(len(batch), end - begun))
                        yield batch.slice(kept.start, kept.stop - kept.start).select(list(columns))

    def _check_columns(self, file: _ColumnFile, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in file.schema.names or file.schema.field(name).type != self.schema.field(name).type:
                found = file.schema.field(name).type if name in file.schema.names else "absent"
                raise InputError(
                    f"{file.path}: column {name!r} is {found}, and in {self.paths[0]} of {self.schema.field(name).type}"
                )

    def fingerprint(self) -> list[list[Any]]:
        """What tells them from other files: of each its name, size, time of change, and a checksum of its end, where
        Parquet and Arrow have what the columns are and where they lie.
        """
        found = []
        for path in self.paths:
            status = path.stat()
            with path.open("rb") as file:
                file.seek(max(0, status.st_size - END_BYTES))
                checksum = hashlib.sha256(file.read()).hexdigest()
            found.append([str(path), status.st_size, status.st_mtime_ns, checksum])
        return found


class _ColumnFile:
    """One file: its row groups, or batches."""

    path: Path
    schema: pa.Schema
    sizes: list[int]
    compression = "snappy"

    def read(self, pieces: list[int], columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def bytes_of(self, columns: Sequence[str]) -> int:
        raise NotImplementedError


class _ParquetFile(_ColumnFile):
    def __init__(self, path: Path, file: parquet.ParquetFile) -> None:
        self.path, self._file, self.schema = path, file, file.schema_arrow
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        self._groups, self.sizes = groups, [group.num_rows for group in groups]
        if groups and groups[0].num_columns:
            self.compression = groups[0].column(0).compression.lower().replace("uncompressed", "none")

    def read(self, pieces: list[int], columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            min(most_rows, 65_536), row_groups=pieces, columns=columns, use_threads=False
        )
        return batches

    def bytes_of(self, columns: Sequence[str]) -> int:
        parts = (group.column(index) for group in self._groups for index in range(group.num_columns))
        return sum(part.total_uncompressed_size for part in parts if _root(part.path_in_schema, columns))


class _ArrowFile(_ColumnFile):
    def __init__(self, path: Path, file: ipc.RecordBatchFileReader) -> None:
        self.path, self._file, self.schema = path, file, file.schema
        self._numbers = range(file.num_record_batches)
        self.sizes = [len(file.get_batch(index)) for index in self._numbers]  # a batch alone tells its rows

    def read(self, pieces: list[int], columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            batch = self._file.get_batch(piece).select(columns)
            for start in range(0, len(batch), most_rows):
                yield batch.slice(start, most_rows)

    def bytes_of(self, columns: Sequence[str]) -> int:
        return sum(self._file.get_batch(index).select(list(columns)).nbytes for index in self._numbers)


def _root(path: str, columns: Sequence[str]) -> bool:
    """Whether a part of Parquet's own columns is of one of these."""
    return any(path == name or path.startswith(f"{name}.") for name in columns)


@contextmanager
def _open(path: Path) -> Iterator[_ColumnFile]:
    try:
        if is_parquet(path):
            # A column of a row group is read bit by bit: one may be larger than the memory that may be taken.
            with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
                yield _ParquetFile(path, file)
        else:
            with pa.memory_map(str(path)) as source:
                yield _ArrowFile(path, ipc.open_file(source))
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read: {reason}") from error


def rebatched(batches: Iterator[pa.RecordBatch], num_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``num_rows``, of which the last may have less."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + len(batch) >= num_rows:
            taken = num_rows - count
            yield together([*held, batch.slice(0, taken)])
            batch, held, count = batch.slice(taken), [], 0  # what is left of it
        if len(batch):
            held.append(batch)
            count += len(batch)
    if held:
        yield together(held)


def together(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of the same columns as one; text in dictionaries as text, which has no dictionary to agree upon."""
    plain = [_without_dictionaries(batch) for batch in batches]
    if len(plain) == 1:
        return plain[0]
    arrays = [pa.concat_arrays([batch.column(index) for batch in plain]) for index in range(plain[0].num_columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=plain[0].schema)


def _without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    if not any(pa.types.is_dictionary(field.type) for field in batch.schema):
        return batch
    arrays = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column as ``together`` gives it."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
