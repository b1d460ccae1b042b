"""What serves the outputs that one version of a model generates: its graphs, its lanes, and what may be asked of it."""

from __future__ import annotations

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.config import Settings
from ostinato.service.engine.generation.graphs import Decoder, Encoder
from ostinato.service.engine.generation.scheduler import Generations
from ostinato.service.errors import TooLarge
from ostinato.service.metrics.series import GenerationMetrics


class GenerationEngine:
    """One served version of a model that generates.

    Args:
        encoder: None of a generator, and of a recurrent model, whose sessions a decoder goes on from.
        in_thread: whether iterations run beside the event loop.

    Attributes:
        scheduler: runs the generations.
        max_source_steps, max_output_steps, max_beams: the most that one input, or one output, may have.
    """

    def __init__(
        self,
        manifest: Manifest,
        encoder: Encoder | None,
        decoder: Decoder,
        settings: Settings,
        metrics: GenerationMetrics,
        *,
        in_thread: bool = False,
    ) -> None:
        self.manifest = manifest
        limits = manifest.limits
        self.max_source_steps = limits.max_source_steps or settings.max_source_steps
        self.max_output_steps = limits.max_output_steps or settings.max_output_steps
        self.max_beams = min(limits.max_beams or settings.max_beams, settings.max_batch_size)
        self.decoder = decoder
        self.scheduler = Generations(
            encoder,
            decoder,
            metrics,
            max_lanes=settings.max_batch_size,
            max_queue_lanes=settings.max_queue_rows,
            share_runs=manifest.batch_invariant,
            in_thread=in_thread,
        )

    @property
    def num_rows(self) -> int:
        """Lanes of generations accepted and not yet finished."""
        return self.scheduler.num_rows

    def drain(self) -> None:
        """Take no new work from now on; what was admitted goes on."""
        self.scheduler.drain()

    def close(self) -> None:
        """Fail whatever is under way."""
        self.scheduler.close()

    def __repr__(self) -> str:
        return f"<GenerationEngine {self.manifest.name}/{self.manifest.version} {self.scheduler!r}>"

    def check_source(self, num_steps: int, place: str) -> None:
        """Refuse a source that is too long.

        Raises:
            TooLarge: it has more than ``max_source_steps``.
        """
        if num_steps > self.max_source_steps:
            raise TooLarge(f"{place} has {num_steps} steps; the most is {self.max_source_steps}")
