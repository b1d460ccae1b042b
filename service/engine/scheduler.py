"""The async shell around the engine: it takes work in, runs iterations, and hands every work back exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.batching import Iteration, Work, next_iteration
from service.engine.runner import Result
from service.errors import DeadlineExceeded, Draining, OstinatoError, Overloaded, RunFailed, TooLarge
from service.metrics import ModelMetrics
from service.state.arena import Arena

logger = logging.getLogger(__name__)


class IterationRunner(Protocol):
    """What the scheduler asks of a runner."""

    max_batch_size: int
    max_iteration_steps: int

    def run_iteration(self, iteration: Iteration, arena: Arena) -> Result:
        """Run an iteration without changing the arena; raise ``RunFailed`` where the graph failed."""


class Scheduler:
    """Runs the work of one model version, an iteration at a time, for one event loop.

    An iteration is decided when the loop has nothing older to do, so whatever arrived together runs together, and
    one wake-up serves all of it. Work comes back by ``finished`` after its last step ran, or as soon as it failed or
    was dropped; then its ``outputs`` or its ``error`` is set. State of sessions changes only for work that finished
    without error.

    Args:
        runner: runs iterations.
        arena: holds the state that the work's slots name.
        finished: given the works that an iteration finished; it must not raise.
        max_queue_rows: rows accepted and not yet handed back, inclusive.
        in_thread: run iterations in a thread; False runs them on the event loop itself, which is faster for small
            graphs.
    """

    def __init__(
        self,
        runner: IterationRunner,
        arena: Arena,
        finished: Callable[[list[Work]], None],
        *,
        max_queue_rows: int,
        metrics: ModelMetrics,
        in_thread: bool = False,
    ) -> None:
        self._runner = runner
        self._arena = arena
        self._finished = finished
        self._max_queue_rows = max_queue_rows
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ostinato-runner") if in_thread else None
        self._line: deque[Work] = deque()
        self._awake = False
        self._draining = False
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
        if self._draining:
            raise Draining("the server is shutting down; try another replica, or this one after its restart")
        if num_rows > self._max_queue_rows:
            raise TooLarge(f"{num_rows} rows in one request; the most is {self._max_queue_rows}")
        if self.num_rows + num_rows > self._max_queue_rows:
            raise Overloaded(f"{self.num_rows} of at most {self._max_queue_rows} rows are waiting; try again later")
        self.num_rows += num_rows

    def leave(self, num_rows: int) -> None:
        """Undo ``admit`` for rows that were answered, or were never submitted."""
        self.num_rows -= num_rows

    def submit(self, work: Work) -> None:
        """Put admitted work at the back of the line."""
        work.submitted_at = time.perf_counter()
        self._line.append(work)
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._iterate)

    def drain(self) -> None:
        """Take no new work from now on; what was admitted goes on."""
        self._draining = True

    def close(self) -> None:
        """Hand back all work that has not run as failed, and stop the thread."""
        self.drain()
        works, self._line = list(self._line), deque()
        self._fail(works, Draining("the server stopped before this ran; nothing was applied"))
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def _iterate(self) -> None:
        iteration, dropped = next_iteration(
            self._line,
            max_batch_size=self._runner.max_batch_size,
            max_iteration_steps=self._runner.max_iteration_steps,
        )
        if dropped:
            self._metrics.cancelled.inc(len(dropped))
            self._fail(dropped, DeadlineExceeded("dropped before it ran: its caller had gone or its time was up"))
        if iteration is None:
            self._awake = False
            return
        began_at = time.perf_counter()
        for work in iteration.works:
            if not work.num_done:
                self._metrics.queue_seconds.observe(began_at - work.submitted_at)
        if self._thread is None:
            try:
                result = self._runner.run_iteration(iteration, self._arena)
            except Exception as error:
                self._run_failed(iteration, error)
            else:
                self._run_succeeded(iteration, result, began_at)
            self._wake_again()
        else:
            running = asyncio.get_running_loop().run_in_executor(
                self._thread, self._runner.run_iteration, iteration, self._arena
            )
            running.add_done_callback(lambda done: self._thread_done(iteration, done, began_at))

    def _thread_done(self, iteration: Iteration, done: asyncio.Future[Result], began_at: float) -> None:
        if done.cancelled():
            self._run_failed(iteration, RunFailed("the run was cancelled"))
        elif (error := done.exception()) is not None:
            self._run_failed(iteration, error)
        else:
            self._run_succeeded(iteration, done.result(), began_at)
        self._wake_again()

    def _wake_again(self) -> None:
        if self._line:
            asyncio.get_running_loop().call_soon(self._iterate)
        else:
            self._awake = False

    def _run_failed(self, iteration: Iteration, error: BaseException) -> None:
        """Let the works of a failed iteration each run alone, so that only the one at fault fails.

        One that was alone already is handed back. Their sessions are as they were.
        """
        self._metrics.run_failures.inc()
        if len(iteration.works) > 1:
            for work in reversed(iteration.works):
                work.alone = True
                self._line.appendleft(work)
            return
        if not isinstance(error, OstinatoError):
            logger.error("an iteration failed", exc_info=error)
            error = RunFailed(f"the run failed: {error}")
        self._fail(iteration.works, error)

    def _fail(self, works: list[Work], error: OstinatoError) -> None:
        for work in works:
            work.error = error
            self._release_scratch(work)
        if works:
            self._finished(works)

    def _run_succeeded(self, iteration: Iteration, result: Result, began_at: float) -> None:
        works, num_rows, num_steps = iteration
        targets = np.concatenate([self._target(work, num_steps) for work in works])
        if result.failed_rows is None:
            self._arena.scatter(targets, result.states)
        else:
            sound = ~result.failed_rows
            self._arena.scatter(targets[sound], tuple(rows[sound] for rows in result.states))
            self._mark_failed(works, result.failed_rows)
        finished: list[Work] = []
        row = 0
        for work in works:
            outputs = result.outputs[row : row + work.num_rows]
            row += work.num_rows
            if self._advance(work, outputs, num_steps):
                finished.append(work)
            else:
                self._line.append(work)
        metrics = self._metrics
        metrics.run_seconds.observe(time.perf_counter() - began_at)
        metrics.batch_size.observe(num_rows)
        metrics.iteration_steps.observe(num_steps)
        metrics.steps.inc(num_rows * num_steps)
        if finished:
            self._finished(finished)

    def _mark_failed(self, works: list[Work], failed_rows: NDArray[Any]) -> None:
        self._metrics.run_failures.inc()
        row = 0
        for work in works:
            failed = failed_rows[row : row + work.num_rows]
            row += work.num_rows
            if work.num_rows == 1 and failed[0]:
                work.error = RunFailed("the model's output is not finite; the session is as it was")
            elif failed.any():
                work.failed_rows = failed

    def _target(self, work: Work, num_steps: int) -> NDArray[Any]:
        """Where the state goes: to the work's own slots after its last step, to scratch before."""
        if work.num_done + num_steps == work.num_steps:
            return work.slots  # type: ignore[no-any-return]
        if work.scratch is None:
            work.scratch = np.array([self._arena.allocate() for _ in range(work.num_rows)], np.int64)
        return work.scratch  # type: ignore[no-any-return]

    def _advance(self, work: Work, outputs: NDArray[Any], num_steps: int) -> bool:
        """Take an iteration's outputs [R, T, O] (or [R, 1, O]) into the work; True when it is to be handed back."""
        done = work.num_done + num_steps
        if outputs.shape[1] != num_steps or num_steps == work.num_steps:
            work.outputs = outputs
        else:
            if work.outputs is None:
                work.outputs = np.empty((work.num_rows, work.num_steps, outputs.shape[2]), outputs.dtype)
            work.outputs[:, work.num_done : done] = outputs
        work.num_done = done
        if done < work.num_steps and work.error is None:
            return False
        self._release_scratch(work)
        return True

    def _release_scratch(self, work: Work) -> None:
        if work.scratch is not None and work.scratch is not work.slots:
            for slot in work.scratch:
                self._arena.release(int(slot))
        work.scratch = None
