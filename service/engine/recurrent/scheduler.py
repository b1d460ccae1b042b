"""The scheduler of recurrent work: the async shell that takes work in, runs iterations, and hands every work back
exactly once. What a run's result means is ``progress``'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from ostinato.service.engine.admission import Admission
from ostinato.service.engine.busy_poll import BusyPoll
from ostinato.service.engine.recurrent.batching import Iteration, Line, Work
from ostinato.service.engine.recurrent.observer import IterationObserver
from ostinato.service.engine.recurrent.progress import Progress
from ostinato.service.engine.recurrent.protocols import IterationRunner, Owner
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.errors import DeadlineExceeded, OstinatoError, RunFailed
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.state.arena import Arena
from ostinato.service.tracing import Tracer

PASS_SECONDS = 0.005
"""For so long iterations follow each other before the event loop reads again."""

READ_SECONDS = 0.005
"""For so long the event loop may read while work waits: with thousands of connections one turn can last a second."""


class Scheduler(Admission):
    """Runs the work of one model version, an iteration at a time, for one event loop.

    An iteration is decided when the loop has nothing older to do, so whatever arrived together runs together, and
    one wake-up serves all of it. Work comes back to its owner after its last step ran, or as soon as it failed or was
    dropped. The state of a session is only read here: the owner commits what a work made of it.

    Args:
        runner: runs iterations.
        arena: holds the state that the work's slots name.
        max_queue_rows: rows accepted and not yet handed back, inclusive.
        observer: shown some iterations; None = none.
        tracer: told of iterations with works that are traced; None = there are no traces.
        in_thread: see ``Admission``.
        busy_poll_seconds: how long the event loop looks for more work behind an iteration before it sleeps.
        clock: seconds of a monotonic clock.

    Attributes:
        loop: the event loop.
    """

    def __init__(
        self,
        runner: IterationRunner,
        arena: Arena,
        owner: Owner,
        *,
        max_queue_rows: int,
        metrics: ModelMetrics,
        observer: IterationObserver | None = None,
        tracer: Tracer | None = None,
        in_thread: bool = False,
        busy_poll_seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(max_queue_rows, unit="rows", in_thread=in_thread)
        self._runner = runner
        self._arena = arena
        self._owner = owner
        self._metrics = metrics
        self._observer = observer
        self._tracer = tracer
        self._clock = clock
        self.loop = asyncio.get_running_loop()  # kept, since asking which loop runs costs a system call
        self._busy_poll = BusyPoll(self.loop, busy_poll_seconds, clock=clock) if busy_poll_seconds else None
        self._line = Line(max_batch_size=runner.max_batch_size, max_iteration_steps=runner.max_iteration_steps)
        self._progress = Progress(runner, arena, self._line, metrics)
        # Whether an iteration is due or under way, since when, and whether the event loop has been told.
        self._is_awake = self._is_iterating = self._is_called = False
        self._awake_since = 0.0

    def submit(self, work: Work) -> None:
        """Put admitted work at the back of the line."""
        work.submitted_at = self._clock()
        self._line.append(work)
        if not self._is_awake:
            self._wake()

    def close(self) -> None:
        """Hand back all work as failed, and what is running when it has run; stop the thread."""
        super().close()
        self._fail_line()

    def _wake(self) -> None:
        """Have the next iteration decided soon, if there is work; never twice at once."""
        self._is_awake = bool(self._line)
        if self._is_awake:
            self._awake_since = self._clock()
            if not self._is_called:
                self._is_called = True
                self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_called = False
        if self._is_awake:
            self._iterate()

    def _catch_up(self) -> None:
        """Run iterations now, where the event loop has been reading for long and they run on it."""
        if (
            self._is_awake
            and self._thread is None
            and not self._is_iterating
            and self._clock() - self._awake_since > READ_SECONDS
        ):
            self._iterate()

    def _fail_line(self) -> None:
        # What is handed back lets the next request of its session have its turn, which may submit more.
        while self._line:
            self._fail(self._line.clear(), self.stopped("the server stopped before this ran; nothing was applied"))

    def _iterate(self) -> None:
        """Run iterations for a while; or start one, where they run in a thread."""
        has_started = False
        self._is_iterating = True
        try:
            has_started = self._run_for_a_while()
        finally:
            self._is_iterating = False
            if not has_started:
                self._wake()
                if self._busy_poll is not None:
                    self._busy_poll.begin()

    def _run_for_a_while(self) -> bool:
        """Run what there is, for ``PASS_SECONDS``; True when an iteration was started in the thread instead."""
        began_at = self._clock()
        while not self._is_closed:
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
            if not self._line or self._clock() - began_at > PASS_SECONDS:
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
        now = self._clock()
        waits = [now - work.submitted_at for work in iteration.works if not (work.num_done or work.alone)]
        self._metrics.queue_seconds.observe_all(waits)
        return now

    def _ran(self, iteration: Iteration, result_of: Callable[[], Result], began_at: float) -> None:
        """Take in what an iteration came to."""
        try:
            result = result_of()
            self._progress.keep(iteration, result)
            observer = self._observer
            if observer is not None and (
                began_at >= observer.due_at or iteration.works[0].slots[0] == observer.followed
            ):
                observer.see_iteration(iteration, result, began_at)
        except (Exception, asyncio.CancelledError) as error:
            self._run_failed(iteration, error)
            return
        if self._tracer is not None:
            self._trace(self._tracer, iteration, began_at)
        handed_back, finished = self._progress.take(iteration, result, self._clock() - began_at)
        if handed_back:
            self._owner.hand_back(handed_back)
        if finished is not None:
            self._owner.commit(finished)

    def _trace(self, tracer: Tracer, iteration: Iteration, began_at: float) -> None:
        waits = [
            (work.span, 0.0 if work.num_done or work.alone else work.submitted_at)
            for work in iteration.works
            if work.span is not None
        ]
        if waits:
            manifest = self._arena.manifest
            attributes = {
                "ostinato.model": manifest.name,
                "ostinato.version": manifest.version,
                "ostinato.rows": iteration.num_rows,
                "ostinato.steps": iteration.num_steps,
            }
            tracer.iteration(waits, began_at, self._clock(), attributes)

    def _run_failed(self, iteration: Iteration, error: BaseException) -> None:
        """Let the works of a failed iteration each run alone, so that only the one at fault fails.

        One that was alone already is handed back. Their sessions are as they were.
        """
        self._metrics.run_failures.inc()
        if len(iteration.works) > 1:
            self._line.put_alone(iteration.works)
            return
        if not isinstance(error, OstinatoError):
            failure = RunFailed(f"the run failed: {error}")
            failure.__cause__, error = error, failure
        self._fail(iteration.works, error)

    def _fail(self, works: list[Work], error: OstinatoError) -> None:
        for work in works:
            work.error = error
            self._progress.release(work)
        self._owner.hand_back(works)
