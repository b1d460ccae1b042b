"""The engine of one version of a model with sessions: its arena, its scheduler, and runs that belong to no session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.config import Settings
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.framed import FramedWorks
from ostinato.service.engine.recurrent.observer import IterationObserver
from ostinato.service.engine.recurrent.protocols import Finished, IterationRunner, Owner
from ostinato.service.engine.recurrent.scheduler import Scheduler
from ostinato.service.errors import TooLarge
from ostinato.service.inputs.framing import Framer
from ostinato.service.inputs.sequences import step_packer
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.state.arena import Arena, Rows
from ostinato.service.state.device_arena import DeviceArena
from ostinato.service.tracing import Tracer, current_span


class PrivateWork(Work):
    """Work on a slot that no session holds; its outputs go to a future."""

    future: asyncio.Future[NDArray[Any]]

    def __init__(self, slot: int, inputs: NDArray[Any], future: asyncio.Future[NDArray[Any]]) -> None:
        super().__init__([slot], inputs, num_rows=1, num_steps=len(inputs), future=future, private=True)


class Engine:
    """One served version of a model.

    Args:
        owner: to whom work that is not private comes back.
        max_resident: sessions in memory at once, inclusive.
        generator: what sessions forecast by; None where they feed their outputs back.
        tracer: told of iterations; None = there are no traces.
        in_thread: whether iterations run in a thread of their own.

    Attributes:
        manifest: what sessions are sent and answer.
        given, made: how a step's tensors lie in a row, on their way in and out.
        framer: what makes steps frames, for a graph that takes those; None = a step is a step of the graph.
        series_clock: the times of its steps; None where its manifest has none. ``is_irregular``: it has, and steps come
            when they come.
        needs_context: whether no sequence can begin without a context.
        max_rows: sequences, or sessions, of one request.
        pack_step: a step's numbers to its bytes, see ``step_packer``; None where each number needs a look.
        arena: the sessions in memory. It has a slot for each of ``max_resident``, and two for each row that may be
            under way: its session's, and another where its state waits between iterations.
        made_on: the device and the shape of its runs, by which states say where they were made; empty on the CPU.
        admit, check_room, check_rows, leave, submit: the scheduler's, see there: kept as attributes, since every
            request asks them. With framing, ``submit`` makes frames first, and ``framed`` does that.
        new_future: makes a future of the event loop.
        watch: what sessions keep count of by a calibration; None where there is none.
    """

    def __init__(
        self,
        manifest: Manifest,
        runner: IterationRunner,
        owner: Owner,
        settings: Settings,
        metrics: ModelMetrics,
        *,
        max_resident: int,
        generator: GenerationEngine | None = None,
        tracer: Tracer | None = None,
        in_thread: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.manifest = manifest
        self.generator = generator
        self.metrics = metrics
        self.max_chunk_steps = manifest.limits.max_chunk_steps or settings.max_chunk_steps
        self.max_horizon = manifest.limits.max_horizon or settings.max_horizon
        self.max_batch_size, self.max_rows = runner.max_batch_size, settings.max_queue_rows
        self.given, self.made = manifest.given, manifest.made
        self.series_clock = SeriesClock.of(manifest)
        self.is_irregular = self.series_clock is not None and self.series_clock.is_irregular
        self.needs_context = any(not part.missing for part in manifest.context)
        self.pack_step = step_packer(manifest.inputs[0]) if self.given.is_single else None
        self._owner: Owner = owner
        self._is_traced = tracer is not None
        num_slots = max_resident + 2 * settings.max_queue_rows
        if isinstance(runner, DeviceRunner):
            self.arena: Arena = DeviceArena(manifest, num_slots, runner.device, runner.made_on)
        else:
            self.arena = Arena(manifest, num_slots)
        self.made_on = self.arena.made_on
        self._scheduler = Scheduler(
            runner,
            self.arena,
            self,
            max_queue_rows=settings.max_queue_rows,
            metrics=metrics,
            observer=IterationObserver(manifest, self.arena, metrics, clock),
            tracer=tracer,
            in_thread=in_thread,
            busy_poll_seconds=settings.busy_poll_seconds,
            clock=clock,
        )
        self.admit, self.check_room = self._scheduler.admit, self._scheduler.check_room
        self.check_rows = self._scheduler.check_rows
        self.leave, self.submit = self._scheduler.leave, self._scheduler.submit
        self.framer: Framer | None = None
        self.framed: FramedWorks | None = None
        if manifest.framing is not None:
            self.framer = Framer(manifest)
            self.max_chunk_steps = min(self.max_chunk_steps, manifest.framing.most_steps)
            self._owner = self.framed = FramedWorks(
                self.framer, self.arena, self.made, owner, self.submit, self._scheduler.loop, self.max_batch_size
            )
            self.submit = self.framed.submit
        self.new_future = self._scheduler.loop.create_future
        self.watch = self.arena.watch
        if manifest.calibration is not None:
            metrics.watch_intervals(manifest.calibration.levels)
        self.arena.on_open = metrics.opened.inc
        self.arena.on_load, self.arena.on_evict = metrics.loaded.inc, metrics.evicted.inc
        metrics.sessions_live.follow(lambda: self.arena.num_sessions)
        metrics.queue_depth.follow(lambda: self.num_rows)
        metrics.queue_saturation.follow(lambda: self.saturation)
        metrics.state_bytes.follow(lambda: self.arena.session_bytes)

    @property
    def num_rows(self) -> int:
        """Rows accepted and not yet handed back, and lanes of forecasts."""
        return self._scheduler.num_rows + (self.generator.num_rows if self.generator else 0)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way, be it a request of a session that waits for its store."""
        return bool(self.num_rows) or bool(self.arena.busy.any())

    @property
    def has_sessions(self) -> bool:
        """Whether any is in memory."""
        return self.arena.num_sessions > 0

    @property
    def has_unborn(self) -> bool:
        """Whether a session has begun that is there with its first commit."""
        return bool(self.arena.unborn)

    @property
    def saturation(self) -> float:
        """The share of the queue that is taken, of the steps' or of the forecasts', whichever is fuller."""
        own = self._scheduler.saturation
        return max(own, self.generator.saturation) if self.generator else own

    @property
    def initial_states(self) -> Rows:
        """The states of a sequence that has not begun, each of its ``row_shape``, without its context."""
        return self.arena.initial_rows[: self.arena.num_states]

    def drain(self) -> None:
        """Take no new work from now on; what was admitted is finished."""
        self._scheduler.drain()
        if self.generator is not None:
            self.generator.drain()

    def retire(self, why: str) -> None:
        """Take no new work from now on, which is told why; what was admitted is finished."""
        self._scheduler.retire(why)
        if self.generator is not None:
            self.generator.retire(why)

    def close(self) -> None:
        """Hand back whatever is under way as failed; the series tell of nothing that is here any more."""
        metrics = self.metrics
        for gauge in (metrics.sessions_live, metrics.queue_depth, metrics.queue_saturation, metrics.state_bytes):
            gauge.follow(lambda: 0.0)
        self._scheduler.close()
        if self.framed is not None:
            self.framed.close(
                self._scheduler.stopped("the server stopped before this was committed; nothing was applied")
            )
        if self.generator is not None:
            self.generator.close()

    def __repr__(self) -> str:
        return f"<Engine {self.manifest.name}/{self.manifest.version} {self.arena!r} {self._scheduler!r}>"

    def check_length(self, num_steps: int, place: str) -> None:
        """Refuse a chunk or sequence that is too long, before its numbers are looked at.

        Raises:
            TooLarge: it has more than ``max_chunk_steps``.
        """
        if num_steps > self.max_chunk_steps:
            raise TooLarge(f"{place} has {num_steps} steps; the most is {self.max_chunk_steps}")

    def last_answer(self, slot: int) -> NDArray[Any]:
        """The outputs of the chunk that a session applied last, rows ``[n, width]``; with framing those of the frames
        that it completed.
        """
        answer = self.arena.answer(slot)
        if self.framer is None:
            return answer
        steps, seq = int(self.arena.steps[slot]), int(self.arena.last_seq[slot])
        return answer[: self.framer.num_frames(seq, steps - seq)]

    def take_slot(self, states: Rows | None = None) -> int:
        """A private slot in the initial state, or in ``states``. The caller has admitted one row for it.

        Undone by ``give_back``.
        """
        slot = self.arena.allocate()
        if states is not None:
            self.arena.write(slot, states)
        return slot

    def give_back(self, slot: int) -> None:
        """Release a private slot, and the row that was admitted for it."""
        self.arena.release(slot)
        self.leave(1)

    def read_slot(self, slot: int) -> tuple[NDArray[Any], ...]:
        """Copies of what a private slot carries, each of its ``row_shape``."""
        return self.arena.read(slot)[: self.arena.num_carried]

    def start(self, slot: int, inputs: NDArray[Any]) -> PrivateWork:
        """Run a private slot on by ``inputs`` [n, F], with framing by frames; the work's future gives the outputs
        ``[n, O]`` (or ``[1, O]``).

        Unless the outputs arrive, the caller must ``abandon`` the work, which gives the slot back.
        """
        work = PrivateWork(slot, inputs, self.new_future())
        if self._is_traced:
            work.span = current_span.get()
        self._scheduler.submit(work)
        return work

    def abandon(self, work: PrivateWork) -> None:
        """Give the work's slot back: at once, or when a run under way lets go of it."""
        work.future.cancel()
        if not work.future.cancelled():  # it had been handed back before
            work.future.exception()
            self.give_back(work.slots[0])

    async def run(self, slot: int, inputs: NDArray[Any]) -> NDArray[Any]:
        """``start`` and wait; if it raises or is cancelled, the slot is given back."""
        work = self.start(slot, inputs)
        try:
            return await work.future
        except BaseException:
            self.abandon(work)
            raise

    def commit(self, finished: Finished) -> None:
        """See ``Owner.commit``: works of sessions are their owner's."""
        self._owner.commit(finished)

    def hand_back(self, works: list[Work]) -> None:
        """See ``Owner.hand_back``."""
        owned = []
        for work in works:
            if isinstance(work, PrivateWork):
                self._hand_back(work)
            else:
                owned.append(work)
        if owned:
            self._owner.hand_back(owned)

    def _hand_back(self, work: PrivateWork) -> None:
        if work.future.cancelled():
            self.give_back(work.slots[0])
        elif work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.outputs)
