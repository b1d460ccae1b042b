"""A block of rows, one step for each of many sessions in one message, and what became of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.state.arena import Arena, Slots

NO_SEQ = -1
"""In a column of ``seq``: the client did not say."""


class RowAnswers:
    """The answers to a message of ``R`` rows, one step of one session each, as they come in.

    Attributes:
        seqs: steps applied before each row, int64 ``[R]``; ``NO_SEQ`` in rows that failed.
        outputs: ``[R, O]``; zero in rows that failed, or that completed no frame.
        errors: row -> why it failed, and was not applied.
        future: done when every row has its answer.
        found_at: see ``LiveSession``.
    """

    def __init__(self, num_rows: int, engine: Engine, future: asyncio.Future[None]) -> None:
        self.seqs = np.full(num_rows, NO_SEQ, np.int64)
        self.outputs = engine.made.zeros(num_rows)
        self.errors: dict[int, BaseException] = {}
        self.future = future
        self.found_at = math.inf
        self._num_open = num_rows

    def put(self, rows: Slots, seqs: Any, outputs: NDArray[Any]) -> None:
        """Take in the answers of ``rows``: seqs ``[R]``, outputs ``[R, O]``, or none of any."""
        self.seqs[rows] = seqs
        if len(outputs):  # a step that completes no frame has none
            self.outputs[rows] = outputs
        self._settle(len(rows))

    def fail(self, rows: Sequence[int], error: BaseException) -> None:
        """Take in that ``rows`` were not applied."""
        for row in rows:
            self.errors[row] = error
        self._settle(len(rows))

    def _settle(self, num_rows: int) -> None:
        self._num_open -= num_rows
        if not self._num_open and not self.future.done():
            self.future.set_result(None)


class Block(Work):
    """One step for each of many sessions of one engine, none of which is in it twice.

    Args:
        slots: int64 ``[R]``.
        inputs: ``[R, F]``.
        answers: where the message's answers are gathered.
        rows: which rows of the message these are, int64 ``[R]``.
        seqs: what its client believes, int64 ``[R]``, ``NO_SEQ`` where it says nothing; None = nowhere.
    """

    is_second_run = False

    def __init__(
        self,
        engine: Engine,
        arena: Arena,
        slots: Slots,
        inputs: NDArray[Any],
        answers: RowAnswers,
        rows: Slots,
        seqs: Slots | None = None,
    ) -> None:
        super().__init__(slots, inputs, num_rows=len(slots), num_steps=1, future=answers.future)  # type: ignore[arg-type]
        self.engine = engine
        self.arena = arena
        self._answers = answers
        self._rows = rows
        self._seqs = seqs

    @property
    def seq(self) -> int | None:
        """What the client believes of the one row that this is."""
        assert self.num_rows == 1
        return None if self._seqs is None or self._seqs[0] == NO_SEQ else int(self._seqs[0])

    @property
    def found_at(self) -> float:
        """See ``LiveSession``."""
        return self._answers.found_at

    def answer(self, seqs: Any) -> None:
        """Its rows are committed; ``seqs`` steps were applied before each."""
        self._answers.put(self._rows, seqs, self.outputs)

    def fail(self, error: BaseException) -> None:
        """None of its rows was applied."""
        self._answers.fail(self._rows.tolist(), error)

    def split(self) -> Iterator[Block]:
        """Its rows as blocks of their own, so that one that fails fails alone."""
        for row in range(self.num_rows):
            at = slice(row, row + 1)
            seqs = None if self._seqs is None else self._seqs[at]
            slots: Slots = self.slots[at]  # type: ignore[assignment]
            part = Block(self.engine, self.arena, slots, self.inputs[at], self._answers, self._rows[at], seqs)
            if self.outputs is not None:
                part.outputs = self.outputs[at]
            yield part
