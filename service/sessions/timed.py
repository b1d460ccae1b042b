"""Timed chunks: chunks whose client says when their steps were, in place of how many steps came before.

Which steps are filled in before a chunk follows from its session's last step, so it is made again whenever it is
judged. A session has the number of its last step, and of the one before the chunk applied last: from there that chunk,
sent again, is what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import CopyOutdated, InvalidInput, OstinatoError, TimeConflict
from ostinato.service.inputs.timed_rows import Placed, TimedRows
from ostinato.service.sessions.chunk import Chunk, StepAnswer, TimesTold, Waiter
from ostinato.service.sessions.offsets import ChunkOffset
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.watching import watch_again
from ostinato.service.state.arena import Arena
from ostinato.service.state.checksums import checksums

if TYPE_CHECKING:
    from ostinato.service.sessions.blocks import Block


class TimedChunk(Chunk):
    """A chunk with times, which ``place`` puts behind its session's last step.

    Attributes:
        number: of its last step.
    """

    is_timed = True

    def __init__(self, session: LiveSession, given: TimedRows, future: Waiter) -> None:
        super().__init__(session, given.rows, None, future)
        self._given = given
        self._placed = Placed(given.rows, None)
        self.number = int(given.numbers[-1])

    @property
    def answered(self) -> NDArray[Any]:
        """The outputs of the steps that were sent, ``[n, O]``; or the one of the whole run."""
        outputs: NDArray[Any] = self.outputs
        positions = self._placed.positions
        return outputs if positions is None or len(outputs) < self.num_steps else outputs[positions]

    @property
    def mark(self) -> int:
        """What tells it from another chunk of the same rows, of which others were sent; 0 where all were."""
        positions = self._placed.positions
        return 0 if positions is None else int(checksums(positions[None])[0])

    def place(self, last: int) -> None:
        """Fill in what is missing behind the step of number ``last``; raises as ``TimedRows.placed``."""
        self._put(self._given.placed(last, self.engine.max_chunk_steps))

    def is_last_of(self, arena: Arena, slot: int) -> bool:
        """Whether it is the chunk that its session applied last; it is placed as that was, then."""
        last, before = arena.times[slot].tolist()  # type: ignore[index]
        num_steps = int(arena.steps[slot] - arena.last_seq[slot])
        if self.number != last or not arena.steps[slot]:
            return False
        try:
            placed = self._given.placed(before, self.engine.max_chunk_steps)
        except TimeConflict:
            return False
        if len(placed.rows) != num_steps:
            return False
        self._put(placed)
        digest = checksums(placed.rows.reshape(1, -1))[0] ^ self.mark
        return bool(digest == arena.last_digest[slot])

    def answer(self, seq: Any) -> None:
        """It is committed; ``seq`` steps were applied before it, and before what was filled in."""
        if not self.future.done():
            told = TimesTold(self._given.texts(), self._placed.num_filled)
            watched = None if self.watched is None else self.watched.at_steps(self._placed.positions)
            steps, made = seq + self.num_steps, self.engine.made
            self.give(StepAnswer(self.session.session_id, seq, steps, self.answered, made, told, watched))

    def _put(self, placed: Placed) -> None:
        if self.meter is not None:  # what is filled in is run for its client, too
            self.meter.count(len(placed.rows) - self.num_steps)
        self._placed, self.inputs, self.num_steps = placed, placed.rows, len(placed.rows)


def chunk_of(
    session: LiveSession, inputs: Any, seq: int | None, future: Waiter, offset: ChunkOffset | None = None
) -> Chunk:
    """A session's chunk of what the ledger is given for it."""
    if type(inputs) is TimedRows:
        return TimedChunk(session, inputs, future)
    return Chunk(session, inputs, seq, future, offset)


def fits(part: Chunk | Block) -> bool:
    """Whether one row goes on from its session's last step, as far as this copy tells; it is placed there, then."""
    try:
        place(part)
    except OstinatoError:
        return False
    return True


def place(part: Chunk | Block) -> None:
    """Put one row behind its session's last step.

    Raises:
        TimeConflict: it does not continue from there.
        InvalidInput: it has no time, of an irregular series whose last step has one.
        CopyOutdated: it is one of a block, and was for another step: it is to be judged by itself.
    """
    last = last_number(part.arena, part.slots[0])
    if isinstance(part, TimedChunk):
        part.place(last)
    elif part.is_timed:
        raise CopyOutdated("another step came before it")
    elif last != NO_TIME and part.engine.is_irregular:
        raise InvalidInput(
            "the series is irregular, and the session's steps have times: without one nobody knows how long after the "
            "last step it is; send at",
            field="at",
        )


def answer_again_or_fail(part: Chunk | Block, error: OstinatoError) -> None:
    """Answer one row that cannot be placed: as before, where it was applied last; else with the error."""
    arena, slot, metrics = part.arena, part.slots[0], part.engine.metrics
    if isinstance(part, TimedChunk) and part.is_last_of(arena, slot):
        metrics.duplicates.inc()
        part.outputs = part.engine.last_answer(slot)
        watch_again(part)
        part.answer(int(arena.last_seq[slot]))
        return
    if isinstance(error, TimeConflict):
        metrics.seq_conflicts.inc()
    part.fail(error)


def are_next(engine: Engine, last: NDArray[np.int64], numbers: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Which rows of a message may run as they are, bool ``[R]``: those that are their session's next step, and those
    without a time, where the next step's follows from the last.

    Args:
        last: the numbers of the sessions' last steps. numbers: of the rows; None = none has a time.
    """
    ready: NDArray[np.bool_] = np.full(len(last), True) if numbers is None else numbers == NO_TIME
    if engine.is_irregular:
        ready &= last == NO_TIME
    elif numbers is not None:
        ready |= (numbers == last + 1) & (last != NO_TIME)
    return ready


def last_number(arena: Arena, slot: int) -> int:
    """The number of a session's last step; ``NO_TIME`` where that is not known."""
    return NO_TIME if arena.times is None else int(arena.times[slot, 0])


def times_after(
    before: NDArray[np.int64], num_steps: NDArray[np.int64], works: Sequence[Chunk | Block]
) -> NDArray[np.int64]:
    """The times of sessions with these works applied, ``[R, 2]``. A step without a time is the next one.

    Args:
        before: the numbers of their last steps. num_steps: how many steps are applied.
    """
    after = np.where(before == NO_TIME, NO_TIME, before + num_steps)
    row = 0
    for work in works:
        if isinstance(work, TimedChunk):
            after[row] = work.number
        row += work.num_rows
    return np.stack([after, before], axis=1)


def marked(digests: NDArray[np.int64], works: Sequence[Chunk | Block]) -> NDArray[np.int64]:
    """The checksums of chunks, each with its ``mark``."""
    row = 0
    for work in works:
        if isinstance(work, TimedChunk) and (mark := work.mark):
            digests[row] ^= mark
        row += work.num_rows
    return digests
