"""Loading: each version of the repository is checked and gets its engine, or is rejected, with the reason."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.weights import weights_with_nan
from ostinato.service.catalogue.catalogue import Catalogue, Rejection
from ostinato.service.catalogue.engine_maker import EngineMaker, Loaded
from ostinato.service.catalogue.generation_checks import LoadedGenerator, load_generator
from ostinato.service.catalogue.passing import is_passing
from ostinato.service.catalogue.postponement import Postponement
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_recurrent_model
from ostinato.service.catalogue.repository import digest_of, find_versions, mark_of, place_of, read_manifest, why_other
from ostinato.service.catalogue.sequence_checks import LoadedSequence, load_sequence_model
from ostinato.service.catalogue.unloading import Unloading, info_labels
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.protocols import Owner
from ostinato.service.errors import ModelRejected, StateStoreUnavailable
from ostinato.service.metrics.series import Metrics
from ostinato.service.public_words import PublicWords
from ostinato.service.state.base import Store
from ostinato.service.tether import Release, Tether
from ostinato.service.tracing import Tracer

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often what is not served is looked at; nothing is, where everything is served."""


def load_version(directory: Path, settings: Settings) -> Loaded:
    """Read one version and check it: the manifest, the files, the graphs against the manifest, golden inputs against
    golden outputs, and whether rows are independent of what shares their run.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    manifest = read_manifest(directory, settings.repository)
    if manifest.is_unguarded:
        logger.warning(
            "%s: it was exported by a release that did not look for NaN within the network, nor for codes outside its "
            "tables: either may be answered with a number. Export it again",
            directory,
        )
    try:
        return _load_checked(manifest, directory, settings)
    except ModelRejected as error:
        for graph in manifest.graphs.values():
            if cause := weights_with_nan(directory / graph.file):
                raise ModelRejected(f"{error}; {cause}") from error
        raise


def _load_checked(manifest: Manifest, directory: Path, settings: Settings) -> Loaded:
    if manifest.task in ("encoder_decoder", "generator"):
        return load_generator(manifest, directory, max_lanes=settings.max_batch_size)
    if manifest.task == "sequence":
        return load_sequence_model(manifest, directory, settings)
    return load_recurrent_model(manifest, directory, settings)


def load_offline(directory: Path, settings: Settings) -> LoadedModel | LoadedSequence:
    """A version that answers steps or whole sequences, checked.

    Raises:
        ModelRejected: a check failed, or it does neither.
    """
    loaded = load_version(directory, settings)
    if isinstance(loaded, LoadedGenerator):
        raise ModelRejected(f"{directory}: task {loaded.manifest.task!r} has no steps")
    return loaded


class Loader:
    """Fills a catalogue from the repository.

    Args:
        owner: to whom the engines hand sessions' work back.
        tether: told which version is loaded, so that one at which this process dies is known.
        verdicts: of trials in a process of its own, before a version is loaded in this one; None = it is not tried.

    Attributes:
        failure: why the repository could not be read; None where it could.
        trouble: why the store did not answer when it was asked for missing versions; empty where it did.
        missing: (model, version) -> number of sessions, of versions that sessions run and that are not served.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        store: Store,
        owner: Owner,
        metrics: Metrics,
        tether: Tether | None = None,
        verdicts: Verdicts | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._store, self._metrics = store, metrics
        self._tether = tether or Tether()
        self._verdicts = verdicts
        self._maker = EngineMaker(settings, store, owner, metrics, tracer)
        self._words = PublicWords(settings)
        self._postponed: dict[Path, Postponement] = {}
        self._gone: set[Path] = set()
        self._digests: dict[Path, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._places: dict[tuple[str, str], Path] = {}
        self.trouble = ""
        self.failure: str | None = None
        self.missing: dict[tuple[str, str], int] = {}

    def unloading(self) -> Unloading:
        """What lets go of versions again."""
        return Unloading(self._catalogue, self._store, self._metrics)

    async def load(self) -> None:
        """Check every version, and serve or reject it. The checks run in a thread; never raises for a version."""
        directories = await self._find()
        for directory in directories:
            async with self._one_at_a_time:
                await self._try(directory)
        self._count()  # what is missing

    async def keep(self) -> None:
        """Try again what is not served, until everything is: what the system refused, with pauses that grow; a version
        that failed a check, when its files have changed; a repository that could not be read.
        """
        while self.failure or self._catalogue.rejections:
            await asyncio.sleep(LOOK_SECONDS)
            await self.retry()

    async def retry(self) -> None:
        """Try again what is due of what is not served."""
        if self.failure:
            postponed = self._postponed.setdefault(self._settings.repository, Postponement())
            if time.monotonic() >= postponed.due_at:
                postponed.put_off()
                await self.load()
            return
        await self._look_for_gone()
        for rejection in list(self._catalogue.rejections):
            directory = self._places[rejection.model, rejection.version]
            if await self._is_due(directory, rejection):
                await self.try_now(directory)

    def states(self) -> list[dict[str, Any]]:
        """How each version is: ready, failed and why, or missing and for how many sessions."""
        states: list[dict[str, Any]] = [
            {"model": engine.manifest.name, "version": engine.manifest.version, "status": "ready"}
            for engine in self._catalogue.served
        ]
        states += [
            {"model": rejection.model, "version": rejection.version, "status": "failed", "reason": rejection.reason}
            for rejection in self._catalogue.rejections
        ]
        states += [
            {"model": model, "version": version, "status": "missing", "sessions": count}
            for (model, version), count in self.missing.items()
        ]
        return states

    async def try_now(self, directory: Path) -> None:
        """Check a version that is not served, and serve or reject it; never raises for the version. Anyone who wants
        the same meanwhile, be it by a request, a look at the repository or a retry, waits for what comes of it.
        """
        async with self._one_at_a_time:
            await self._try(directory)
            if self._verdicts is not None:
                # Nobody may ask it for days, and it has the memory of a whole interpreter.
                await asyncio.to_thread(self._verdicts.end_child)

    async def why_other(self, directory: Path) -> str:
        """Why the files of a version that is served are not those that it was loaded from; empty where they are."""
        digest = self._digests.get(directory)
        return "" if digest is None else await asyncio.to_thread(why_other, directory, digest)

    async def _look_for_gone(self) -> None:
        """Forget why a version failed whose folder is no more, and try it again where the folder has come back."""
        if not (self._catalogue.rejections or self._gone):
            return
        try:
            found = set(await asyncio.to_thread(find_versions, self._settings.repository))
        except (ModelRejected, OSError, RuntimeError):
            return  # nothing is known of any folder
        for rejection in list(self._catalogue.rejections):
            directory = self._settings.repository / rejection.model / rejection.version
            if directory not in found:
                logger.info("%s/%s is no longer in the repository", rejection.model, rejection.version)
                self._catalogue.forget(rejection.model, rejection.version)
                self._metrics.version_failed.labels(model=rejection.model, version=rejection.version).set(0)
                self._postponed.pop(directory, None)
                self._gone.add(directory)
                self._count()
        for directory in sorted(self._gone & found):
            self._gone.discard(directory)
            await self.try_now(directory)

    async def _find(self) -> list[Path]:
        """The directories of all versions; none where the repository cannot be read."""
        try:
            directories = await asyncio.to_thread(find_versions, self._settings.repository)
        except (ModelRejected, OSError, RuntimeError) as error:
            if self.failure is None:
                logger.error("%s; it will be tried again", error)
            self.failure = self._words.of(f"{error}; it will be tried again")
            return []
        self.failure = None
        return directories

    async def _is_due(self, directory: Path, rejection: Rejection) -> bool:
        if rejection.is_passing:
            return time.monotonic() >= self._postponed.setdefault(directory, Postponement()).due_at
        try:
            mark = await asyncio.to_thread(mark_of, directory)
        except RuntimeError:  # no thread to be had
            return False
        return mark is not None and mark != rejection.mark

    async def _try(self, directory: Path) -> None:
        """Load a version, and serve or reject it; never raises for the version."""
        release = Release(*place_of(directory, self._settings.repository), "")
        self._places[release.model, release.version] = directory
        if self._catalogue.engine_named(release.model, release.version) is not None:
            return
        try:
            mark = await asyncio.to_thread(mark_of, directory)
            release = release._replace(mark=mark or "")
            if reason := self._tether.why_set_aside(release):
                raise ModelRejected(reason)
            if self._verdicts is not None:
                await asyncio.to_thread(self._verdicts.check, directory, mark)
            self._tether.tell("loading", release)
            loaded = await asyncio.to_thread(load_version, directory, self._settings)
            digest = await asyncio.to_thread(digest_of, directory)
            if await asyncio.to_thread(mark_of, directory) != mark:
                raise ModelRejected(f"{directory}: its files changed while they were read")
            if self._verdicts is not None:
                await asyncio.to_thread(self._verdicts.claim, directory, digest)
            self.serve(loaded)
            self._digests[directory] = digest
            self._postponed.pop(directory, None)
            self.missing.pop((release.model, release.version), None)
        except Exception as error:
            self._reject(directory, release, error)
        finally:
            self._count()  # at once: who is told that it is served, and looks, must find it counted
            self._tether.tell("loaded", release)

    def _reject(self, directory: Path, release: Release, error: Exception) -> None:
        reason = str(error) if isinstance(error, ModelRejected) else f"{type(error).__name__}: {error}"
        passes = is_passing(error)
        if passes:
            self._postponed.setdefault(directory, Postponement()).put_off()
            reason += "; it will be tried again"
        known = [each.reason for each in self._catalogue.rejected(release.model) if each.version == release.version]
        if self._words.of(reason) not in known:
            logger.error("%s/%s is not served: %s", release.model, release.version, reason)
        told = self._words.of(reason)
        self._catalogue.reject(Rejection(release.model, release.version, told, release.mark or None, passes))

    def _count(self) -> None:
        metrics, rejections = self._metrics, self._catalogue.rejections
        metrics.models_failed.labels().set(len(rejections))
        metrics.versions_missing.labels().set(len(self.missing))
        for engine in self._catalogue.served:
            labels = {"model": engine.manifest.name, "version": engine.manifest.version}
            metrics.version_failed.labels(**labels).set(0)
            metrics.missing_version_sessions.labels(**labels).set(0)
        for rejection in rejections:
            metrics.version_failed.labels(model=rejection.model, version=rejection.version).set(1)
        for (model, version), count in self.missing.items():
            metrics.missing_version_sessions.labels(model=model, version=version).set(count)

    def serve(self, loaded: Loaded) -> None:
        """Build the engine of a version that passed its checks, and serve it from now on."""
        manifest = loaded.manifest
        engine = self._maker.make(loaded)
        if isinstance(engine, Engine):
            self._store.attach(engine.arena)
            self._follow_sessions(engine)
        self._metrics.model_info.labels(**info_labels(manifest)).set(1)
        self._catalogue.add(engine)
        logger.info(
            "%s/%s is served: off from its network by %.2g, a step of a full batch takes %.2f ms, promise %s, run %s",
            manifest.name,
            manifest.version,
            loaded.golden_difference,
            loaded.step_seconds * 1000,
            f"fixed on {engine.made_on}" if isinstance(engine, Engine) and engine.made_on else manifest.promise,
            "in a thread" if self._maker.is_long(loaded) else "on the event loop",
        )

    async def find_missing(self) -> bool:
        """Count the sessions of versions that are not served, and tell the log; to be called behind ``load``.

        Returns:
            whether the store answered.
        """
        try:
            self.missing = await self._store.missing_versions()
        except StateStoreUnavailable as error:
            self.note_trouble(error)
            return False
        except Exception:
            logger.exception("the sessions of versions that are not served could not be counted")
        for (model, version), count in self.missing.items():
            logger.error("%s/%s is not served, and %d sessions run it: put it back", model, version, count)
        self._count()
        return True

    def _follow_sessions(self, engine: Engine) -> None:
        store, arena, manifest = self._store, engine.arena, engine.manifest
        stored = self._metrics.sessions_stored.labels(model=manifest.name, version=manifest.version)
        stored.follow(lambda: store.num_live(arena))

    def note_trouble(self, error: Exception) -> None:
        """Say, once in the same words, why the store cannot be used yet."""
        said = str(error) if isinstance(error, StateStoreUnavailable) else f"{type(error).__name__}: {error}"
        if said != self.trouble:
            logger.error("the store: %s; it is asked again, and until it answers the service is not ready", said)
        self.trouble = said
