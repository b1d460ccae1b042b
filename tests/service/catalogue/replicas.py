"""Processes that share a document of decisions, each with a repository of its own; and loads that are held up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.catalogue import loading
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.loading import Loader, load_version
from ostinato.service.catalogue.reload import LiveModels
from ostinato.service.config import Settings
from ostinato.service.errors import Starting, StateStoreUnavailable, UnknownModel
from ostinato.service.metrics.series import Metrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.document import MemoryDocument
from ostinato.service.state.memory import MemoryStore
from tests import networks
from tests.waiting import until_true

INPUTS = np.arange(6, dtype=np.float32).reshape(2, 3, 1)


class Failing(MemoryDocument):
    """A document of a store that may be away.

    Attributes:
        fails_at: what does not answer just now: ``get``, ``compare_and_set``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fails_at: set[str] = set()

    @property
    def content(self) -> bytes:
        return self._content

    @content.setter
    def content(self, content: bytes) -> None:
        self._content = content

    async def get(self) -> bytes:
        if "get" in self.fails_at:
            raise StateStoreUnavailable("connection refused")
        return await super().get()

    async def compare_and_set(self, before: bytes, after: bytes) -> bool:
        if "compare_and_set" in self.fails_at:
            raise StateStoreUnavailable("connection refused")
        return await super().compare_and_set(before, after)


class Replica:
    """One process of those that share a document."""

    def __init__(self, repository: Path, document: Failing, *, watches: bool = False) -> None:
        self.repository, self.document = repository, document
        self.catalogue = Catalogue()
        store = MemoryStore(tombstone_seconds=0, max_sessions=10)
        settings = Settings(repository=repository)
        self.store, self.turns = store, (turns := Turns())
        self.sessions = Sessions(store, self.catalogue, turns, default_ttl_seconds=60)
        self.ledger = Ledger(store, turns)
        self.metrics = Metrics()
        self.loader = Loader(settings, self.catalogue, store, self.ledger, self.metrics)
        self.live = LiveModels(document, self.catalogue, self.loader, repository, watches=watches)
        self._following: asyncio.Task[None] | None = None

    async def begin(self) -> Replica:
        await self.live.begin()
        await self.loader.load()
        self.catalogue.complete = True
        return self

    def follow(self) -> None:
        self._following = asyncio.create_task(self.live.keep())

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.live.stop()
        self.catalogue.close()

    def put(self, version: str, *, seed: int = 0) -> Path:
        """A version in its repository."""
        network = networks.lstm(1, 4, seed=seed) if seed else networks.accumulator()
        return network.named("m", version).write(self.repository, INPUTS)

    def opens(self, version: str | None = None) -> str:
        """Which version answers, or what is told in its place."""
        try:
            return self.catalogue.resolve_any("m", version).manifest.version
        except (UnknownModel, Starting) as error:
            return type(error).__name__

    async def comes_to_open(self, expected: str, version: str | None = None) -> None:
        async def opens() -> bool:
            return self.opens(version) == expected

        await until_true(opens, f"{version} to be {expected}")


@contextlib.contextmanager
def held_loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Loads that begin, and do not end before this does."""
    begun: list[Path] = []
    gate = threading.Event()

    def load(directory: Path, settings: Settings) -> Any:
        begun.append(directory)
        assert gate.wait(60)
        return load_version(directory, settings)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_version", load)
        try:
            yield begun
        finally:
            gate.set()
