"""The ledger: what is applied to sessions, judged by its ``seq`` when its turn comes, run, committed, answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.protocols import Finished
from ostinato.service.errors import CopyOutdated, OstinatoError, RunFailed, SeqConflict, StateStoreUnavailable
from ostinato.service.sessions.blocks import NO_SEQ, Block, RowAnswers
from ostinato.service.sessions.chunk import Chunk, StepAnswer
from ostinato.service.sessions.commits import commit_of, digests_of
from ostinato.service.sessions.session import LiveSession, replaced_error
from ostinato.service.sessions.turns import Turn, Turns
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Address, Commit, Store
from ostinato.service.state.endings import session_error

_UNKNOWN = (
    "the connection to the store was lost before it answered, and another change of the session has followed since; "
    "this one may have been applied before that; with seq, sending it again finds out"
)


class Ledger:
    """Applies chunks to sessions, in order and once. The engines' work comes back here: see ``Owner``.

    Args:
        turns: the order of each session's requests.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        turns: Turns,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._turns = turns
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def step(
        self, session: LiveSession, inputs: NDArray[Any] | bytes, seq: int | None = None, future: Any = None
    ) -> asyncio.Future[StepAnswer]:
        """Apply a chunk when the session's earlier requests are done; its answer, to be awaited, is committed.

        A caller that cancels the future before the chunk's turn has come takes the chunk back.

        Args:
            inputs: ``[n, F]``, in the dtype of the model's input, n at most the engine's ``max_chunk_steps``; or the
                bytes of one step.
            seq: steps that the caller believes were applied before; None applies the chunk as it comes.
            future: a ``Waiter`` of the caller's own, which gets the answer in place of a future, and is returned.

        Raises:
            Overloaded, Draining: refused before anything was queued.
            CopyOutdated: it ended before, or (by the future) before the chunk's turn came, as far as this copy tells.
            SessionClosed: by the future: it ended, and another was opened in its place since.
            SeqConflict: by the future: ``seq`` is neither the session's step count nor that of the chunk applied last.
            RunFailed: by the future: the graph failed; the session is as it was.
        """
        engine, arena, slot = session.engine, session.arena, session.slot
        engine.admit(1)
        if session.has_ended:  # perhaps since: work that was under way may have been finished first
            engine.leave(1)
            raise CopyOutdated(f"session {session.session_id!r} ended; open a new one")
        if future is None:
            future = engine.new_future()
        chunk = Chunk(session, inputs, seq, future)
        busy = arena.busy
        if busy[slot]:
            self._turns.wait(arena, slot, Turn(future, partial(self._begin_later, chunk, arena.opened_at[slot])))
        else:
            busy[slot] = self._begin(chunk)
        return cast("asyncio.Future[StepAnswer]", future)

    def step_ready(
        self, engine: Engine, slots: Slots, inputs: NDArray[Any], seqs: Slots | None, answers: RowAnswers
    ) -> list[int]:
        """Begin at once all rows that can, as blocks; returns the other rows, which need a look of their own.

        A row can where its session is in memory, is free, and has applied ``seq`` steps. All rows have been admitted.

        Args:
            slots: int64 ``[R]``, -1 where the session is not in memory, or the row is not to be begun.
            inputs: ``[R, F]``, contiguous, in the dtype of the model's input.
            seqs: int64 ``[R]``, ``NO_SEQ`` where the client did not say; None where it said nothing of any row.
        """
        arena = engine.arena
        answers.found_at = self._clock()
        ready = (slots >= 0) & ~arena.busy[slots]
        if seqs is not None:
            ready &= (seqs == arena.steps[slots]) | (seqs == NO_SEQ)
        rows = ready.nonzero()[0]
        if len(rows) < len(slots):
            slots, inputs = slots[rows], inputs[rows]
        arena.busy[slots] = True
        parts: Iterable[Any]
        if engine.framed is None:
            size = engine.max_batch_size
            parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        else:
            parts = engine.framed.blocks(slots)
        for part in parts:
            given = None if seqs is None else seqs[rows[part]]
            engine.submit(Block(engine, arena, slots[part], inputs[part], answers, rows[part], given))
        return [] if len(rows) == len(ready) else (~ready).nonzero()[0].tolist()

    def commit(self, finished: Finished) -> None:
        """See ``Owner.commit``: an answer leaves after its commit."""
        works = cast(list[Chunk | Block], finished.works)
        engine = works[0].engine
        began_at = time.perf_counter()
        try:
            commit = commit_of(works[0].arena, finished)
            committed = self._store.commit(commit, self._clock())
        except Exception as error:
            self._commit_failed(works, error)
            return
        if isinstance(committed, np.ndarray):
            engine.metrics.commit_seconds.observe(time.perf_counter() - began_at)
            self._answer(works, commit, committed)
        else:
            waiting = asyncio.ensure_future(committed)
            waiting.add_done_callback(lambda done: self._committed(works, commit, done, began_at))

    def hand_back(self, works: list[Work]) -> None:
        """See ``Owner.hand_back``: the sessions are as they were."""
        for work in cast(list[Chunk | Block], works):
            assert work.error is not None
            if isinstance(work, Block) and work.num_rows > 1 and isinstance(work.error, RunFailed):
                for part in work.split():
                    work.engine.submit(part)
            elif isinstance(work.error, RunFailed) and self._store.is_shared and not work.is_second_run:
                # The copy that it began from may have been an old one.
                work.is_second_run = True
                self._judge_anew(work)
            else:
                self._fail(work, work.error)

    def _committed(
        self, works: list[Chunk | Block], commit: Commit, done: asyncio.Future[Any], began_at: float
    ) -> None:
        works[0].engine.metrics.commit_seconds.observe(time.perf_counter() - began_at)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._answer(works, commit, done.result())
        else:
            self._commit_failed(works, error)

    def _commit_failed(self, works: list[Chunk | Block], error: BaseException) -> None:
        if isinstance(error, StateStoreUnavailable):
            unavailable = error
        else:
            unavailable = StateStoreUnavailable("the store did not commit; with seq it is safe to send it again")
            unavailable.__cause__ = error
        for work in works:
            self._fail(work, unavailable)

    def _answer(self, works: list[Chunk | Block], commit: Commit, won: NDArray[np.bool_]) -> None:
        """Answer everyone, and let the next requests of their sessions have their turns."""
        if np.count_nonzero(won) < len(won):
            self._answer_each(works, commit, won)
            return
        if len(works) == len(won):
            for work, seq in zip(works, commit.steps_before.tolist(), strict=True):
                work.answer(seq)
        else:
            end = 0
            for work in works:
                start, end = end, end + work.num_rows
                seqs = commit.steps_before[start:end]
                work.answer(int(seqs[0]) if work.num_rows == 1 else seqs)
        self._turns.end_all(commit.arena, commit.slots)
        works[0].engine.leave(len(commit.slots))

    def _answer_each(self, works: list[Chunk | Block], commit: Commit, won: NDArray[np.bool_]) -> None:
        """``_answer`` row by row, where another worker or replica was before some: those are judged again."""
        unknown = np.zeros(len(won), np.bool_) if commit.unknown is None else commit.unknown
        facts = zip(commit.steps_before.tolist(), won.tolist(), unknown.tolist(), strict=True)
        for work in works:
            parts: Iterator[Chunk | Block] = work.split()
            for part, (seq, has_won, is_unknown) in zip(parts, facts, strict=False):
                if has_won:
                    part.answer(seq)
                    self._end(part)
                elif is_unknown:
                    self._fail(part, StateStoreUnavailable(_UNKNOWN))
                else:
                    part.engine.metrics.commit_conflicts.inc()
                    self._judge_anew(part)

    def _judge_anew(self, part: Chunk | Block) -> None:
        part.begin_anew()
        if not self._bring_up_to_date(part):
            self._end_turn(part.arena, part.slots[0])

    def _fail(self, work: Chunk | Block, error: Exception) -> None:
        work.fail(error)
        self._end(work)

    def _end(self, work: Chunk | Block) -> None:
        work.engine.leave(work.num_rows)
        if work.arena.unborn:
            for slot in np.asarray(work.slots).tolist():
                self._end_turn(work.arena, slot)
        else:
            self._turns.end_all(work.arena, np.asarray(work.slots))

    def _end_turn(self, arena: Arena, slot: int) -> None:
        """End the turn in a slot; a session that was to be opened by its first commit is not there without one."""
        session_id = arena.session_ids[slot]
        if slot not in arena.unborn or session_id is None:
            self._turns.end(arena, slot)
            return
        self._store.abandon(session_id, Address(arena, slot))
        self._turns.refuse_rest(arena, slot, session_error(session_id, CopyOutdated))

    def _begin_later(self, chunk: Chunk, opened_at: float) -> bool:
        """``_begin``, for one that has waited: its session may be another by now, opened since."""
        session = chunk.session
        if session.arena.opened_at[session.slot] != opened_at and not chunk.future.done():
            try:
                session.check_is_meant(session.arena.opened_at[session.slot])
            except OstinatoError as error:
                chunk.fail(error)
        return self._begin(chunk)

    def _begin(self, chunk: Chunk) -> bool:
        """Judge a chunk by its ``seq`` now that its turn has come; True when it keeps its session busy."""
        session, engine, future = chunk.session, chunk.engine, chunk.future
        if future.done():
            if future.cancelled():
                engine.metrics.cancelled.inc()
            engine.leave(1)
            return False
        if chunk.seq is None or chunk.seq == int(session.arena.steps[session.slot]):
            # If the copy in memory is old, the commit finds out.
            engine.submit(chunk)
            return True
        return self._bring_up_to_date(chunk)

    def _bring_up_to_date(self, part: Chunk | Block) -> bool:
        """Judge one row by its ``seq`` with its session as the store has it; True when it keeps its session busy."""
        arena, slot = part.arena, part.slots[0]
        session_id, opened_at = arena.session_ids[slot], float(arena.opened_at[slot])
        assert session_id is not None
        try:
            waiting = self._store.refresh(session_id, Address(arena, slot), self._clock())
        except Exception as error:
            return self._refuse(part, session_id, error)
        if waiting is None:
            return self._judge(part, session_id, opened_at)

        async def refreshed() -> None:
            try:
                await waiting
            except Exception as error:
                keeps_busy = self._refuse(part, session_id, error)
            else:
                keeps_busy = self._judge(part, session_id, opened_at)
            if not keeps_busy and arena.session_ids[slot] == session_id:
                self._end_turn(arena, slot)

        task = asyncio.ensure_future(refreshed())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _judge(self, part: Chunk | Block, session_id: str, opened_at: float) -> bool:
        """Apply, answer again, or refuse one row; True when it went to the engine.

        ``opened_at``: when the session was opened that it was for. Where another is there by now, that was opened since
        the row came, it is not for that one.
        """
        engine, arena, slot, seq = part.engine, part.arena, part.slots[0], part.seq
        if arena.opened_at[slot] != opened_at and arena.opened_at[slot] > part.found_at:
            engine.leave(1)
            part.fail(replaced_error(session_id))
            return False
        steps = int(arena.steps[slot])
        if seq is None or seq == steps:
            engine.submit(part)
            return True
        engine.leave(1)
        again = steps > 0 and seq == arena.last_seq[slot] and part.num_steps == steps - seq
        if again and digests_of(part)[0] == arena.last_digest[slot]:
            engine.metrics.duplicates.inc()
            part.outputs = engine.last_answer(slot)
            part.answer(seq)
        else:
            engine.metrics.seq_conflicts.inc()
            part.fail(_conflict(session_id, steps))
        return False

    def _refuse(self, part: Chunk | Block, session_id: str, error: Exception) -> bool:
        """A session could not be brought up to date: refuse one row, and where it ended all that wait for it, too."""
        arena, slot = part.arena, part.slots[0]
        part.engine.leave(1)
        part.fail(error)
        if arena.session_ids[slot] != session_id:
            self._turns.refuse_rest(arena, slot, session_error(session_id, CopyOutdated))
        return False


def _conflict(session_id: str, steps: int) -> OstinatoError:
    return SeqConflict(
        f"session {session_id!r} has applied {steps} steps, and seq is neither that nor the chunk applied last, sent "
        "again unchanged",
        expected_seq=steps,
    )
