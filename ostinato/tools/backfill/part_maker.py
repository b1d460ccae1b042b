"""The maker of parts: loads the model once, reads a part's rows, runs them, and writes what it answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.loading import load_offline
from ostinato.service.engine.recurrent.many import run_many
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.engine.sequence.runner import SequenceRunner
from ostinato.service.inputs.framing import Framer
from ostinato.tools.backfill.answering import RecurrentAnswers, SequenceAnswers, run_sequences
from ostinato.tools.backfill.asked import Backfill, OnError
from ostinato.tools.backfill.blocks import RowBlock, cut_anywhere, cut_between
from ostinato.tools.backfill.column_files import ColumnFiles
from ostinato.tools.backfill.input_columns import InputColumns
from ostinato.tools.backfill.output_columns import SequenceColumns, StepOutputColumns
from ostinato.tools.backfill.part_files import PartTally, RowGroups, part_path, row_groups, write_tally
from ostinato.tools.backfill.reading import read_sequences_of, read_steps
from ostinato.tools.service_settings import settings_of_the_service

COPIES = 8
"""How often the numbers of a row are in memory at the same time: as columns, rows, a run's, and on their way out."""
ROW_BYTES = 128
"""Of a row beside its numbers: id, time, places."""
MOST_ROWS = 262_144
"""Rows of a block: more would make it no faster."""


class PartMaker:
    """Makes parts of a back-fill, each by itself.

    Raises:
        InputError: the file has not what the model takes.
        ModelRejected: the version does not pass the checks of the service.
    """

    def __init__(self, asked: Backfill) -> None:
        self._asked = asked
        loaded = load_offline(asked.directory, settings_of_the_service())
        self.manifest: Manifest = loaded.manifest
        self._runner = loaded.runner
        self._files = ColumnFiles(asked.files)
        self._columns = InputColumns.find(self._files.schema, self.manifest, asked)
        self._row_bytes = self._files.bytes_per_row(self._columns.names)
        self._written: Any = written_columns(self.manifest, self._columns, self._files.schema, asked)

    def make(self, index: int, report: Callable[[int], None] = lambda _rows: None) -> PartTally:
        """Make a part.

        Args:
            report: called with the number of rows that are done more.

        Raises:
            InputError: a row is none that the model takes, and such are not skipped.
            RunFailed: the graph failed.
        """
        first, end = self._asked.cuts[index : index + 2]
        tally = PartTally()
        with row_groups(part_path(self._asked.folder, index), self._written.schema, self._files.compression) as groups:
            make = self._make_sequences if self._columns.is_wide else self._make_steps
            make(first, end, groups, tally, report)
            write_tally(self._asked.folder, index, tally)
        return tally

    def _make_steps(
        self, first: int, end: int, groups: RowGroups, tally: PartTally, report: Callable[[int], None]
    ) -> None:
        runner = self._runner
        answers = (
            SequenceAnswers(self.manifest, runner)
            if isinstance(runner, SequenceRunner)
            else RecurrentAnswers(self.manifest, runner)
        )
        for block in self._blocks(first, end):
            answered = answers.answer(block, read_steps(block.batch, self.manifest, self._columns))
            for row, reason in answered.wrong:
                self._note(tally, block.batch, row, block.first + row, reason)
            groups.write(self._written.table(block, answered))
            tally.sequences += len(block.bounds) - 1 - block.is_cut
            tally.steps += len(block.batch)
            tally.unanswered += self._unanswered(answered.outputs)
            report(len(block.batch))

    def _blocks(self, first: int, end: int) -> Iterator[RowBlock]:
        columns, most_rows = self._columns, self.block_rows
        if isinstance(self._runner, SequenceRunner):
            # Half of what may be held is what is held already when the next is read.
            batches = self._files.batches(columns.names, max(1, most_rows // 2), first, end)
            return cut_between(batches, columns.id_column, first, most_rows)
        return cut_anywhere(self._files.batches(columns.names, most_rows, first, end), columns.id_column, first)

    @property
    def block_rows(self) -> int:
        """How many rows fit into the memory that may be taken, if each were a sequence."""
        graph = self.manifest.of_graph
        frame = 1 if self.manifest.framing is None else 1 / self.manifest.framing.hop
        numbers = self.manifest.given.dtype.itemsize * self.manifest.given.width
        numbers += math.ceil(frame * graph.given.dtype.itemsize * graph.given.width)
        numbers += graph.made.dtype.itemsize * graph.made.width
        carried = sum(math.prod(state.row_shape) * np.dtype(state.dtype).itemsize for state in graph.carried)
        row_bytes = COPIES * (numbers + self._row_bytes) + 4 * carried + ROW_BYTES
        return int(max(1, min(MOST_ROWS, self._asked.memory_bytes / row_bytes)))

    def _make_sequences(
        self, first: int, end: int, groups: RowGroups, tally: PartTally, report: Callable[[int], None]
    ) -> None:
        most_rows = int(max(1, min(MOST_ROWS, self._asked.memory_bytes / (COPIES * self._row_bytes + ROW_BYTES))))
        batches = self._files.batches(self._columns.names, most_rows, first, end)
        for batch in _in_slices(batches, self._asked.memory_bytes // COPIES):
            read = read_sequences_of(batch, self.manifest, self._columns)
            for row, reason in read.wrong.items():
                self._note(tally, batch, row, first + row, reason)
            outputs = self._run_wide(read.sequences, read.contexts)
            lengths = [len(each) for each in read.sequences]
            is_sound = [row not in read.wrong for row in range(len(batch))]
            groups.write(self._written.table(batch, outputs, lengths, is_sound), np.maximum(1, lengths))
            first += len(batch)
            tally.sequences += len(batch)
            tally.steps += sum(lengths)
            tally.unanswered += sum(map(self._unanswered, outputs))
            report(len(batch))

    def _run_wide(self, sequences: list[NDArray[Any]], contexts: list[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
        runner = self._runner
        if isinstance(runner, SequenceRunner):
            return run_sequences(runner, sequences, list(contexts))
        return _run_recurrent(self.manifest, runner, sequences, contexts)

    def _unanswered(self, outputs: NDArray[Any]) -> int:
        made = self.manifest.made
        found = np.zeros(len(outputs), bool)
        for part, numbers in zip(made.parts, made.flat(outputs), strict=True):
            if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                found |= part.is_unsound(numbers).any(axis=-1)
        return int(found.sum())

    def _note(self, tally: PartTally, batch: pa.RecordBatch, row: int, number: int, reason: str) -> None:
        """A row that the model does not take; its number in what was given, counted from 1."""
        columns = self._columns
        if columns.row_column:
            number = batch.column(columns.row_column)[row].as_py()
        name = str(batch.column(columns.id_column)[row].as_py()) if columns.id_column else ""
        if self._asked.on_error == OnError.STOP:
            whose = f" of {columns.id_column} {name!r}" if columns.id_column else ""
            raise InputError(
                f"row {number + 1}{whose}: {reason}. --on-error skip answers all other sequences, and lists this one"
            )
        tally.num_skipped += 1
        tally.skipped.append((name, number + 1, reason))


def written_columns(
    manifest: Manifest, columns: InputColumns, given: pa.Schema, asked: Backfill
) -> StepOutputColumns | SequenceColumns:
    """What is written of columns that were found.

    Raises:
        InputError: the model's answers do not fit there.
    """
    kind = SequenceColumns if columns.is_wide else StepOutputColumns
    return kind(manifest, columns, given, is_last=asked.is_last)


def _in_slices(batches: Iterator[pa.RecordBatch], most_bytes: int) -> Iterator[pa.RecordBatch]:
    """The same rows, those of a batch that is larger than its rows let expect in several."""
    for batch in batches:
        rows = max(1, int(len(batch) * most_bytes / max(most_bytes, batch.nbytes)))
        yield from (batch.slice(start, rows) for start in range(0, len(batch), rows))


def _run_recurrent(
    manifest: Manifest, runner: Runner, sequences: list[NDArray[Any]], contexts: list[tuple[NDArray[Any], ...]]
) -> list[NDArray[Any]]:
    """Whole sequences of a model with sessions, from its initial states."""
    framer = None if manifest.framing is None else Framer(manifest)
    steps = sequences if framer is None else [framer.whole(each) for each in sequences]
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in steps])]).astype(np.int64)
    initial = runner.initial_states(len(steps))[: len(manifest.states)]
    known = tuple(np.stack(each) for each in zip(*contexts, strict=True))
    outputs, _ = run_many(runner, np.concatenate(steps), bounds, (*initial, *known))
    if not runner.answers_every_step:
        return [outputs[index : index + bool(len(each))] for index, each in enumerate(steps)]
    return [outputs[start:end] for start, end in pairwise(bounds)]
