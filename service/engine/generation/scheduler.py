"""The scheduler of what generates: the async shell that takes outputs in, runs iterations, and resolves each once.

An iteration encodes the sources that came since the last one, gives them lanes, and runs the decoder, for each padded
length that has lanes, for a step; or for a few, where nobody is told of each. So a newcomer has its first step in the
iteration that takes it in, and a short output is out while long ones continue.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ostinato.service.engine.admission import Admission
from ostinato.service.engine.generation.decoding import Decoding
from ostinato.service.engine.generation.graphs import DecoderRunner, EncoderRunner, Start
from ostinato.service.engine.generation.lanes import Lanes
from ostinato.service.errors import OstinatoError, RunFailed
from ostinato.service.metrics.generation import GenerationMetrics

MOST_STEPS = 4
"""Steps of an iteration, inclusive: those who come meanwhile wait for them."""


class Asked(NamedTuple):
    """An output that is wanted.

    Attributes:
        source: what the encoder reads, or what the decoder starts from where there is nothing to encode.
        on_step: called after each step of it, on the event loop.
    """

    source: NDArray[Any] | Start
    decoding: Decoding
    on_step: Callable[[], None] | None = None


class GenerationWork:
    """An output on its way through the engine.

    Attributes:
        future: resolved with the decoding when it has finished.
        submitted_at, began_at: when it was asked for and taken in, seconds of a monotonic clock.
        span: of the trace of anyone who waits for it; None = it is not traced.
    """

    __slots__ = ("began_at", "decoding", "future", "on_step", "source", "span", "submitted_at")

    def __init__(self, asked: Asked, future: asyncio.Future[Decoding], submitted_at: float, span: Any = None) -> None:
        self.source, self.decoding, self.on_step = asked
        self.decoding.is_watched = self.on_step is not None
        self.future = future
        self.submitted_at = self.began_at = submitted_at
        self.span = span


class GenerationScheduler(Admission):
    """Runs the generations of one model version, an iteration at a time, for one event loop.

    A row of its admission is a lane.

    Args:
        encoder: None where generations bring what the decoder starts from.
        max_lanes: lanes in use at once, inclusive; a generation that may need more than are free waits.
        max_queue_lanes: lanes of all generations accepted and not yet finished, inclusive.
        max_lane_steps: lanes x steps of a table in one iteration that has several steps, inclusive.
        share_runs: whether generations may run together; False for a graph whose rows depend on each other.
        in_thread: see ``Admission``.
        on_end: told of each output that was taken in and has ended, whatever came of it, and when; None = nobody is.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self,
        encoder: EncoderRunner | None,
        decoder: DecoderRunner,
        metrics: GenerationMetrics,
        *,
        max_lanes: int,
        max_queue_lanes: int,
        max_lane_steps: int = sys.maxsize,
        share_runs: bool = True,
        in_thread: bool = False,
        on_end: Callable[[GenerationWork, float], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(max_queue_lanes, unit="outputs and beams", in_thread=in_thread)
        self._encoder = encoder
        self._decoder = decoder
        self._metrics = metrics
        self._max_lanes = max_lanes
        self._max_lane_steps = max_lane_steps
        self._share_runs = share_runs
        self._on_end = on_end
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[GenerationWork] = deque()
        self._running: dict[Decoding, GenerationWork] = {}
        # By padded length; alone, by the decoding.
        self._tables: dict[Any, Lanes] = {}
        self._num_reserved = 0
        self._is_awake = False
        metrics.lanes.follow(lambda: self.num_lanes)
        metrics.queue_depth.follow(lambda: self.num_rows)
        metrics.queue_saturation.follow(lambda: self.saturation)

    @property
    def num_lanes(self) -> int:
        """Lanes in use."""
        return sum(table.num_lanes for table in list(self._tables.values()))

    def begin(self, asked: Sequence[Asked], span: Any = None) -> list[GenerationWork]:
        """Have outputs made, together with whatever else runs. The caller must ``let_go`` of them in the end.

        Args:
            span: of the trace of anyone who waits for them; None = it is not traced.

        Raises:
            TooLarge, Overloaded, Draining: refused before anything was begun.
        """
        self.admit(sum(each.decoding.max_lanes for each in asked))
        now = self._clock()
        generations = [GenerationWork(each, self._loop.create_future(), now, span) for each in asked]
        self._waiting.extend(generations)
        self._wake()
        return generations

    def let_go(self, generations: Sequence[GenerationWork]) -> None:
        """Free what is still under way of them, at the next iteration."""
        for generation in generations:
            if not generation.future.cancel() and not generation.future.cancelled():
                generation.future.exception()

    async def run(self, asked: Sequence[Asked], span: Any = None) -> list[Decoding]:
        """``begin`` and wait for all of them.

        Raises:
            TooLarge, Overloaded, Draining: as ``begin``.
            RunFailed: a graph failed.
        """
        generations = self.begin(asked, span)
        try:
            return [await generation.future for generation in generations]
        finally:
            self.let_go(generations)

    def close(self) -> None:
        """Fail all that is under way, and stop the thread."""
        super().close()
        error = self.stopped("the server stopped before this was done")
        for generation in (*self._running.values(), *self._waiting):
            self._resolve(generation, error)
        self._waiting.clear()
        self._running.clear()
        self._tables.clear()

    def _wake(self) -> None:
        if not self._is_awake and not self._is_closed:
            self._is_awake = True
            self._loop.call_soon(self._iterate)

    def _iterate(self) -> None:
        if self._is_closed:
            return
        self._drop_cancelled()
        joining = self._take_in()
        if not joining and not self._running:
            self._is_awake = False
            return
        if self._thread is None:
            self._take(self._compute(joining))
        else:
            self._loop.run_in_executor(self._thread, self._compute, joining).add_done_callback(
                lambda computed: self._take(computed.result())
            )

    def _drop_cancelled(self) -> None:
        """Let go of what nobody waits for."""
        gone = [decoding for decoding, generation in self._running.items() if generation.future.done()]
        for decoding in gone:
            self._forget(self._running.pop(decoding))
        if gone:
            self._metrics.cancelled.inc(len(gone))
            for key, table in list(self._tables.items()):
                if leaving := [decoding for decoding in gone if decoding in table.decodings]:
                    table.leave(leaving)
                    # A run of no lanes ends the process: onnxruntime's LSTM aborts on it.
                    if not table.decodings:
                        del self._tables[key]
        if any(generation.future.done() for generation in self._waiting):
            for generation in [generation for generation in self._waiting if generation.future.done()]:
                self._waiting.remove(generation)
                self.leave(generation.decoding.max_lanes)
                self._metrics.cancelled.inc()

    def _take_in(self) -> list[GenerationWork]:
        """Those that wait and find lanes, in the order in which they came."""
        joining = []
        while self._waiting:
            needed = self._waiting[0].decoding.max_lanes
            if self._num_reserved and self._num_reserved + needed > self._max_lanes:
                break
            self._num_reserved += needed
            generation = self._waiting.popleft()
            generation.began_at = self._clock()
            self._running[generation.decoding] = generation
            joining.append(generation)
        return joining

    def _compute(self, joining: list[GenerationWork]) -> tuple[list[Decoding], dict[Decoding, OstinatoError]]:
        """One iteration: what finished and what failed in it. Never raises."""
        began_at = self._clock()
        self._metrics.queue_seconds.observe_all([began_at - generation.submitted_at for generation in joining])
        finished: list[Decoding] = []
        failures: dict[Decoding, OstinatoError] = {}
        for key, started in self._start(joining, failures):
            table = self._tables.setdefault(key, Lanes(self._decoder))
            try:
                table.join(started)
            except Exception as error:
                failures |= self._give_up(key, error) | {decoding: _failed(error) for decoding, _ in started}
        for key, table in list(self._tables.items()):
            num_lanes, num_before = table.num_lanes, table.num_steps_made
            self._metrics.batch_size.observe(num_lanes)
            max_steps = self._max_lane_steps // max(1, num_lanes)
            try:
                done, failed = table.advance(min(MOST_STEPS, max(1, max_steps)))
                finished += done
                failures |= failed
            except Exception as error:
                failures |= self._give_up(key, error)
                continue
            self._metrics.generated_steps.inc(table.num_steps_made - num_before)
            if not table.decodings:
                del self._tables[key]
        self._metrics.run_seconds.observe(self._clock() - began_at)
        return finished, failures

    def _give_up(self, key: Any, error: Exception) -> dict[Decoding, OstinatoError]:
        """Fail all decodings of a table that is no longer to be trusted."""
        return {decoding: _failed(error) for decoding in self._tables.pop(key).decodings}

    def _start(
        self, joining: list[GenerationWork], failures: dict[Decoding, OstinatoError]
    ) -> Iterator[tuple[Any, list[tuple[Decoding, Start]]]]:
        """What the newcomers start from, by the table that they join."""
        groups: dict[Any, list[GenerationWork]] = {}
        for generation in joining:
            groups.setdefault(self._key(generation), []).append(generation)
        for key, group in groups.items():
            started = []
            for generation, start in zip(group, self._encode(group), strict=True):
                if isinstance(start, Start):
                    started.append((generation.decoding, start))
                else:
                    failures[generation.decoding] = start
            if started:
                yield key, started

    def _key(self, generation: GenerationWork) -> Any:
        if not self._share_runs:
            return generation.decoding
        source = generation.source
        if self._encoder is None or isinstance(source, Start):
            return 0
        return self._encoder.padded_length(len(source))

    def _encode(self, group: list[GenerationWork]) -> list[Start | OstinatoError]:
        """Of each generation what its decoder starts from, or why it failed."""
        sources = [generation.source for generation in group if not isinstance(generation.source, Start)]
        if not sources:
            return [generation.source for generation in group if isinstance(generation.source, Start)]
        assert self._encoder is not None
        try:
            return list(self._encoder.run(sources))
        except Exception as error:
            if len(group) > 1:
                return [start for generation in group for start in self._encode([generation])]
            return [error if isinstance(error, OstinatoError) else _failed(error)]

    def _take(self, computed: tuple[list[Decoding], dict[Decoding, OstinatoError]]) -> None:
        """Tell everyone what an iteration came to, and have the next one run."""
        finished, failures = computed
        if self._is_closed:
            return
        for generation in self._running.values():
            if generation.on_step is not None and generation.decoding not in failures:
                generation.on_step()
        for decoding in finished:
            self._end(decoding, None)
        for decoding, error in failures.items():
            self._metrics.run_failures.inc()
            self._end(decoding, error)
        # Two turns of the loop. In the first those who were told write, and what came meanwhile begins; the loop sends
        # what was written at that turn's end, not after the next iteration.
        self._loop.call_soon(self._loop.call_soon, self._iterate)

    def _end(self, decoding: Decoding, error: OstinatoError | None) -> None:
        generation = self._running.pop(decoding, None)
        if generation is not None:
            self._forget(generation)
            self._resolve(generation, error)

    def _forget(self, generation: GenerationWork) -> None:
        if self._on_end is not None:
            self._on_end(generation, self._clock())
        self._num_reserved -= generation.decoding.max_lanes
        self.leave(generation.decoding.max_lanes)

    @staticmethod
    def _resolve(generation: GenerationWork, error: OstinatoError | None) -> None:
        if generation.future.done():
            return
        if error is None:
            generation.future.set_result(generation.decoding)
        else:
            generation.future.set_exception(error)


def _failed(error: Exception) -> OstinatoError:
    failure = RunFailed(f"the run failed: {error}")
    failure.__cause__ = error
    return failure
