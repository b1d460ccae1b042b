"""The async shell around the engine: it takes work in, runs iterations, and hands every work back exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.batching import Iteration, Line, Work
from ostinato.service.engine.recurrent.protocols import Finished, IterationRunner, Owner
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.errors import DeadlineExceeded, Draining, OstinatoError, Overloaded, RunFailed, TooLarge
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.state.arena import Arena

logger = logging.getLogger(__name__)

PASS_SECONDS = 0.005
"""For so long iterations follow each other before the event loop reads again."""

READ_SECONDS = 0.005
"""For so long the event loop may read while work waits: with thousands of connections one turn can last a second."""


class Scheduler:
    """Runs the work of one model version, an iteration at a time, for one event loop.

    An iteration is decided when the loop has nothing older to do, so whatever arrived together runs together, and
    one wake-up serves all of it. Work comes back to its owner after its last step ran, or as soon as it failed or was
    dropped. The state of a session is only read here: the owner commits what a work made of it.

    Args:
        runner: runs iterations.
        arena: holds the state that the work's slots name.
        max_queue_rows: rows accepted and not yet handed back, inclusive.
        in_thread: run iterations in a thread; False runs them on the event loop itself, which is faster for small
            graphs.
    """

    def __init__(
        self,
        runner: IterationRunner,
        arena: Arena,
        owner: Owner,
        *,
        max_queue_rows: int,
        metrics: ModelMetrics,
        in_thread: bool = False,
    ) -> None:
        self._runner = runner
        self._arena = arena
        self._owner = owner
        self._max_queue_rows = max_queue_rows
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ostinato-runner") if in_thread else None
        self.loop = asyncio.get_running_loop()
        """Kept, since asking which loop runs costs a system call."""
        self._line = Line(max_batch_size=runner.max_batch_size, max_iteration_steps=runner.max_iteration_steps)
        # Whether an iteration is due or under way, since when, and whether the event loop has been told.
        self._awake = self._iterating = self._is_called = False
        self._awake_since = 0.0
        self._draining = False
        self._closed = False
        self.num_rows = 0
        """Rows accepted and not yet handed back."""

    def __repr__(self) -> str:
        return f"<Scheduler {self.num_rows} rows, {len(self._line)} in line{', draining' * self._draining}>"

    def admit(self, num_rows: int) -> None:
        """Refuse what would not fit, before anything was queued or changed.

        Raises:
            TooLarge: ``num_rows`` alone exceed ``max_queue_rows``.
            Overloaded: ``num_rows`` more would exceed ``max_queue_rows``.
            Draining: no new work is taken.
        """
        self._catch_up()
        if self._draining:
            raise Draining("the server is shutting down; try another replica, or this one after its restart")
        if num_rows > self._max_queue_rows:
            raise TooLarge(f"{num_rows} rows in one request; the most is {self._max_queue_rows}")
        if self.num_rows + num_rows > self._max_queue_rows:
            raise Overloaded(f"{self.num_rows} of at most {self._max_queue_rows} rows are waiting; try again later")
        self.num_rows += num_rows

    def check_room(self) -> None:
        """Refuse what would not fit however small it is, before its numbers are even read.

        Raises:
            Overloaded, Draining: as ``admit``.
        """
        if self._draining or self.num_rows >= self._max_queue_rows:
            self.admit(1)
            self.leave(1)

    def leave(self, num_rows: int) -> None:
        """Undo ``admit`` for rows that were answered, or were never submitted."""
        self.num_rows -= num_rows

    def submit(self, work: Work) -> None:
        """Put admitted work at the back of the line."""
        work.submitted_at = time.perf_counter()
        self._line.append(work)
        if not self._awake:
            self._wake()

    def drain(self) -> None:
        """Take no new work from now on; what was admitted goes on."""
        self._draining = True

    def close(self) -> None:
        """Hand back all work as failed, and what is running when it has run; stop the thread."""
        self.drain()
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._fail_line()

    def _wake(self) -> None:
        """Have the next iteration decided soon, if there is work; never twice at once."""
        self._awake = bool(self._line)
        if self._awake:
            self._awake_since = time.perf_counter()
            if not self._is_called:
                self._is_called = True
                self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_called = False
        if self._awake:
            self._iterate()

    def _catch_up(self) -> None:
        """Run iterations now, where the event loop has been reading for long and they run on it."""
        if (
            self._awake
            and self._thread is None
            and not self._iterating
            and time.perf_counter() - self._awake_since > READ_SECONDS
        ):
            self._iterate()

    def _fail_line(self) -> None:
        # What is handed back lets the next request of its session have its turn, which may submit more.
        while self._line:
            self._fail(self._line.clear(), Draining("the server stopped before this ran; nothing was applied"))

    def _iterate(self) -> None:
        """Run iterations for a while; or start one, where they run in a thread."""
        has_started = False
        self._iterating = True
        try:
            has_started = self._run_for_a_while()
        finally:
            self._iterating = False
            if not has_started:
                self._wake()

    def _run_for_a_while(self) -> bool:
        """Run what there is, for ``PASS_SECONDS``; True when an iteration was started in the thread instead."""
        began_at = time.perf_counter()
        while not self._closed:
            iteration, dropped = self._line.next_iteration()
            if dropped:
                self._metrics.cancelled.inc(sum(work.num_rows for work in dropped))
                self._fail(dropped, DeadlineExceeded("dropped: its caller had gone or its time was up"))
            if iteration is None:
                return False
            if self._thread is not None:
                self._start(iteration)
                return True
            run_at = self._observe_queue(iteration)
            self._ran(iteration, partial(self._runner.run_iteration, iteration, self._arena), run_at)
            if not self._line or time.perf_counter() - began_at > PASS_SECONDS:
                return False
        self._fail_line()
        return False

    def _start(self, iteration: Iteration) -> None:
        """Run an iteration in the thread, and the next behind it, without a turn of the event loop in between."""
        began_at = self._observe_queue(iteration)
        running = self.loop.run_in_executor(self._thread, self._runner.run_iteration, iteration, self._arena)

        def ran(running: asyncio.Future[Result]) -> None:
            try:
                self._ran(iteration, running.result, began_at)
            finally:
                self._iterate()

        running.add_done_callback(ran)

    def _observe_queue(self, iteration: Iteration) -> float:
        now = time.perf_counter()
        waits = [now - work.submitted_at for work in iteration.works if not (work.num_done or work.alone)]
        self._metrics.queue_seconds.observe_all(waits)
        return now

    def _ran(self, iteration: Iteration, result_of: Callable[[], Result], began_at: float) -> None:
        """Take in what an iteration came to."""
        try:
            result = result_of()
            self._keep(iteration, result)
        except (Exception, asyncio.CancelledError) as error:
            self._run_failed(iteration, error)
        else:
            self._take(iteration, result, began_at)

    def _run_failed(self, iteration: Iteration, error: BaseException) -> None:
        """Let the works of a failed iteration each run alone, so that only the one at fault fails.

        One that was alone already is handed back. Their sessions are as they were.
        """
        self._metrics.run_failures.inc()
        if len(iteration.works) > 1:
            self._line.put_alone(iteration.works)
            return
        if not isinstance(error, OstinatoError):
            logger.error("an iteration failed", exc_info=error)
            error = RunFailed(f"the run failed: {error}")
        self._fail(iteration.works, error)

    def _fail(self, works: list[Work], error: OstinatoError) -> None:
        for work in works:
            work.error = error
            self._release_scratch(work)
        self._owner.hand_back(works)

    def _take(self, iteration: Iteration, result: Result, began_at: float) -> None:
        """Hand back what is over, put what is not over into the line again, and have the rest committed."""
        works, num_rows, num_steps, is_whole, is_private = iteration
        outputs, failed_rows = result.outputs, result.failed_rows
        self._observe(num_rows, num_steps, time.perf_counter() - began_at)
        if is_whole and failed_rows is None:
            _give_outputs(works, outputs)
            self._owner.commit(Finished(works, result.slots, result.states, outputs[:, -1], result.inputs))
            return
        if is_private and failed_rows is None:
            self._take_private(works, outputs, num_steps)
            return
        over: list[Work] = []
        finished: list[Work] = []
        finished_rows: list[int] = []
        end = 0
        for work in works:
            start, end = end, end + work.num_rows
            if failed_rows is not None and failed_rows[start:end].any():
                work.error = RunFailed("the model's output is not finite; the session is as it was")
            elif not self._advance(work, outputs[start:end].reshape(-1, outputs.shape[2]), num_steps):
                self._line.append(work)
                continue
            if work.error is not None or work.private:
                over.append(work)
            else:
                finished.append(work)
                finished_rows.extend(range(start, end))
            self._release_scratch(work)
        if failed_rows is not None:
            self._metrics.run_failures.inc()
        if over:
            self._owner.hand_back(over)
        if finished:
            slots = np.fromiter(chain.from_iterable(work.slots for work in finished), np.int64, len(finished_rows))
            states = tuple(rows_of_state[finished_rows] for rows_of_state in result.states)
            self._owner.commit(Finished(finished, slots, states, outputs[finished_rows, -1], None))

    def _take_private(self, works: list[Work], outputs: NDArray[Any], num_steps: int) -> None:
        """``_take`` for private work, of which there may be much: one row each, and nothing to commit."""
        line, advance = self._line, self._advance
        over = [work for work, made in zip(works, outputs, strict=True) if advance(work, made, num_steps)]
        if len(over) < len(works):
            for work in works:
                if work.num_done < work.num_steps:
                    line.append(work)
        if over:
            self._owner.hand_back(over)

    def _keep(self, iteration: Iteration, result: Result) -> None:
        """Put the states of private work, and of work that has more steps to run, where they wait."""
        if iteration.is_private:
            self._arena.scatter(result.slots, result.states)
            return
        if iteration.is_whole:
            # Read, so that a runner of too few rows fails here, before anything was changed.
            assert all(len(states) == iteration.num_rows for states in result.states)
            return
        rows: list[int] = []
        targets: list[int] = []
        row = 0
        for work in iteration.works:
            unfinished = work.num_done + iteration.num_steps < work.num_steps
            if unfinished and work.scratch is None:
                work.scratch = [self._arena.allocate() for _ in range(work.num_rows)]
            if unfinished or work.private:
                assert work.scratch is not None
                rows += range(row, row + work.num_rows)
                targets += work.scratch
            row += work.num_rows
        if len(rows) < iteration.num_rows:
            self._arena.scatter(np.array(targets, np.int64), tuple(states[rows] for states in result.states))
        else:
            self._arena.scatter(np.array(targets, np.int64), result.states)

    def _advance(self, work: Work, made: NDArray[Any], num_steps: int) -> bool:
        """Take the outputs [R x T, O] (or [R, O]) of a run into the work; True when that was the last of it."""
        done = work.num_done + num_steps
        if num_steps == work.num_steps or not self._runner.answers_every_step:
            work.outputs = made
        else:
            if work.outputs is None:
                work.outputs = np.empty((work.num_steps, made.shape[1]), made.dtype)
            work.outputs[work.num_done : done] = made
        work.num_done = done
        return done == work.num_steps

    def _observe(self, num_rows: int, num_steps: int, seconds: float) -> None:
        metrics = self._metrics
        metrics.run_seconds.observe(seconds)
        metrics.batch_size.observe(num_rows)
        metrics.iteration_steps.observe(num_steps)
        metrics.steps.inc(num_rows * num_steps)

    def _release_scratch(self, work: Work) -> None:
        if work.scratch is not None and not work.private:
            for slot in work.scratch:
                self._arena.release(slot)
            work.scratch = None


def _give_outputs(works: list[Work], outputs: NDArray[Any]) -> None:
    """Give each work its part of ``outputs`` [B, T, O], which is all of its own."""
    if len(works) == len(outputs):
        for work, made in zip(works, outputs, strict=True):
            work.outputs = made
        return
    end = 0
    for work in works:
        start, end = end, end + work.num_rows
        work.outputs = outputs[start:end].reshape(-1, outputs.shape[2])
