"""The scheduler of whole sequences: the async shell that takes them in, has them run, and hands each back once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from numpy.typing import NDArray

from ostinato.service.engine.admission import Admission
from ostinato.service.engine.observer import InputObserver
from ostinato.service.engine.sequence.batching import Company, SequenceLine, SequenceRun, SequenceWork
from ostinato.service.errors import DeadlineExceeded, OstinatoError, RunFailed
from ostinato.service.metrics.sequences import SequenceMetrics

PASS_SECONDS = 0.005
"""For so long runs follow each other before the event loop reads again."""

MadeRows: TypeAlias = list[NDArray[Any] | None]


class RunCost(NamedTuple):
    """What a step of a run takes in seconds, and what each of its rows adds."""

    step_seconds: float
    row_seconds: float

    def of(self, num_rows: int, num_steps: int) -> float:
        """Of a run, in seconds."""
        return num_steps * (self.step_seconds + num_rows * self.row_seconds)


class WorksRunner(Protocol):
    """What runs sequences; ``SequenceRunner`` does."""

    company: Company
    max_batch_size: int

    def run_works(self, works: Sequence[SequenceWork], num_steps: int) -> MadeRows:
        """The rows of each, None where it has no answer."""
        ...


class SequenceScheduler(Admission):
    """Runs the sequences of one model version, one run at a time, for one event loop.

    A run is decided when the loop has nothing older to do, so what arrived together runs together. One that takes
    long runs in a thread, others on the event loop itself. Work that nobody waits for is dropped before it begins.

    Args:
        cost: tells how long a run takes.
        inline_run_seconds: of a run on the event loop, at most.
        max_queue_rows: sequences accepted and not yet handed back, inclusive.
        observer: shown the first sequence of some runs; None = none.
        on_run: told of each run that came to its end, and when it began and ended; None = nobody is.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self,
        runner: WorksRunner,
        cost: RunCost,
        *,
        inline_run_seconds: float,
        max_queue_rows: int,
        metrics: SequenceMetrics,
        observer: InputObserver | None = None,
        on_run: Callable[[SequenceRun, float, float], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(max_queue_rows, unit="sequences", in_thread=True)
        self._runner = runner
        self._cost = cost
        self._inline_run_seconds = inline_run_seconds
        self._metrics = metrics
        self._observer = observer
        self._on_run = on_run
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._line = SequenceLine(runner.company, max_batch_size=runner.max_batch_size)
        self._is_awake = False

    def new_future(self) -> asyncio.Future[NDArray[Any]]:
        """A future for the rows of a sequence."""
        return self._loop.create_future()

    def submit(self, works: Sequence[SequenceWork]) -> None:
        """Take admitted work in; the future of each gets its rows, and the row is given back then."""
        now = self._clock()
        for work in works:
            work.submitted_at = now
            self._line.append(work)
        self._wake()

    def close(self) -> None:
        """Hand back all work as failed, and what is running when it has run; stop the thread."""
        super().close()
        self._fail_line()

    def _wake(self) -> None:
        """Have the next run decided soon, unless one is under way, or decided already."""
        if self._line and not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._iterate)

    def _iterate(self) -> None:
        """SequenceRun for a while, or start one run in the thread; then again, while there is work."""
        has_started = False
        try:
            has_started = self._run_for_a_while()
        finally:
            if not has_started:
                self._is_awake = False
                self._wake()

    def _run_for_a_while(self) -> bool:
        began_at = self._clock()
        while not self._is_closed:
            run, dropped = self._line.next_run()
            if dropped:
                self._metrics.cancelled.inc(len(dropped))
                self._fail(dropped, DeadlineExceeded("dropped: its caller had gone or its time was up"))
            if run is None:
                return False
            run_at = self._observe_queue(run)
            made = partial(self._runner.run_works, run.works, run.num_steps)
            if self._cost.of(len(run.works), run.num_steps) > self._inline_run_seconds:
                self._start(run, made, run_at)
                return True
            self._ran(run, made, run_at)
            if self._clock() - began_at > PASS_SECONDS:
                return False
        self._fail_line()
        return False

    def _start(self, run: SequenceRun, made: Callable[[], MadeRows], run_at: float) -> None:
        running = self._loop.run_in_executor(self._thread, made)

        def ran(running: asyncio.Future[MadeRows]) -> None:
            try:
                self._ran(run, running.result, run_at)
            finally:
                self._iterate()

        running.add_done_callback(ran)

    def _observe_queue(self, run: SequenceRun) -> float:
        now = self._clock()
        self._metrics.queue_seconds.observe_all([now - work.submitted_at for work in run.works if not work.alone])
        return now

    def _ran(self, run: SequenceRun, made_by: Callable[[], MadeRows], run_at: float) -> None:
        """Take in what a run came to."""
        try:
            made = made_by()
        except (Exception, asyncio.CancelledError) as error:
            self._run_failed(run, error)
            return
        if self._observer is not None and run_at >= self._observer.due_at:
            self._observer.see(run.works[0].rows, run_at)
        metrics, ended_at = self._metrics, self._clock()
        if self._on_run is not None:
            self._on_run(run, run_at, ended_at)
        metrics.run_seconds.observe(ended_at - run_at)
        metrics.batch_size.observe(len(run.works))
        metrics.iteration_steps.observe(run.num_steps)
        metrics.steps.inc(len(run.works) * run.num_steps - run.padding)
        metrics.padding_steps.inc(run.padding)
        if any(rows is None for rows in made):
            metrics.run_failures.inc()
        for work, rows in zip(run.works, made, strict=True):
            if rows is None:
                self._fail([work], RunFailed("the model has no answer to this sequence: it is NaN or infinity"))
                continue
            self.leave(1)
            if not work.future.done():
                work.future.set_result(rows)

    def _run_failed(self, run: SequenceRun, error: BaseException) -> None:
        """Let the works of a failed run each run alone, so that only the one at fault fails."""
        self._metrics.run_failures.inc()
        if len(run.works) > 1:
            self._line.put_alone(run.works)
            return
        if not isinstance(error, OstinatoError):
            failure = RunFailed(f"the run failed: {error}")
            failure.__cause__, error = error, failure
        self._fail(run.works, error)

    def _fail(self, works: Sequence[SequenceWork], error: OstinatoError) -> None:
        self.leave(len(works))
        for work in works:
            if not work.future.done():
                work.future.set_exception(error)

    def _fail_line(self) -> None:
        self._fail(self._line.clear(), self.stopped("the server stopped before this ran"))
