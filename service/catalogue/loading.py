"""Loading: each version of the repository is checked and gets its engine, or is rejected, with the reason."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ostinato.service.catalogue.catalogue import Catalogue, Rejection
from ostinato.service.catalogue.generation_checks import LoadedGenerator, load_generator
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.catalogue.repository import find_versions, read_manifest
from ostinato.service.config import Settings
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.protocols import Owner
from ostinato.service.errors import ModelRejected, StateStoreUnavailable
from ostinato.service.metrics.series import GenerationMetrics, Metrics, ModelMetrics
from ostinato.service.state.base import Store

logger = logging.getLogger(__name__)


def load_version(directory: Path, settings: Settings) -> LoadedModel | LoadedGenerator:
    """Read one version and check it: the manifest, the files, the graphs against the manifest, golden inputs against
    golden outputs, and whether rows are independent of what shares their run.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    manifest = read_manifest(directory)
    if manifest.task in ("encoder_decoder", "generator"):
        return load_generator(manifest, directory, max_lanes=settings.max_batch_size)
    return load_model(directory, settings)


class Loader:
    """Fills a catalogue from the repository.

    Args:
        owner: to whom the engines hand sessions' work back.

    Attributes:
        failure: why the repository could not be read; None where it could.
        missing: (model, version) -> number of sessions, of versions that sessions run and that are not served.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, store: Store, owner: Owner, metrics: Metrics) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._store = store
        self._owner = owner
        self._metrics = metrics
        self.failure: str | None = None
        self.missing: dict[tuple[str, str], int] = {}

    async def load(self) -> None:
        """Check every version, and serve or reject it. The checks run in a thread; never raises for a version."""
        try:
            directories = await asyncio.to_thread(find_versions, self._settings.repository)
        except (ModelRejected, OSError) as error:
            self.failure = str(error)
            logger.error("%s", error)
            directories = []
        for directory in directories:
            model, version = directory.parent.name, directory.name
            try:
                self.serve(await asyncio.to_thread(load_version, directory, self._settings))
            except Exception as error:
                reason = str(error) if isinstance(error, ModelRejected) else f"{type(error).__name__}: {error}"
                logger.error("%s/%s is not served: %s", model, version, reason)
                self._catalogue.rejections.append(Rejection(model, version, reason))
        self._metrics.models_failed.labels().set(len(self._catalogue.rejections))

    def serve(self, loaded: LoadedModel | LoadedGenerator) -> None:
        """Build the engine of a version that passed its checks, and serve it from now on."""
        manifest = loaded.manifest
        engine: Engine | GenerationEngine
        if isinstance(loaded, LoadedGenerator):
            engine = self._generation_engine(loaded)
        else:
            engine = self._engine(loaded)
            self._store.attach(engine.arena)
        self._metrics.model_info.labels(
            model=manifest.name,
            version=manifest.version,
            task=manifest.task,
            batch_invariant=str(manifest.batch_invariant).lower(),
        ).set(1)
        self._catalogue.add(engine)
        logger.info(
            "%s/%s is served: off from its network by %.2g, a step of a full batch takes %.2f ms, promise %s, run %s",
            manifest.name,
            manifest.version,
            loaded.golden_difference,
            loaded.step_seconds * 1000,
            manifest.promise,
            "in a thread" if self._is_long(loaded) else "on the event loop",
        )

    async def find_missing(self) -> None:
        """Count the sessions of versions that are not served, and tell the log; to be called behind ``load``."""
        try:
            self.missing = await self._store.missing_versions()
        except StateStoreUnavailable as error:
            logger.error("%s", error)
        except Exception:
            logger.exception("the sessions of versions that are not served could not be counted")
        for (model, version), count in self.missing.items():
            logger.error("%s/%s is not served, and %d sessions run it: put it back", model, version, count)

    def _engine(self, loaded: LoadedModel) -> Engine:
        manifest = loaded.manifest
        in_thread = self._choose_mode(loaded, "step")
        if not in_thread and loaded.step_seconds > 0:
            # On the event loop an iteration of many steps must not take longer than that, either.
            num_steps = max(1, int(self._settings.inline_run_seconds / loaded.step_seconds))
            loaded.runner.max_iteration_steps = min(loaded.runner.max_iteration_steps, num_steps)
        return Engine(
            manifest,
            loaded.runner,
            self._owner,
            self._settings,
            ModelMetrics(self._metrics, manifest.name, manifest.version),
            max_resident=self._store.num_slots(manifest),
            generator=self._generation_engine(loaded.generator) if loaded.generator else None,
            in_thread=in_thread,
        )

    def _generation_engine(self, loaded: LoadedGenerator) -> GenerationEngine:
        manifest = loaded.manifest
        return GenerationEngine(
            manifest,
            loaded.encoder,
            loaded.decoder,
            self._settings,
            GenerationMetrics(self._metrics, manifest.name, manifest.version),
            in_thread=self._choose_mode(loaded, "decode"),
        )

    def _choose_mode(self, loaded: LoadedModel | LoadedGenerator, graph: str) -> bool:
        """Whether a graph runs in a thread, which the series tell from now on."""
        in_thread = self._is_long(loaded)
        for mode, is_it in (("inline", not in_thread), ("thread", in_thread)):
            labels = {"model": loaded.manifest.name, "version": loaded.manifest.version, "graph": graph, "mode": mode}
            self._metrics.run_mode.labels(**labels).set(float(is_it))
        return in_thread

    def _is_long(self, loaded: LoadedModel | LoadedGenerator) -> bool:
        return loaded.step_seconds > self._settings.inline_run_seconds
