"""Answering of blocks: each sequence's numbers are those of its offline run, however the rows were cut into blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.many import run_many
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.engine.sequence.batching import SequenceLine, SequenceWork
from ostinato.service.engine.sequence.runner import SequenceRunner
from ostinato.service.inputs.framing import Framer, LeftOver
from ostinato.service.state.arena import Rows
from ostinato.tools.backfill.blocks import RowBlock
from ostinato.tools.backfill.reading import ReadSteps, first_wrong


@dataclass(frozen=True)
class AnsweredBlock:
    """What the model answered to a block.

    Attributes:
        rows: of each answer, the row of the block that it is in; ascending.
        outputs: rows ``[len(rows), width]`` of the manifest's ``made``.
        steps: of each row of the block, its number in its sequence, counted from 1.
        is_answered: bool ``[n]`` of the block's rows.
        wrong: (row, reason) of the first row of each sequence that the model does not take.
    """

    rows: NDArray[np.int64]
    outputs: NDArray[Any]
    steps: NDArray[np.int64]
    is_answered: NDArray[np.bool_]
    wrong: list[tuple[int, str]]


@dataclass
class _Carried:
    """What a sequence that goes on in the next block carries.

    Attributes:
        steps: that came before.
        states: arrays ``[1, ...]``, its context among them.
        left_over: of frames, see ``Framer``.
        has_failed: whether one of its rows was wrong, so that no later one is answered.
    """

    steps: int
    states: Rows
    left_over: LeftOver
    has_failed: bool


class RecurrentAnswers:
    """Answers of a model with sessions, block by block.

    Args:
        manifest: with its framing.
    """

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self._manifest, self._runner = manifest, runner
        self._framer = None if manifest.framing is None else Framer(manifest)
        self._carried: _Carried | None = None

    def answer(self, block: RowBlock, read: ReadSteps) -> AnsweredBlock:
        """The answers to a block; blocks come in their order.

        Raises:
            RunFailed: the graph failed.
        """
        bounds, lengths = block.bounds, np.diff(block.bounds)
        before = self._carried if block.goes_on else None
        begun = np.zeros(len(lengths), np.int64)
        states = [np.array(each) for each in self._runner.initial_states(len(lengths))]
        if before is not None:
            begun[0] = before.steps
            for rows, kept in zip(states, before.states, strict=True):
                rows[0] = kept[0]
        doubtful = read.doubtful.copy()
        reasons: dict[int, str] = {}
        self._put_contexts(block, read, states, doubtful, reasons)
        wrong = list(first_wrong(bounds, doubtful, lambda row: read.judge(row) or reasons.get(row, "")))
        ends = bounds[1:].copy()
        for index, row, _ in wrong:
            ends[index] = row
        if before is not None and before.has_failed:
            wrong = [each for each in wrong if each[0]]
            ends[0] = bounds[0]
        kept = _rows_before(bounds[:-1], ends)
        kept_bounds = np.concatenate([[0], np.cumsum(ends - bounds[:-1])])
        inputs = read.inputs if len(kept) == len(read.inputs) else read.inputs[kept]
        rows, outputs, behind, left_over = self._run(inputs, kept, kept_bounds, begun, tuple(states), before)
        steps = np.arange(1, len(read.inputs) + 1) - np.repeat(bounds[:-1] - begun, lengths)
        is_answered = np.zeros(len(read.inputs), bool)
        is_answered[rows] = True
        if block.is_cut:
            has_failed = bool(ends[-1] < bounds[-1])
            last = tuple(each[-1:].copy() for each in behind)
            self._carried = _Carried(int(steps[-1]), last, left_over, has_failed)
        return AnsweredBlock(rows, outputs, steps, is_answered, [(row, reason) for _, row, reason in wrong])

    def _put_contexts(
        self,
        block: RowBlock,
        read: ReadSteps,
        states: list[NDArray[Any]],
        doubtful: NDArray[np.bool_],
        reasons: dict[int, str],
    ) -> None:
        """Put the context of each sequence, that of its first row, among what is carried; and mark rows where another
        stands.
        """
        firsts, lengths = block.bounds[:-1], np.diff(block.bounds)
        for place, (part, given) in enumerate(zip(self._manifest.context, read.context, strict=True)):
            own = states[len(self._manifest.states) + place].reshape(len(lengths), part.num_features)
            own[block.goes_on :] = given[firsts[block.goes_on :]]
            wanted = np.repeat(own, lengths, axis=0)
            mark_changes(part.features, given, wanted, doubtful, reasons)

    def _run(
        self,
        inputs: NDArray[Any],
        kept: NDArray[np.int64],
        bounds: NDArray[np.int64],
        begun: NDArray[np.int64],
        states: Rows,
        before: _Carried | None,
    ) -> tuple[NDArray[np.int64], NDArray[Any], Rows, LeftOver]:
        """Run rows of ``kept`` places; returns the places of the answers, these, the states, and what the last sequence
        leaves over.
        """
        if self._framer is None:
            outputs, behind = run_many(self._runner, inputs, bounds, states)
            if self._runner.answers_every_step:
                return kept, outputs, behind, ()
            has_steps = np.diff(bounds) > 0
            return kept[bounds[1:][has_steps] - 1], outputs[has_steps], behind, ()
        frames, places, left_over = self._frames(inputs, kept, bounds, begun, before)
        frame_bounds = np.concatenate([[0], np.cumsum([len(each) for each in frames])]).astype(np.int64)
        outputs, behind = run_many(self._runner, np.concatenate(frames), frame_bounds, states)
        return np.concatenate(places), outputs, behind, left_over

    def _frames(
        self,
        inputs: NDArray[Any],
        kept: NDArray[np.int64],
        bounds: NDArray[np.int64],
        begun: NDArray[np.int64],
        before: _Carried | None,
    ) -> tuple[list[NDArray[Any]], list[NDArray[np.int64]], LeftOver]:
        """The frames that each sequence completes, and the places of the rows that complete them."""
        framer = self._framer
        assert framer is not None
        frames, places = [], []
        left_over: LeftOver = ()
        for index, (start, end) in enumerate(pairwise(bounds.tolist())):
            steps = int(begun[index])
            left_over = before.left_over if before is not None and not index else ()
            made, left_over = framer.frames(inputs[start:end], left_over, steps)
            first = framer.framing.count(steps)
            last_steps = [framer.framing.end(number) - steps for number in range(first, first + len(made))]
            frames.append(made)
            places.append(kept[start + np.array(last_steps, np.int64) - 1] if last_steps else kept[:0])
        return frames, places, left_over


def _rows_before(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows from each start to its end, behind each other."""
    lengths = ends - starts
    offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return np.asarray(np.arange(int(lengths.sum())) + offsets)


class _Wanted:
    """Whoever waits for a sequence, which is always somebody."""

    def cancelled(self) -> bool:
        """Whether nobody does."""
        return False


def run_sequences(runner: SequenceRunner, sequences: list[NDArray[Any]], contexts: list[Rows]) -> list[NDArray[Any]]:
    """Whole sequences in the company in which the service runs them: rows ``[n, width]`` of each.

    Raises:
        RunFailed: the graph failed.
    """
    line = SequenceLine(runner.company, max_batch_size=runner.max_batch_size)
    works = [SequenceWork(rows, context, _Wanted()) for rows, context in zip(sequences, contexts, strict=True)]
    places = {id(work): place for place, work in enumerate(works)}
    made: list[NDArray[Any]] = [runner.manifest.made.zeros(0)] * len(works)
    for work in works:
        if work.num_steps:
            line.append(work)
    while len(line):
        run, _ = line.next_run()
        assert run is not None
        given = [work.rows for work in run.works]
        answers = runner.run(given, [tuple(work.context) for work in run.works], run.num_steps)
        for work, rows in zip(run.works, answers, strict=True):
            made[places[id(work)]] = rows
    return made


class SequenceAnswers:
    """Answers of a model of whole sequences, of blocks that cut none."""

    def __init__(self, manifest: Manifest, runner: SequenceRunner) -> None:
        self._manifest, self._runner = manifest, runner

    def answer(self, block: RowBlock, read: ReadSteps) -> AnsweredBlock:
        """The answers to a block.

        Raises:
            RunFailed: the graph failed.
        """
        bounds, lengths = block.bounds, np.diff(block.bounds)
        reasons: dict[int, str] = {}
        doubtful = read.doubtful.copy()
        contexts = self._contexts(block, read, doubtful, reasons)
        wrong = list(first_wrong(bounds, doubtful, lambda row: read.judge(row) or reasons.get(row, "")))
        is_sound = np.ones(len(lengths), bool)
        is_sound[[index for index, _, _ in wrong]] = False
        sequences = [
            read.inputs[start : end if sound else start]
            for start, end, sound in zip(bounds[:-1], bounds[1:], is_sound, strict=True)
        ]
        made = run_sequences(self._runner, sequences, contexts)
        every_step = any(part.time_axis is not None for part in self._manifest.outputs)
        starts = bounds[:-1] if every_step else bounds[1:] - 1
        rows = _rows_before(starts[is_sound], bounds[1:][is_sound])
        is_answered = np.zeros(len(read.inputs), bool)
        is_answered[rows] = True
        steps = np.arange(1, len(read.inputs) + 1) - np.repeat(bounds[:-1], lengths)
        return AnsweredBlock(
            rows, np.concatenate(made), steps, is_answered, [(row, reason) for _, row, reason in wrong]
        )

    def _contexts(
        self, block: RowBlock, read: ReadSteps, doubtful: NDArray[np.bool_], reasons: dict[int, str]
    ) -> list[Rows]:
        firsts, lengths = block.bounds[:-1], np.diff(block.bounds)
        columns = []
        for part, given in zip(self._manifest.context, read.context, strict=True):
            own = given[firsts]
            mark_changes(part.features, given, np.repeat(own, lengths, axis=0), doubtful, reasons)
            columns.append(own.reshape(len(own), *part.row_shape))
        return [tuple(column[index] for column in columns) for index in range(len(lengths))]


def mark_changes(
    names: tuple[str, ...],
    given: NDArray[Any],
    wanted: NDArray[Any],
    doubtful: NDArray[np.bool_],
    reasons: dict[int, str],
) -> None:
    """Mark the rows ``[n, F]`` of a context that are others than is wanted."""
    is_other = ~((given == wanted) | ((given != given) & (wanted != wanted)))
    for row in np.flatnonzero(is_other.any(axis=1)).tolist():
        name = names[int(np.argmax(is_other[row]))]
        doubtful[row] = True
        reasons.setdefault(row, f"context {name!r} is another than in the sequence's first row")
