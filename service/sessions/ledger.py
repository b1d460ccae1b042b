"""The ledger: what is applied to sessions, judged when its turn comes, run, committed, answered."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import Meter
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.protocols import Finished
from ostinato.service.errors import CopyOutdated, RunFailed
from ostinato.service.inputs.timed_rows import TimedRows
from ostinato.service.sessions import commits, timed, watching
from ostinato.service.sessions.blocks import NO_SEQ, Block, RowAnswers, blocks_of
from ostinato.service.sessions.chunk import Chunk, StepAnswer
from ostinato.service.sessions.judgement import check_keeps_offsets, is_next, is_to_run
from ostinato.service.sessions.offsets import ChunkOffset, RowOffsets
from ostinato.service.sessions.session import LiveSession, replaced_error
from ostinato.service.sessions.turns import Turn, Turns
from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.base import Address, Store
from ostinato.service.state.commit import Commit
from ostinato.service.state.endings import session_error
from ostinato.service.tracing import Tracer, current_span


class Ledger:
    """Applies chunks to sessions, in order and once. The engines' work comes back here: see ``Owner``.

    Args:
        turns: the order of each session's requests.
        tracer: told of commits; None = there are no traces.
        clock: seconds since the epoch.

    Attributes:
        watcher: shown each commit; None = nobody is.
    """

    def __init__(
        self,
        store: Store,
        turns: Turns,
        *,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.watcher: commits.CommitWatcher | None = None
        self._tracer = tracer
        self._meter: Meter | None = None
        self._store = store
        self._turns = turns
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def check_rate(self) -> None:
        """Refuse what is to be stepped soon, before anything is done for it: raises RateLimited."""
        if self._meter is not None:
            self._meter.check()

    def metered(self, meter: Meter) -> Ledger:
        """The same ledger, for somebody whose steps are counted."""
        own = copy.copy(self)
        own._meter = meter
        return own

    def step(
        self,
        session: LiveSession,
        inputs: NDArray[Any] | bytes | TimedRows,
        seq: int | None = None,
        future: Any = None,
        offset: ChunkOffset | None = None,
    ) -> asyncio.Future[StepAnswer]:
        """Apply a chunk when the session's earlier requests are done; its answer, to be awaited, is committed.

        A caller that cancels the future before the chunk's turn has come takes the chunk back.

        Args:
            inputs: ``[n, F]``, in the dtype of the model's input, n at most ``max_chunk_steps``; or one step's bytes;
                or with times, which neither ``seq`` nor ``offset`` is for.
            seq: steps that the caller believes were applied before; None: it does not say.
            future: a ``Waiter`` of the caller's own, which gets the answer in place of a future, and is returned.
            offset: where the chunk is in its source; None = it is not said.

        Raises:
            Overloaded, RateLimited, Draining: refused before anything was queued.
            CopyOutdated: it ended, at once or (by the future) before the chunk's turn came, as far as this copy tells.
            SessionClosed: by the future: it ended, and another was opened since.
            SeqConflict, TimeConflict: by the future: it comes neither next nor is it the chunk applied last.
            InvalidInput: the store cannot keep an offset.
            RunFailed: by the future: the graph failed; the session is as it was.
        """
        engine, arena, slot = session.engine, session.arena, session.slot
        if offset is not None:
            check_keeps_offsets(self._store)
        if self._meter is not None:
            self._meter.check()
        engine.admit(1)
        if session.has_ended:  # perhaps since: work that was under way may have been finished first
            engine.leave(1)
            raise CopyOutdated(f"session {session.session_id!r} ended; open a new one")
        future = engine.new_future() if future is None else future
        chunk = timed.chunk_of(session, inputs, seq, future, offset)
        if self._meter is not None:
            chunk.count(self._meter)
        if self._tracer is not None:
            chunk.span = current_span.get()
        if arena.busy[slot]:
            self._turns.wait(arena, slot, Turn(future, partial(self._begin_later, chunk, arena.opened_at[slot])))
        else:
            arena.busy[slot] = self._begin(chunk)
        return cast("asyncio.Future[StepAnswer]", future)

    def step_ready(
        self,
        engine: Engine,
        slots: Slots,
        inputs: NDArray[Any],
        seqs: Slots | None,
        answers: RowAnswers,
        offsets: RowOffsets | None = None,
    ) -> list[int]:
        """Begin at once all rows that can, as blocks; returns the other rows, which need a look of their own.

        A row can where its session is in memory, is free, has applied ``seq`` steps and no reading of that offset, or
        is next by its time. All rows have been admitted.

        Args:
            slots: int64 ``[R]``, -1 where the session is not in memory, or the row is not to be begun.
            inputs: ``[R, F]``, contiguous, in the dtype of the model's input.
            seqs: int64 ``[R]``, ``NO_SEQ`` where the client did not say; None where it said nothing of any row.
            offsets: where the rows are in their sources; None in the same way.

        Raises:
            RateLimited, InvalidInput: none was begun.
        """
        if offsets is not None:
            check_keeps_offsets(self._store)
        arena = engine.arena
        answers.found_at = self._clock()
        ready = (slots >= 0) & ~arena.busy[slots]
        if seqs is not None:
            ready &= (seqs == arena.steps[slots]) | (seqs == NO_SEQ)
        if arena.times is not None:
            ready &= timed.are_next(engine, arena.times[slots, 0], answers.numbers)
        if offsets is not None and arena.has_offsets:
            ready &= offsets.are_new(arena.reaches(slots))
        rows = ready.nonzero()[0]
        if self._meter is not None:
            self._meter.take(len(rows))
            answers.meter = self._meter
        if len(rows) < len(slots):
            slots, inputs = slots[rows], inputs[rows]
        arena.busy[slots] = True
        for block in blocks_of(engine, slots, inputs, answers, rows, seqs, offsets):
            if self._tracer is not None:
                block.span = current_span.get()
            engine.submit(block)
        return [] if len(rows) == len(ready) else (~ready).nonzero()[0].tolist()

    def commit(self, finished: Finished) -> None:
        """See ``Owner.commit``: an answer leaves after its commit."""
        works = cast(list[Chunk | Block], finished.works)
        began_at = time.perf_counter()
        try:
            commit = commits.commit_of(works[0].arena, finished)
            told = None if self.watcher is None else self.watcher.see(works, commit)
            committed = self._store.commit(commit, self._clock())
        except Exception as error:
            self._commit_failed(works, error)
            return
        if isinstance(committed, np.ndarray):
            self._observe(works, began_at)
            self._answer(works, commit, committed)
            if told is not None:
                told(committed)
        else:
            waiting = asyncio.ensure_future(committed)
            waiting.add_done_callback(lambda done: self._committed(works, commit, done, began_at, told))

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
        self, works: list[Chunk | Block], commit: Commit, done: asyncio.Future[Any], began_at: float, told: Any
    ) -> None:
        self._observe(works, began_at)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._answer(works, commit, done.result())
            if told is not None:
                told(done.result())
        else:
            self._commit_failed(works, error)

    def _observe(self, works: list[Chunk | Block], began_at: float) -> None:
        ended_at = time.perf_counter()
        works[0].engine.metrics.commit_seconds.observe(ended_at - began_at)
        if self._tracer is not None:
            self._tracer.commit([work.span for work in works if work.span is not None], began_at, ended_at)

    def _commit_failed(self, works: list[Chunk | Block], error: BaseException) -> None:
        unavailable = commits.uncommitted_error(error)
        for work in works:
            self._fail(work, unavailable)

    def _answer(self, works: list[Chunk | Block], commit: Commit, won: NDArray[np.bool_]) -> None:
        """Answer everyone, and let the next requests of their sessions have their turns."""
        if np.count_nonzero(won) < len(won):
            self._answer_each(works, commit, won)
            return
        commits.answer_all(works, commit.steps_before)
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
                    watching.answer(part, seq)
                    self._end(part)
                elif is_unknown:
                    self._fail(part, commits.outage_error(commit))
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
        chunk.fail_if_replaced(opened_at)
        return self._begin(chunk)

    def _begin(self, chunk: Chunk) -> bool:
        """Judge a chunk now that its turn has come; True when it keeps its session busy."""
        if chunk.future.done():
            if chunk.future.cancelled():
                chunk.engine.metrics.cancelled.inc()
            chunk.engine.leave(1)
            return False
        fits = is_next(chunk, chunk.arena, chunk.session.slot)
        if fits and (not (chunk.is_timed or chunk.engine.is_irregular) or timed.fits(chunk)):
            # If the copy in memory is old, the commit finds out.
            chunk.engine.submit(chunk)
            return True
        return self._bring_up_to_date(chunk)

    def _bring_up_to_date(self, part: Chunk | Block) -> bool:
        """Judge one row with its session as the store has it; True when it keeps its session busy."""
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

        ``opened_at``: of the session that it was for. One that was opened since the row came, it is not for.
        """
        engine, arena, slot = part.engine, part.arena, int(part.slots[0])
        if arena.opened_at[slot] != opened_at and arena.opened_at[slot] > part.found_at:
            engine.leave(1)
            part.fail(replaced_error(session_id))
            return False
        if is_to_run(part, session_id, arena, slot):
            engine.submit(part)
            return True
        engine.leave(1)
        return False

    def _refuse(self, part: Chunk | Block, session_id: str, error: Exception) -> bool:
        """A session could not be brought up to date: refuse one row, and where it ended all that wait for it, too."""
        arena, slot = part.arena, part.slots[0]
        part.engine.leave(1)
        part.fail(error)
        if arena.session_ids[slot] != session_id:
            self._turns.refuse_rest(arena, slot, session_error(session_id, CopyOutdated))
        return False
