"""Unloading: versions that are served no more, whose engines are let go of when nothing is under way in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.catalogue import AnyEngine, Catalogue
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import VersionInUse
from ostinato.service.metrics.series import Metrics
from ostinato.service.state.base import Store

LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""What is under way in an engine then is handed back as failed."""

logger = logging.getLogger(__name__)


class Unloading:
    """Lets go of engines, each once.

    Attributes:
        held: what ends with this, besides.
        see_off: what becomes of the sessions that are left in an engine's memory, when nothing is under way in it.
    """

    def __init__(self, catalogue: Catalogue, store: Store, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._store = store
        self._metrics = metrics
        self._tasks: dict[AnyEngine, asyncio.Task[None]] = {}
        self.held: set[asyncio.Task[int]] = set()
        self.see_off: Callable[[Engine], Awaitable[object]] | None = None

    def check(self, engine: AnyEngine) -> None:
        """Look whether an engine can be let go of.

        Raises:
            VersionInUse: sessions of it would be lost.
        """
        if isinstance(engine, Engine) and engine.has_sessions and not self._store.is_shared:
            model, version = _named(engine)
            raise VersionInUse(f"sessions run {model}/{version}, and memory:// has no other place for them")

    def begin(self, engine: AnyEngine) -> asyncio.Task[None]:
        """Serve an engine no more from now on; the task ends when it is let go of."""
        task = self._tasks.get(engine)
        if task is None:
            self._catalogue.remove(engine)
            self._metrics.model_info.labels(**info_labels(engine.manifest)).set(0)
            model, version = _named(engine)
            engine.retire(f"model {model!r} version {version!r} is unloaded, and was not asked; load it again")
            task = self._tasks[engine] = asyncio.create_task(self._let_go(engine))
            task.add_done_callback(lambda _: self._tasks.pop(engine, None))
        return task

    def under_way(self, model: str, version: str) -> list[asyncio.Task[None]]:
        """What lets go of engines of a version just now: until that is done, no other of it may come."""
        return [task for engine, task in self._tasks.items() if _named(engine) == (model, version)]

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [*self._tasks.values(), *self.held]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _let_go(self, engine: AnyEngine) -> None:
        await self._wait_until_idle(engine)
        try:
            if isinstance(engine, Engine) and self.see_off is not None:
                await self.see_off(engine)
                await self._wait_until_idle(engine)
            engine.close()
            if isinstance(engine, Engine):
                self._store.detach(engine.arena)
            self._catalogue.let_go(engine)
        except Exception:
            logger.exception("%s/%s is served no more, and its memory could not be let go of", *_named(engine))
            return
        logger.info("%s/%s is served no more", *_named(engine))

    async def _wait_until_idle(self, engine: AnyEngine) -> None:
        give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while engine.is_busy and asyncio.get_running_loop().time() < give_up_at:
            await asyncio.sleep(LOOK_SECONDS)


def info_labels(manifest: Manifest) -> dict[str, str]:
    """The labels of a version's ``ostinato_model_info``, which is 1 while the version is served."""
    is_invariant = str(manifest.batch_invariant).lower()
    return {
        "model": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "batch_invariant": is_invariant,
    }


def _named(engine: AnyEngine) -> tuple[str, str]:
    return engine.manifest.name, engine.manifest.version
