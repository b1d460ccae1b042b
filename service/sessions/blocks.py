"""A block of rows, one step for each of many sessions in one message, and what became of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import Meter
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.artifact.watch import Watched, WatchEvent
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.offsets import ChunkOffset, RowOffsets
from ostinato.service.state.arena import Arena, Slots

NO_SEQ = -1
"""In a column of ``seq``: the client did not say."""


class RowAnswers:
    """The answers to a message of ``R`` rows, one step of one session each, as they come in.

    Attributes:
        seqs: steps applied before each row, int64 ``[R]``; ``NO_SEQ`` in rows that failed.
        outputs: ``[R, O]``, of the last step; zero in rows that failed, or that completed no frame.
        chunks: row -> all outputs ``[n, O]`` of a chunk that did not run in a block; None = the rows are steps.
        anomaly: of a calibrated model how surprising each row's reading was, float64 ``[R]``, NaN where that is not
            known; else None: of a chunk its last step's. ``events``: row -> what began and ended with it.
        errors: row -> why it failed, and was not applied.
        numbers: of the rows' steps by their times, int64 ``[R]``, ``NO_TIME`` where the client did not say; None where
            it said none.
        filled: how many steps were filled in before each row, int64 ``[R]``.
        future: done when every row has its answer.
        found_at: see ``LiveSession``.
        meter: has counted the rows of blocks, and takes back those that are not applied; None = nobody counts.
    """

    meter: Meter | None = None
    numbers: Slots | None = None

    def __init__(self, num_rows: int, engine: Engine, future: asyncio.Future[None], *, of_chunks: bool = False) -> None:
        self.seqs = np.full(num_rows, NO_SEQ, np.int64)
        self.outputs = engine.made.zeros(num_rows)
        self.chunks: dict[int, NDArray[Any]] | None = {} if of_chunks else None
        self.anomaly = None if engine.watch is None else np.full(num_rows, np.nan)
        self.events: dict[int, list[WatchEvent]] = {}
        self._of_chunks: dict[int, NDArray[np.float64]] = {}
        self.errors: dict[int, BaseException] = {}
        self.filled = np.zeros(num_rows, np.int64)
        self.future = future
        self.found_at = math.inf
        self._num_open = num_rows

    def put(self, rows: Slots, seqs: Any, outputs: NDArray[Any], watched: Watched | None = None) -> None:
        """Take in the answers of ``rows``: seqs ``[R]``, outputs ``[R, O]``, or none of any; and what readings came
        to.
        """
        self.seqs[rows] = seqs
        if watched is not None and self.anomaly is not None:
            self.anomaly[rows] = watched.anomaly[:, -1]
            for index in watched.events:
                row = int(rows[index])
                self.events[row] = watched.events_of(index, int(self.seqs[row]))
        if len(outputs):  # a step that completes no frame has none
            self.outputs[rows] = outputs
        self._settle(len(rows))

    def put_chunk(self, row: int, answer: StepAnswer) -> None:
        """Take in the answer of a row that went its own way."""
        self.filled[row] = 0 if answer.times is None else answer.times.filled
        if self.chunks is not None:
            self.chunks[row] = answer.outputs
            if answer.watched is not None:
                self._of_chunks[row] = answer.watched.anomaly[0, -len(answer.outputs) :]
        self.put(np.array([row]), answer.seq, answer.outputs[-1:], answer.watched)

    def chunk(self, row: int, made: RowLayout[Output]) -> NDArray[Any]:
        """All outputs of a row that did not fail, ``[n, O]``."""
        assert self.chunks is not None
        if row in self.chunks:
            return self.chunks[row]
        has_answer = not made.framing or bool(made.has_answer(self.seqs[row : row + 1])[0])
        return self.outputs[row : row + has_answer]

    def anomalies(self, row: int) -> NDArray[np.float64]:
        """How surprising each step of a row that did not fail was, ``[n]``, of a calibrated model."""
        assert self.anomaly is not None
        return self._of_chunks[row] if row in self._of_chunks else self.anomaly[row : row + 1]

    def fail(self, rows: Sequence[int], error: BaseException) -> None:
        """Take in that ``rows`` were not applied."""
        for row in rows:
            self.errors[row] = error
        self._settle(len(rows))

    def _settle(self, num_rows: int) -> None:
        self._num_open -= num_rows
        if not self._num_open and not self.future.done():
            self.future.set_result(None)


def blocks_of(
    engine: Engine,
    slots: Slots,
    inputs: NDArray[Any],
    answers: RowAnswers,
    rows: Slots,
    seqs: Slots | None,
    offsets: RowOffsets | None,
) -> Iterator[Block]:
    """Blocks of the ``rows`` of a message that are ready, whose ``slots`` and ``inputs`` these are: as large as a run
    may be, and with framing of rows that all complete a frame, or none. ``seqs`` and ``offsets`` are of all rows.
    """
    parts: Iterable[Any]
    if engine.framed is None:
        size = engine.max_batch_size
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    else:
        parts = engine.framed.blocks(slots)
    for part in parts:
        given = None if seqs is None else seqs[rows[part]]
        placed = None if offsets is None else offsets.at(rows[part])
        block = Block(engine, engine.arena, slots[part], inputs[part], answers, rows[part], given, placed)
        block.is_timed = answers.numbers is not None
        yield block


class Block(Work):
    """One step for each of many sessions of one engine, none of which is in it twice.

    Args:
        slots: int64 ``[R]``.
        inputs: ``[R, F]``.
        answers: where the message's answers are gathered.
        rows: which rows of the message these are, int64 ``[R]``.
        seqs: what its client believes, int64 ``[R]``, ``NO_SEQ`` where it says nothing; None = nowhere.
        offsets: where the rows are in their sources; None = it says nothing of any. Kept as an attribute.

    Attributes:
        is_timed: whether its client said times, each that of its session's next step as far as this copy tells.
    """

    is_second_run = is_timed = False
    watched: Watched | None = None

    def __init__(
        self,
        engine: Engine,
        arena: Arena,
        slots: Slots,
        inputs: NDArray[Any],
        answers: RowAnswers,
        rows: Slots,
        seqs: Slots | None = None,
        offsets: RowOffsets | None = None,
    ) -> None:
        super().__init__(slots, inputs, num_rows=len(slots), num_steps=1, future=answers.future)  # type: ignore[arg-type]
        self.engine = engine
        self.arena = arena
        self._answers = answers
        self._rows = rows
        self._seqs = seqs
        self.offsets = offsets

    @property
    def answered(self) -> NDArray[Any]:
        """The outputs that are answered."""
        return self.outputs  # type: ignore[no-any-return]

    @property
    def seq(self) -> int | None:
        """What the client believes of the one row that this is."""
        assert self.num_rows == 1
        return None if self._seqs is None or self._seqs[0] == NO_SEQ else int(self._seqs[0])

    @property
    def offset(self) -> ChunkOffset | None:
        """Where the one row that this is is in its source; None: it is not said."""
        assert self.num_rows == 1
        return None if self.offsets is None else self.offsets.row(0)

    @property
    def found_at(self) -> float:
        """See ``LiveSession``."""
        return self._answers.found_at

    def answer(self, seqs: Any) -> None:
        """Its rows are committed; ``seqs`` steps were applied before each."""
        self._answers.put(self._rows, seqs, self.outputs, self.watched)

    def fail(self, error: BaseException) -> None:
        """None of its rows was applied."""
        if self._answers.meter is not None:
            self._answers.meter.count_failed(self.num_rows, error)
        self._answers.fail(self._rows.tolist(), error)

    def split(self) -> Iterator[Block]:
        """Its rows as blocks of their own, so that one that fails fails alone."""
        for row in range(self.num_rows):
            at = slice(row, row + 1)
            seqs = None if self._seqs is None else self._seqs[at]
            offsets = None if self.offsets is None else self.offsets.at(at)
            slots: Slots = self.slots[at]  # type: ignore[assignment]
            part = Block(self.engine, self.arena, slots, self.inputs[at], self._answers, self._rows[at], seqs, offsets)
            part.is_timed = self.is_timed
            if self.outputs is not None:
                part.outputs = self.outputs[at]
            if self.watched is not None:
                part.watched = self.watched.of(at)
            yield part
