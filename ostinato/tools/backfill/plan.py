"""The plan of a back-fill and what is done of it, in a folder next to the output: a run that was killed goes on."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from ostinato.errors import InputError
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.repository import digest_of
from ostinato.tools.backfill.asked import PART_ROWS, Backfill
from ostinato.tools.backfill.column_files import ColumnFiles
from ostinato.tools.backfill.input_columns import ROW_COLUMN, InputColumns
from ostinato.tools.backfill.keys import id_keys, time_keys
from ostinato.tools.backfill.part_files import (
    part_path,
    whole_file,
    write_json,
)
from ostinato.tools.backfill.part_maker import written_columns
from ostinato.tools.backfill.scan import cuts_of_rows, scan
from ostinato.tools.backfill.sorting import GROUP_ROWS, runs_folder, sorted_batches

PART_BYTES = 256 << 20
PLAN, LOCK, SORTED = "plan.json", "lock", "sorted.parquet"
Report = Callable[[str, int, int], None]
"""(what is done, rows done more, rows of all)"""


@dataclass(frozen=True)
class BackfillPlan:
    """A back-fill with its parts.

    Attributes:
        asked: with the folder, the files that are run, and the cuts.
        num_rows: of all files.
        schema: of what is written, with the number of each row where they were sorted.
        compression: that of what was given.
    """

    asked: Backfill
    num_rows: int
    schema: pa.Schema
    compression: str

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return self.asked.num_parts

    def rows_of(self, index: int) -> int:
        """How many rows a part has."""
        return self.asked.cuts[index + 1] - self.asked.cuts[index]

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        return [index for index in range(self.num_parts) if not part_path(self.asked.folder, index).exists()]


@contextmanager
def begun(
    asked: Backfill, output: Path, *, restart: bool, part_rows: int = PART_ROWS, report: Report = lambda *_: None
) -> Iterator[BackfillPlan]:
    """The plan of a back-fill: the one that was begun for this output, or a new one.

    Args:
        restart: whether what was begun is thrown away.
        part_rows: that a new plan's parts have at least.

    Raises:
        InputError: the files have not what the model takes; or what was begun is of another model or input; or
            another process is at it.
    """
    files = ColumnFiles(asked.files)
    manifest = Manifest.read(asked.directory)
    columns = InputColumns.find(files.schema, manifest, asked)
    written_columns(manifest, columns, files.schema, asked)
    fingerprint = _fingerprint(asked, files)
    folder = output.with_name(f"{output.name}.parts")
    with _locked(folder, output):
        content = _read_plan(folder)
        if content is not None and not restart:
            _check_same(content["fingerprint"], fingerprint, folder)
        else:
            _clear(folder)
            content = None
        for left in folder.glob(".*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if content is None:
            content = {"fingerprint": fingerprint} | _planned(asked, files, columns, folder, part_rows, report)
            write_json(folder / PLAN, content)
        planned = replace(asked, folder=folder, cuts=tuple(content["cuts"]), is_sorted=content["is_sorted"])
        if planned.is_sorted:
            planned = replace(planned, files=(folder / SORTED,))
        read = ColumnFiles(planned.files)
        columns = InputColumns.find(read.schema, manifest, planned)
        schema = written_columns(manifest, columns, read.schema, planned).schema
        yield BackfillPlan(planned, files.num_rows, schema, files.compression)


def _planned(
    asked: Backfill, files: ColumnFiles, columns: InputColumns, folder: Path, part_rows: int, report: Report
) -> dict[str, Any]:
    """Where parts begin; rows that are not in order are sorted into a copy before."""
    row_bytes = files.bytes_per_row(columns.names)
    part_rows = int(max(1, min(part_rows, PART_BYTES / max(1, row_bytes))))
    num_rows = files.num_rows
    if columns.is_wide:
        return {
            "cuts": cuts_of_rows(num_rows, max(part_rows, files.most_rows)) if num_rows else [0],
            "is_sorted": False,
        }
    ids, times = asked.id_column, asked.time_column
    least = max(part_rows, min(files.most_rows, 4 * PART_ROWS))
    found = scan(files, ids, times, least, lambda rows: report("looking for sequences", rows, num_rows))
    if found.is_in_order:
        return {"cuts": found.cuts, "is_sorted": False}
    with runs_folder(folder) as runs, whole_file(folder / SORTED) as path:
        _sort(files, columns, asked, runs, path, report)
    found = scan(ColumnFiles([folder / SORTED]), ids, times, max(part_rows, 1))
    assert found.is_in_order
    return {"cuts": found.cuts, "is_sorted": True}


def _sort(files: ColumnFiles, columns: InputColumns, asked: Backfill, runs: Path, path: Path, report: Report) -> None:
    """Write a copy with the rows of each id together, in the order of their times and then as they stood."""
    num_rows = files.num_rows

    def numbered() -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in files.batches(columns.names, GROUP_ROWS):
            report("sorting", len(batch), num_rows)
            yield batch.append_column(ROW_COLUMN, pa.array(np.arange(first, first + len(batch))))
            first += len(batch)

    def keys(batch: pa.RecordBatch) -> list[Any]:
        found: list[Any] = [*id_keys(batch.column(asked.id_column))]
        if asked.time_column:
            found.append(time_keys(batch.column(asked.time_column)))
        return [*found, batch.column(ROW_COLUMN).to_numpy()]

    writer = None
    for batch in sorted_batches(numbered(), keys, runs, asked.memory_bytes):
        writer = writer or parquet.ParquetWriter(path, batch.schema, compression="lz4")
        writer.write_batch(batch, row_group_size=GROUP_ROWS)
    assert writer is not None, "no rows are in order"
    writer.close()


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the folder, so that no two processes write the same output."""
    try:
        folder.mkdir(exist_ok=True)
        with (folder / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{output}: another process is writing it") from None
            yield
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror or error}") from error


def _clear(folder: Path) -> None:
    for each in folder.iterdir():
        if each.name != LOCK:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def _read_plan(folder: Path) -> dict[str, Any] | None:
    path = folder / PLAN
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _fingerprint(asked: Backfill, files: ColumnFiles) -> dict[str, Any]:
    """What another run has to have in common with one that it goes on with, by what a user calls it."""
    return {
        "model": [str(asked.directory), digest_of(asked.directory)],
        "input": files.fingerprint(),
        "--id": asked.id_column,
        "--time": asked.time_column,
        "--column": dict(asked.renamed),
        "--last": asked.is_last,
        "onnxruntime": version("onnxruntime"),
    }


def _check_same(begun_with: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    others = [name for name in now if begun_with.get(name) != json.loads(json.dumps(now[name]))]
    if others:
        raise InputError(
            f"{folder}: what was begun there had another {' and another '.join(others)}: --restart throws it away and "
            "begins from the start"
        )
