"""The engine of one version of a model of whole sequences, which has no sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from ostinato.service.config import Settings
from ostinato.service.engine.observer import InputObserver
from ostinato.service.engine.sequence.batching import SequenceRun, SequenceWork
from ostinato.service.engine.sequence.runner import SequenceRunner
from ostinato.service.engine.sequence.scheduler import RunCost, SequenceScheduler
from ostinato.service.errors import TooLarge
from ostinato.service.metrics.sequences import SequenceMetrics
from ostinato.service.state.arena import Rows
from ostinato.service.tracing import Tracer, current_span


class SequenceEngine:
    """One served version of a model that answers whole sequences.

    Args:
        tracer: told of runs with sequences that are traced; None = there are no traces.

    Attributes:
        manifest: what the graph takes and gives.
        given, made: the manifest's, kept: every request asks them.
        initial_states: none: a sequence begins with its context alone.
        max_rows: sequences of one request.
        check_room, check_rows: the scheduler's.
    """

    def __init__(
        self,
        runner: SequenceRunner,
        cost: RunCost,
        settings: Settings,
        metrics: SequenceMetrics,
        *,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.manifest = runner.manifest
        self.given, self.made = runner.manifest.given, runner.manifest.made
        self.initial_states: tuple[NDArray[Any], ...] = ()
        self.max_chunk_steps = runner.manifest.limits.max_chunk_steps or settings.max_chunk_steps
        self.max_rows = settings.max_queue_rows
        self._tracer = tracer
        self._scheduler = SequenceScheduler(
            runner,
            cost,
            inline_run_seconds=settings.inline_run_seconds,
            max_queue_rows=settings.max_queue_rows,
            metrics=metrics,
            observer=InputObserver(runner.manifest, metrics, clock),
            on_run=None if tracer is None else self._trace,
            clock=clock,
        )
        self.check_room, self.check_rows = self._scheduler.check_room, self._scheduler.check_rows
        metrics.queue_depth.follow(lambda: self.num_rows)
        metrics.queue_saturation.follow(lambda: self._scheduler.saturation)

    @property
    def num_rows(self) -> int:
        """Sequences accepted and not yet handed back."""
        return self._scheduler.num_rows

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self.num_rows)

    def drain(self) -> None:
        """Take no new work from now on; what was admitted is finished."""
        self._scheduler.drain()

    def retire(self, why: str) -> None:
        """Take no new work from now on, which is told why; what was admitted is finished."""
        self._scheduler.retire(why)

    def close(self) -> None:
        """Hand back whatever is under way as failed."""
        self._scheduler.close()

    def __repr__(self) -> str:
        return f"<SequenceEngine {self.manifest.name}/{self.manifest.version} {self._scheduler!r}>"

    def check_length(self, num_steps: int, place: str) -> None:
        """Refuse a sequence that is too long, before its numbers are looked at.

        Raises:
            TooLarge: it has more than ``max_chunk_steps``.
        """
        if num_steps > self.max_chunk_steps:
            raise TooLarge(f"{place} has {num_steps} steps; the most is {self.max_chunk_steps}")

    async def run(
        self, sequences: Sequence[NDArray[Any]], contexts: Sequence[Rows | None] | None = None
    ) -> list[NDArray[Any]]:
        """Run whole sequences of any lengths, together with whatever else runs.

        Args:
            sequences: rows ``[n, width]`` of ``given``, n at most ``max_chunk_steps``.
            contexts: of each sequence, an array for each context of the manifest.

        Returns:
            of each sequence, rows of ``made``: ``[n, width]``, or ``[1, width]`` where the graph answers once.

        Raises:
            TooLarge, Overloaded, Draining: refused before anything ran.
            RunFailed: the graph failed on one of them.
        """
        self._scheduler.admit(len(sequences))
        known = contexts or [None] * len(sequences)
        works = [
            SequenceWork(rows, context or (), self._scheduler.new_future())
            for rows, context in zip(sequences, known, strict=True)
        ]
        if self._tracer is not None:
            for work in works:
                work.span = current_span.get()
        self._scheduler.submit(works)
        futures: list[asyncio.Future[NDArray[Any]]] = [work.future for work in works]
        try:
            return [await future for future in futures]
        except BaseException:
            for future in futures:
                # What has begun runs to its end, and nobody asks for it.
                if not future.cancel() and not future.cancelled():
                    future.exception()
            raise

    def _trace(self, run: SequenceRun, began_at: float, ended_at: float) -> None:
        spans = {
            id(work.span): (work.span, 0.0 if work.alone else work.submitted_at) for work in run.works if work.span
        }
        if self._tracer is not None and spans:
            attributes = {
                "ostinato.model": self.manifest.name,
                "ostinato.version": self.manifest.version,
                "ostinato.rows": len(run.works),
                "ostinato.steps": run.num_steps,
            }
            self._tracer.iteration(spans.values(), began_at, ended_at, attributes)
