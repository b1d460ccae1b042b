"""Departures: versions that are unloaded, with what becomes of their sessions, so that none of these is left behind.

First it is decided, for all processes, that no session of the version begins any more. Then the sessions are seen to;
and when every process knows, once more until there is none. Only then the version goes. A process that had one begin
all the same, since it was still, does that itself before it lets go of the engine.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ostinato.service.catalogue.catalogue import AnyEngine, Catalogue
from ostinato.service.catalogue.decisions import Leaving
from ostinato.service.catalogue.reload import LEASE_SECONDS, LiveModels, VersionName
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, StateStoreUnavailable, VersionInUse
from ostinato.service.inference.evacuation import Evacuation
from ostinato.service.inference.migration import check_takes_the_same
from ostinato.service.sessions.sessions import Sessions

LOOK_SECONDS = 0.02
GRACE_SECONDS = 0.2
"""Beyond the lease, for a session that was about to begin at its end."""

logger = logging.getLogger(__name__)


class Departures:
    """The unloads of a worker, one of a version at a time, anyone who asks for it.

    Args:
        sessions: of any tenant.
    """

    def __init__(self, catalogue: Catalogue, live: LiveModels, sessions: Sessions) -> None:
        self._catalogue = catalogue
        self._live = live
        self._sessions = sessions.of_tenant("")
        self._tasks: dict[VersionName, tuple[Leaving, asyncio.Task[int]]] = {}
        live.unloading.see_off = self._see_off

    def begin(self, model: str, version: str, leaving: Leaving) -> asyncio.Task[int]:
        """Unload a version; how many sessions were closed, or migrated. It is carried out whether or not somebody still
        waits for it; who asks again for the same, also when it is done and nobody has heard, has the same.

        Raises, here or when it is awaited:
            UnknownModel: it is not served, or the other version is not.
            InvalidInput: a name means it; or its sessions cannot continue so. Those that did before do.
            VersionInUse: there are sessions; or it is being unloaded otherwise; or somebody has taken that back.
            StateStoreUnavailable: it is not unloaded.
        """
        known = self._tasks.get((model, version))
        if known is not None and known[1].done() and self._catalogue.engine_named(model, version) is not None:
            known = None  # it has come again since, or could not be unloaded
        if known is None:
            engine = self._catalogue.resolve_own(model, version)
            task = asyncio.create_task(self._unload(engine, leaving))
            # Where the process ends, the version stays as it is, and no session of it begins until somebody asks again.
            self._live.unloading.held.add(task)
            task.add_done_callback(self._live.unloading.held.discard)
            task.add_done_callback(partial(_tell, model, version))
            known = self._tasks[model, version] = leaving, task
        if known[0] != leaving:
            raise VersionInUse(f"{model}/{version} is being unloaded, with 'sessions': {known[0].sessions!r}")
        return known[1]

    def forget(self, model: str, version: str) -> None:
        """Who asked has heard what came of it."""
        self._tasks.pop((model, version), None)

    async def _unload(self, engine: AnyEngine, leaving: Leaving) -> int:
        model, version = engine.manifest.name, engine.manifest.version
        if isinstance(engine, Engine):
            await self._check(engine, leaving)
        await self._live.change(lambda decisions: decisions.with_leaving(model, version, leaving))
        try:
            count = await self._empty(engine, leaving) if isinstance(engine, Engine) else 0
            await self._live.unload(engine, leaving)
        except Exception:
            try:
                await self._live.change(lambda decisions: decisions.without_leaving(model, version, leaving))
            except StateStoreUnavailable as error:
                logger.warning("no session of %s/%s begins until it is loaded or unloaded: %s", model, version, error)
            raise
        return count

    async def _empty(self, engine: Engine, leaving: Leaving) -> int:
        """See to the sessions until there is none, and none can begin; how many there were."""
        is_known_at = asyncio.get_running_loop().time() + LEASE_SECONDS + GRACE_SECONDS
        count = await self._see_to_all(engine, leaving)
        if self._sessions.outlive_engines:  # in any process
            await asyncio.sleep(is_known_at - asyncio.get_running_loop().time())
        while self._catalogue.is_beginning(engine):
            await asyncio.sleep(LOOK_SECONDS)
        count += await self._see_to_all(engine, leaving)
        await self._check(engine, leaving)
        return count

    async def _see_to_all(self, engine: Engine, leaving: Leaving) -> int:
        return await self._evacuation(engine, leaving).of_all() if leaving.sessions in ("close", "migrate") else 0

    async def _check(self, engine: Engine, leaving: Leaving) -> None:
        """Look whether a version can be unloaded so, which changes nothing.

        Raises:
            UnknownModel, InvalidInput, VersionInUse: see ``begin``.
        """
        manifest = engine.manifest
        if leaving.sessions == "migrate":
            target = self._catalogue.resolve_own(manifest.name, leaving.version)
            if not isinstance(target, Engine):
                raise InvalidInput(f"version {leaving.version!r} has no sessions", field="version")
            check_takes_the_same(manifest, target.manifest)
        elif leaving.sessions == "refuse" and await Evacuation(self._sessions, engine).has_any():
            raise VersionInUse(
                f"sessions run {manifest.name}/{manifest.version}: say what to do with them ('sessions': 'close', "
                "'migrate' with the 'version' that they continue with, or 'keep', by which they wait in the store "
                "until it is loaded again)"
            )
        elif (
            leaving.sessions == "keep"
            and not self._sessions.outlive_engines
            and await Evacuation(self._sessions, engine).has_any()
        ):
            raise InvalidInput("memory:// has no other place for sessions: close or migrate them", field="sessions")

    def _evacuation(self, engine: Engine, leaving: Leaving) -> Evacuation:
        if leaving.sessions == "close":
            return Evacuation(self._sessions, engine)
        target = self._catalogue.resolve_own(engine.manifest.name, leaving.version)
        assert isinstance(target, Engine)
        return Evacuation(self._sessions, engine, target)

    async def _see_off(self, engine: Engine) -> None:
        """What becomes of sessions that this process has in memory of a version that was unloaded, anywhere."""
        leaving = self._live.decided.of(engine.manifest.name).leaving.get(engine.manifest.version)
        if leaving is None or leaving.sessions not in ("close", "migrate"):
            return
        try:
            count = await self._evacuation(engine, leaving).of_resident()
        except OstinatoError as error:
            logger.warning("sessions of %s/%s are left: %s", engine.manifest.name, engine.manifest.version, error)
        else:
            if count:
                logger.info("%d late sessions of %s/%s: %s", count, *_named(engine), leaving.sessions)


def _named(engine: Engine) -> VersionName:
    return engine.manifest.name, engine.manifest.version


def _tell(model: str, version: str, task: asyncio.Task[int]) -> None:
    """Have the log know what came of an unload of which perhaps nobody else hears."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.warning("%s/%s is not unloaded: %s", model, version, error)
