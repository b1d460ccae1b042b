"""The finishing of a back-fill: its parts become what was asked for, in the order of the rows that were given."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ostinato.tools.backfill.asked import Backfill
from ostinato.tools.backfill.column_files import ColumnFiles
from ostinato.tools.backfill.input_columns import ROW_COLUMN
from ostinato.tools.backfill.part_files import PartTally, join, part_path, read_tally, row_groups, whole_file
from ostinato.tools.backfill.plan import BackfillPlan, Report
from ostinato.tools.backfill.sorting import GROUP_ROWS, runs_folder, sorted_batches

NUM_SHOWN = 5
"""Of what was skipped, how many a total keeps."""
FILE_ROWS = 4_000_000
"""Rows of a file, where a folder is written of rows that were sorted."""


def finish(plan: BackfillPlan, output: Path, *, is_folder: bool, report: Report = lambda *_: None) -> PartTally:
    """Put the parts together, all of which are there, and remove what was begun.

    ``is_folder``: whether the output is a folder of files.
    """
    asked = plan.asked
    parts = [part_path(asked.folder, index) for index in range(plan.num_parts)]
    if is_folder:
        _write_folder(plan, parts, output, report)
    elif asked.is_sorted:
        schema = _without_rows(plan.schema)
        with row_groups(output, schema, plan.compression, asked.folder) as groups:
            for batch in _in_given_order(plan, parts, report):
                groups.write(batch)
    else:
        join(parts, output, plan.schema, plan.compression, asked.folder)
    total = _total(asked, output)
    shutil.rmtree(asked.folder)
    return total


def skipped_path(output: Path) -> Path:
    """The file that lists what was skipped."""
    return output.with_name(f"{output.name}.skipped.csv")


def _total(asked: Backfill, output: Path) -> PartTally:
    """What all parts came to, with the list of what was skipped written, a part at a time."""
    total = PartTally()
    with (
        whole_file(skipped_path(output), asked.folder) as path,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "row", "reason"])
        for index in range(asked.num_parts):
            tally = read_tally(asked.folder, index)
            total.sequences += tally.sequences
            total.steps += tally.steps
            total.unanswered += tally.unanswered
            total.num_skipped += tally.num_skipped
            total.skipped += tally.skipped[: NUM_SHOWN - len(total.skipped)]
            writer.writerows(tally.skipped)
    if not total.num_skipped:
        skipped_path(output).unlink()
    return total


def _in_given_order(plan: BackfillPlan, parts: Sequence[Path], report: Report) -> Iterator[pa.RecordBatch]:
    files = ColumnFiles(parts)
    num_rows = files.num_rows

    def given() -> Iterator[pa.RecordBatch]:
        for batch in files.batches(plan.schema.names, GROUP_ROWS):
            report("putting rows in their order", len(batch), num_rows)
            yield batch

    with runs_folder(plan.asked.folder) as runs:
        batches = sorted_batches(
            given(), lambda batch: [batch.column(ROW_COLUMN).to_numpy()], runs, plan.asked.memory_bytes
        )
        for batch in batches:
            yield batch.drop_columns([ROW_COLUMN])


def _write_folder(plan: BackfillPlan, parts: Sequence[Path], output: Path, report: Report) -> None:
    """The parts as a folder of files, which is there when all of them are."""
    made = plan.asked.folder / f".{output.name}"
    made.mkdir()
    if plan.asked.is_sorted:
        schema = _without_rows(plan.schema)
        number = 0
        batches = _in_given_order(plan, parts, report)
        batch = next(batches, None)
        while batch is not None:
            held = 0
            with row_groups(part_path(made, number), schema, plan.compression) as groups:
                while batch is not None and held < FILE_ROWS:
                    groups.write(batch)
                    held += len(batch)
                    batch = next(batches, None)
            number += 1
    else:
        for part in parts:
            (made / part.name).hardlink_to(part)
    if not any(made.iterdir()):
        join([], part_path(made, 0), _without_rows(plan.schema), plan.compression)
    if output.is_dir():
        shutil.rmtree(output)
    made.rename(output)


def _without_rows(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != ROW_COLUMN])
