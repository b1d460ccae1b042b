"""The maker of engines: what runs a version that was loaded and checked."""

from __future__ import annotations

import contextlib
import sys
from typing import TypeAlias

from ostinato.service.catalogue.catalogue import AnyEngine
from ostinato.service.catalogue.generation_checks import LoadedGenerator
from ostinato.service.catalogue.memory import readable
from ostinato.service.catalogue.recurrent_checks import LoadedModel
from ostinato.service.catalogue.sequence_checks import NUM_TIMED_STEPS, LoadedSequence
from ostinato.service.config import Settings
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.protocols import Owner
from ostinato.service.engine.sequence.batching import MAX_ROW_STEPS
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import ModelRejected
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.metrics.sequences import SequenceMetrics
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.state.arena import session_bytes
from ostinato.service.state.base import Store
from ostinato.service.tracing import Tracer

Loaded: TypeAlias = LoadedModel | LoadedGenerator | LoadedSequence


class EngineMaker:
    """Makes the engines of a worker.

    Args:
        owner: to whom the engines hand sessions' work back.
    """

    def __init__(
        self, settings: Settings, store: Store, owner: Owner, metrics: Metrics, tracer: Tracer | None = None
    ) -> None:
        self._settings = settings
        self._store = store
        self._owner = owner
        self._metrics = metrics
        self._tracer = tracer

    def make(self, loaded: Loaded) -> AnyEngine:
        """The engine of a version; raises ModelRejected where there is no memory for its sessions."""
        if isinstance(loaded, LoadedGenerator):
            return self._generation_engine(loaded)
        if isinstance(loaded, LoadedSequence):
            return self._sequence_engine(loaded)
        return self._engine(loaded)

    def is_long(self, loaded: Loaded) -> bool:
        """Whether a run takes too long for the event loop."""
        if isinstance(loaded, LoadedSequence):
            largest = loaded.cost.of(MAX_ROW_STEPS // NUM_TIMED_STEPS, NUM_TIMED_STEPS)
            return largest > self._settings.inline_run_seconds
        return loaded.step_seconds > self._settings.inline_run_seconds

    def _engine(self, loaded: LoadedModel) -> Engine:
        manifest = loaded.manifest
        in_thread = self._choose_mode(loaded, "step")
        if not in_thread and loaded.step_seconds > 0:
            # On the event loop an iteration of many steps must not take longer than that, either.
            num_steps = max(1, int(self._settings.inline_run_seconds / loaded.step_seconds))
            loaded.runner.max_iteration_steps = min(loaded.runner.max_iteration_steps, num_steps)
        num_slots = self._store.num_slots(manifest)
        with contextlib.suppress(MemoryError):
            return Engine(
                manifest,
                loaded.runner,
                self._owner,
                self._settings,
                ModelMetrics(self._metrics, manifest.name, manifest.version),
                max_resident=num_slots,
                generator=self._generation_engine(loaded.generator) if loaded.generator else None,
                tracer=self._tracer,
                in_thread=in_thread,
            )
        # As long as the settings and the manifest are as they are there is no use in trying again.
        num_slots += 2 * self._settings.max_queue_rows
        kept = (
            f", {manifest.keep_inputs:,} steps that are kept (keep_inputs) among them" if manifest.keep_inputs else ""
        )
        raise ModelRejected(
            f"a session takes {readable(session_bytes(manifest))} of memory{kept}, and the system has no room for "
            f"{num_slots:,} of them: have fewer in memory (--max-sessions with memory://, else --memory-budget; and "
            "--max-queue-rows), or a version that keeps fewer steps"
        )

    def _generation_engine(self, loaded: LoadedGenerator) -> GenerationEngine:
        manifest = loaded.manifest
        in_thread, max_lane_steps = self._choose_mode(loaded, "decode"), sys.maxsize
        if not in_thread and loaded.step_seconds > 0:
            # As above: several steps together must not take longer than one of all lanes may.
            most_seconds = self._settings.inline_run_seconds
            max_lane_steps = int(most_seconds / loaded.step_seconds * self._settings.max_batch_size)
        return GenerationEngine(
            manifest,
            loaded.encoder,
            loaded.decoder,
            self._settings,
            GenerationMetrics(self._metrics, manifest.name, manifest.version),
            tracer=self._tracer,
            max_lane_steps=max_lane_steps,
            in_thread=in_thread,
        )

    def _sequence_engine(self, loaded: LoadedSequence) -> SequenceEngine:
        manifest = loaded.manifest
        self._choose_mode(loaded, "sequence")  # of a step of a full batch; each run is judged by itself
        metrics = SequenceMetrics(self._metrics, manifest.name, manifest.version)
        return SequenceEngine(loaded.runner, loaded.cost, self._settings, metrics, tracer=self._tracer)

    def _choose_mode(self, loaded: Loaded, graph: str) -> bool:
        """Whether a graph runs in a thread, which the series tell from now on."""
        in_thread = self.is_long(loaded)
        for mode, is_it in (("inline", not in_thread), ("thread", in_thread)):
            labels = {"model": loaded.manifest.name, "version": loaded.manifest.version, "graph": graph, "mode": mode}
            self._metrics.run_mode.labels(**labels).set(float(is_it))
        return in_thread
