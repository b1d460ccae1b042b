"""Live models: versions that are loaded while the service runs, and what operators decide, in all workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from ostinato.service.catalogue.arrivals import Arrivals
from ostinato.service.catalogue.catalogue import AnyEngine, Catalogue
from ostinato.service.catalogue.decisions import Decisions, Leaving, decoded
from ostinato.service.catalogue.loading import Loader
from ostinato.service.catalogue.repository import directory_of, find_versions, place_of
from ostinato.service.catalogue.surprises import surprises
from ostinato.service.errors import InvalidInput, ModelRejected, StateStoreUnavailable, UnknownModel, VersionInUse
from ostinato.service.state.document import MAX_BYTES, Document, checked

LOOK_SECONDS = 1.0
LEASE_SECONDS = 2.0
"""What was read so long ago is read again before a session begins: who puts something there knows when all know it."""
BEGIN_SECONDS = 10.0
"""How long a start may wait for what is decided; then it is asked for again with each look."""
MAX_ATTEMPTS = 50
"""At a change of the document that others change, too."""

VersionName: TypeAlias = tuple[str, str]
"""A model and a version."""

logger = logging.getLogger(__name__)


class LiveModels:
    """Loads versions as they are asked for, meant, or found, and follows the document of decisions.

    Args:
        watches: whether versions that come to the repository are loaded by themselves.

    Attributes:
        trouble: why what is decided is not known newly; empty where it is.
        decided: what is, as far as it was read.
        unloading: what lets go of engines.
    """

    def __init__(
        self, document: Document, catalogue: Catalogue, loader: Loader, repository: Path, *, watches: bool = False
    ) -> None:
        self._document = document
        self._catalogue = catalogue
        self._loader = loader
        self._repository = repository
        self._watches = watches
        self.unloading = loader.unloading()
        self._content: bytes | None = None
        self._known_at = -LEASE_SECONDS
        self.decided = Decisions()
        self._taken_up: dict[VersionName, int] = {}
        self._awaited: set[VersionName] = set()
        self._loads: dict[VersionName, asyncio.Task[None]] = {}
        self._requests: dict[VersionName, asyncio.Task[None]] = {}
        self._arrivals = Arrivals()
        self._told: set[str] = set()
        self._one_look = asyncio.Lock()
        self.trouble = ""
        catalogue.are_decisions_known = False
        catalogue.confirm = self._confirm

    async def begin(self) -> None:
        """Learn what is decided, before anybody is answered; where the store does not say, ``keep`` asks again."""
        try:
            await asyncio.wait_for(self._read(), BEGIN_SECONDS)
        except Exception as error:
            self._note(error)

    async def keep(self) -> None:
        """Follow what is decided, look at the repository, and try again what is not served, for ever."""
        await asyncio.gather(self._repeat(self._loader.retry), self._repeat(self._follow))

    async def stop(self) -> None:
        """End what it holds."""
        await self.unloading.stop()
        tasks = [*self._requests.values(), *self._loads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._document.stop()

    def load(self, model: str, version: str) -> asyncio.Task[None]:
        """Have a version of the repository served, by this worker now and by the others within seconds. It is carried
        out whether or not somebody still waits for it; who asks again meanwhile has the same.

        Raises, when it is awaited:
            UnknownModel: there is no such folder.
            InvalidInput: a check failed, or it is served from other files; says which.
            StateStoreUnavailable: nothing was loaded; or this worker serves it, and no other was told. Says which.
        """
        place = model, version
        task = self._requests.get(place)
        if task is None:
            task = self._requests[place] = asyncio.create_task(self._load(place))
            task.add_done_callback(partial(self._finish, place))
        return task

    async def change(self, decide: Callable[[Decisions], Decisions]) -> Decisions:
        """Put a decision into effect, here and wherever the store is shared; what is then.

        Raises:
            StateStoreUnavailable: the store does not answer, or others decide without a pause.
            OstinatoError: as ``decide``.
        """
        for _ in range(MAX_ATTEMPTS):
            content = await self._document.read()
            decided = decide(decoded(content))
            while len(written := decided.written(secrets.randbits(62))) > MAX_BYTES:
                decided = decided.forgetful()
            if await self._document.swap(content, written):
                self._take(written, decided)
                await self._sort()
                return decided
        raise StateStoreUnavailable("others decide about models without a pause; nothing was decided")

    async def unload(self, engine: AnyEngine, leaving: Leaving) -> None:
        """Have a version that is leaving so served no more, by this worker from now on and by the others within
        seconds. Its sessions that there are stay in the store, and are answered when it is loaded again.

        Raises:
            VersionInUse: somebody has taken that back; or there are sessions that would be lost.
            InvalidInput: a name means it.
            StateStoreUnavailable: nothing was unloaded.
        """
        model, version = engine.manifest.name, engine.manifest.version
        self.unloading.check(engine)
        await self.change(lambda decisions: decisions.with_unload(model, version, leaving))
        self.let_go_of_unloaded()
        await asyncio.gather(*self.unloading.under_way(model, version))

    def let_go_of_unloaded(self) -> None:
        """Serve no more what was decided to be unloaded."""
        for engine in self._catalogue.served:
            if engine.manifest.version in self.decided.of(engine.manifest.name).unloaded:
                with contextlib.suppress(VersionInUse):  # it is asked for again with the next look
                    self.unloading.check(engine)
                    self.unloading.begin(engine)

    async def catch_up(self, model: str, seconds: float | None) -> None:
        """Take in what was decided elsewhere; where versions of a model are loaded by that, wait so long for them."""
        await self._follow()
        if tasks := [task for (name, _), task in self._loads.items() if name == model]:
            await asyncio.wait(tasks, timeout=seconds)

    async def is_version(self, model: str, name: str) -> bool:
        """Whether a name is a version's, be it served, failed, or in the repository only."""
        if self._catalogue.engine_named(model, name) is not None:
            return True
        if any(rejection.version == name for rejection in self._catalogue.rejected(model)):
            return True
        return (model, name) in await self._find()

    async def _repeat(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it about once a second, whatever comes of it."""
        told = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await act()
                told = ""
            except Exception as error:
                if told != repr(error):
                    logger.exception("a look after the models failed; the next is in a moment")
                told = repr(error)

    async def _follow(self) -> None:
        """Take in what was decided elsewhere, and begin to load what is wanted and has come."""
        try:
            await self._read()
            self.trouble = ""
        except StateStoreUnavailable as error:
            self._note(error)
        self.let_go_of_unloaded()
        async with self._one_look:
            coming = await self._sort()
            for place, directory in coming.items():
                wanted = self._asked_for(place)
                if await self._arrivals.is_there(directory, at_once=place in self._awaited):
                    if wanted is None:
                        logger.info("%s/%s has come to the repository", *place)
                    else:
                        self._taken_up[place] = wanted
                    self._begin(place, directory)
            self._arrivals.forget_all_but(set(coming.values()))

    async def _read(self) -> None:
        asked_at = time.monotonic()
        content = await self._document.get()
        self._known_at = asked_at  # whatever it says: where nobody can read it, nobody can unload anything either
        if checked(content) == self._content:
            return
        decided = decoded(content)
        is_first = self._content is None
        self._take(content, decided)
        if is_first:
            # What was asked for until now lies in the repository, and is loaded with all that does.
            self._taken_up = {
                (model, version): number
                for model, own in decided.models.items()
                for version, number in own.loads.items()
            }
            self._adopt()

    def _confirm(self) -> Awaitable[None] | None:
        """See ``Catalogue.confirm``."""
        return None if time.monotonic() - self._known_at < LEASE_SECONDS else self._read_again()

    async def _read_again(self) -> None:
        before = self._known_at
        try:
            await self._read()
        except StateStoreUnavailable:
            if self._known_at == before:  # else what is there cannot be read, and changes nothing
                raise

    def _take(self, content: bytes, decided: Decisions) -> None:
        """Know what is decided. What is gone is so at once, whatever names mean until other versions are there."""
        self._content, self.decided = content, decided
        self._catalogue.gone = {(model, name) for model, own in decided.models.items() for name in own.gone}

    async def _sort(self) -> dict[VersionName, Path]:
        """Have what is decided mean what can be meant here; the folders of versions that are to be loaded yet."""
        catalogue = self._catalogue
        sought = {
            (model, version)
            for model, own in self.decided.models.items()
            for version in own.wanted
            if catalogue.engine_named(model, version) is None
        }
        found = await self._find() if sought or self._watches else {}
        failed = {(each.model, each.version) for each in catalogue.rejections}
        asked_anew = {place for place in sought & failed if self._asked_for(place) != self._taken_up.get(place)}
        coming = {
            place: directory
            for place, directory in found.items()
            if (self._watches or place in sought)
            and place[1] not in self.decided.of(place[0]).unloaded
            and catalogue.engine_named(*place) is None
            and place not in self._loads
            and not self.unloading.under_way(*place)
            and (place not in failed or place in asked_anew)
        }
        self._awaited = {*self._loads, *(sought & coming.keys())}
        self._adopt()
        self._tell_all(sought - found.keys())
        return coming

    def _adopt(self) -> None:
        """Have the names mean what is decided; of a version that is about to be there, what they meant before."""
        if self._content is None:
            return
        former = self._catalogue.decisions
        models = {
            model: own.held_back(former.of(model), {version for name, version in self._awaited if name == model})
            for model, own in self.decided.models.items()
        }
        self._catalogue.decisions = msgspec.structs.replace(self.decided, models=models)
        self._catalogue.are_decisions_known = True

    async def _load(self, place: VersionName) -> None:
        model, version = place
        try:
            await self._document.read()
        except StateStoreUnavailable as error:
            raise StateStoreUnavailable(f"no other worker could be told, so nothing was loaded: {error}") from error
        directory = await asyncio.to_thread(directory_of, self._repository, model, version)
        await asyncio.gather(*self.unloading.under_way(model, version))
        if self._catalogue.engine_named(model, version) is None:
            await asyncio.shield(self._begin(place, directory))
            for rejection in self._catalogue.rejected(model):
                if rejection.version == version:
                    raise InvalidInput(f"model {model!r} version {version!r} is not served: {rejection.reason}")
        elif why := await self._loader.why_other(directory):
            raise InvalidInput(
                f"model {model!r} version {version!r} is served from the files that were there before, and those that "
                f"are there now were not loaded ({why}); give them a version of their own"
            )
        try:
            await self.change(lambda decisions: decisions.with_load(model, version))
        except StateStoreUnavailable as error:
            raise StateStoreUnavailable(
                f"{model}/{version} is served by the worker that was asked, and no other was told: {error}; load it "
                "again"
            ) from error

    def _finish(self, place: VersionName, task: asyncio.Task[None]) -> None:
        del self._requests[place]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, InvalidInput | UnknownModel):  # the loader has told of those
            logger.warning("%s/%s was asked for: %s", *place, error)

    def _begin(self, place: VersionName, directory: Path) -> asyncio.Task[None]:
        """The load of a version, which is one, whoever wants it."""
        task = self._loads.get(place)
        if task is None:
            task = self._loads[place] = asyncio.create_task(self._carry_out(place, directory))
        return task

    async def _carry_out(self, place: VersionName, directory: Path) -> None:
        try:
            await self._loader.try_now(directory)
        except Exception:
            logger.exception("%s/%s could not be loaded", *place)
        finally:
            del self._loads[place]
            self._awaited.discard(place)
            self._adopt()

    async def _find(self) -> dict[VersionName, Path]:
        """The versions that the repository has; none where it cannot be read, which is told where that is tried."""
        try:
            found = await asyncio.to_thread(find_versions, self._repository)
        except (ModelRejected, RuntimeError):
            return {}
        return {place_of(directory, self._repository): directory for directory in found}

    def _asked_for(self, place: VersionName) -> int | None:
        """How often a version was asked for by name; None = never."""
        return self.decided.of(place[0]).loads.get(place[1])

    def _tell_all(self, absent: set[VersionName]) -> None:
        """Tell the log, once, of names that do not mean here what somebody may expect."""
        sentences = surprises(self.decided, self._catalogue, absent)
        for sentence in sorted(sentences - self._told):
            logger.warning("%s", sentence)
        self._told = sentences

    def _note(self, error: Exception) -> None:
        """Say, once in the same words, why what is decided is not known newly."""
        trouble = str(error) or type(error).__name__
        if self.trouble != trouble:
            logger.error("what was decided about models is not known newly: %s", trouble)
        self.trouble = trouble
