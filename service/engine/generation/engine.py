"""The engine of one version of a model that generates: its graphs, its lanes, and what may be asked of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.config import Settings
from ostinato.service.engine.generation.decoding import Decoding
from ostinato.service.engine.generation.graphs import DecoderRunner, EncoderRunner, Start
from ostinato.service.engine.generation.scheduler import Asked, GenerationScheduler, GenerationWork
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.tracing import Tracer, current_span


class GenerationEngine:
    """One served version of a model that generates.

    Args:
        encoder: None of a generator, and of a recurrent model, where the decoder starts from a session.
        tracer: told of outputs that are traced; None = there are no traces.
        max_lane_steps: lanes x steps of an iteration of several steps, inclusive.
        in_thread: whether iterations run in a thread of their own.

    Attributes:
        part: what the manifest says of the decoder.
        start_value: what stands for the step before the first: a code, or numbers ``[O]``.
        max_rows: inputs of one request.
        max_source_steps, max_output_steps, max_beams: the most that one input, or one output, may have.
    """

    def __init__(
        self,
        manifest: Manifest,
        encoder: EncoderRunner | None,
        decoder: DecoderRunner,
        settings: Settings,
        metrics: GenerationMetrics,
        *,
        tracer: Tracer | None = None,
        max_lane_steps: int = sys.maxsize,
        in_thread: bool = False,
    ) -> None:
        self._tracer = tracer
        self.manifest = manifest
        limits = manifest.limits
        self.max_source_steps = limits.max_source_steps or settings.max_source_steps
        self.max_output_steps = limits.max_output_steps or settings.max_output_steps
        self.max_beams = min(limits.max_beams or settings.max_beams, settings.max_batch_size)
        self.max_rows = settings.max_queue_rows
        self._decoder = decoder
        self.part = decoder.part
        self.start_value = decoder.start_value
        self._scheduler = GenerationScheduler(
            encoder,
            decoder,
            metrics,
            max_lanes=settings.max_batch_size,
            max_queue_lanes=settings.max_queue_rows,
            max_lane_steps=max_lane_steps,
            share_runs=manifest.batch_invariant,
            in_thread=in_thread,
            on_end=None if tracer is None else self._trace,
        )

    @property
    def num_rows(self) -> int:
        """Lanes of generations accepted and not yet finished."""
        return self._scheduler.num_rows

    @property
    def saturation(self) -> float:
        """The share of the queue that is taken."""
        return self._scheduler.saturation

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
        """Fail whatever is under way."""
        self._scheduler.close()

    def __repr__(self) -> str:
        return f"<GenerationEngine {self.manifest.name}/{self.manifest.version} {self._scheduler!r}>"

    def check_rows(self, num_lanes: int) -> None:
        """Refuse more inputs than there may be lanes under way, before any of them is read.

        Raises:
            TooLarge: ``num_lanes`` alone exceed ``max_queue_rows``.
        """
        self._scheduler.check_rows(num_lanes)

    def start(self) -> Start:
        """What an output begins from that has no source: the decoder's initial states."""
        return self._decoder.start()

    def start_of_session(self, manifest: Manifest, states: Sequence[NDArray[Any]]) -> Start:
        """What a forecast begins from: a session's ``states``, in the order of its model's manifest."""
        return self._decoder.start_of_session(manifest, states)

    async def run(self, asked: Sequence[Asked]) -> list[Decoding]:
        """Have outputs made, together with whatever else runs, and wait for all of them.

        Raises:
            TooLarge, Overloaded, Draining: refused before anything was begun.
            RunFailed: a graph failed.
        """
        return await self._scheduler.run(asked, None if self._tracer is None else current_span.get())

    def begin(self, asked: Sequence[Asked]) -> list[GenerationWork]:
        """``run`` without waiting. The caller must ``let_go`` of them in the end; raises as ``run``."""
        return self._scheduler.begin(asked, None if self._tracer is None else current_span.get())

    def let_go(self, generations: Sequence[GenerationWork]) -> None:
        """Free what is still under way of them, at the next iteration."""
        self._scheduler.let_go(generations)

    def _trace(self, work: GenerationWork, ended_at: float) -> None:
        if self._tracer is not None and work.span is not None:
            attributes = {"ostinato.model": self.manifest.name, "ostinato.version": self.manifest.version}
            self._tracer.output(work.span, work.submitted_at, work.began_at, ended_at, attributes)
