"""One history played over one store, from the first request to the verdict."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.stage import Between, Stage
from tests.histories.history import History
from tests.histories.player import Belief, Chances, Player
from tests.histories.reference import Reference
from tests.histories.sender import Sender
from tests.histories.stage import LocalStage


@dataclass(frozen=True)
class Conditions:
    """Under which histories are played.

    Attributes:
        num_replicas: with ``lmdb`` they share a folder, as workers do.
        num_clients: those that ask at once; 1 = the history is sequential.
        num_pairs: of sessions: with few, clients meet.
        lost_to_clients, lost_to_store: the share of answers that do not arrive.
        settings: of the services.
    """

    name: str
    store: str
    num_replicas: int = 1
    num_clients: int = 6
    num_pairs: int = 2
    lost_to_clients: float = 0.0
    lost_to_store: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    ttl_seconds: tuple[float | None, ...] = (None, None, 0, 300.0)

    @property
    def between(self) -> Between:
        """Where proxies are needed."""
        between = Between.CLIENTS_AND_SERVICE if self.lost_to_clients else Between.NOTHING
        return between | (Between.SERVICE_AND_STORE if self.store == "redis" else Between.NOTHING)

    @property
    def reference(self) -> Reference:
        """The rules with these settings."""
        return Reference(tombstone_seconds=self.settings.get("tombstone_seconds", 300.0))


class Playing:
    """A stage on which histories are played one after the other, each with names of its own. A context manager."""

    def __init__(self, conditions: Conditions, stage_kind: type[Stage] = LocalStage, seed: int = 0) -> None:
        self._conditions = conditions
        self._folder = Path(tempfile.mkdtemp(prefix="ostinato-histories-"))
        self.stage = stage_kind(
            *(conditions.store, self._folder, random.Random(seed)),
            num_replicas=conditions.num_replicas,
            between=conditions.between,
            settings=conditions.settings,
        )

    async def __aenter__(self) -> Playing:
        await self.stage.__aenter__()
        for proxy in self.stage.client_proxies:
            proxy.loss = self._conditions.lost_to_clients
        for proxy in self.stage.store_proxies:
            proxy.loss, proxy.max_delay_seconds = self._conditions.lost_to_store, 0.002
            proxy.max_outage_seconds = 0.05
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stage.__aexit__(None, None, None)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def play(self, seed: int, num_requests: int) -> History:
        """A history of so many requests; with the same answers, the same seed asks the same."""
        conditions, history = self._conditions, History()
        names = [(f"{seed}-{number}", f"{seed}-{number}-copy") for number in range(conditions.num_pairs)]
        beliefs: dict[str, Belief] = {}

        async def client(number: int) -> None:
            async with Sender(self.stage.urls) as sender:
                player = Player(
                    *(history, sender, random.Random(f"{seed} {number}"), names, beliefs),
                    num_replicas=conditions.num_replicas,
                    chances=Chances(ttl_seconds=conditions.ttl_seconds),
                )
                await player.play(num_requests // conditions.num_clients)

        async with asyncio.TaskGroup() as clients:
            for number in range(conditions.num_clients):
                clients.create_task(client(number))
        return history
