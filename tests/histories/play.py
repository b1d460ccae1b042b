"""One history played over one store, from the first request to the verdict."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.stage import Between, Stage
from tests.histories.history import History
from tests.histories.network import WIDTHS
from tests.histories.player import EVERYTHING, LIMITS, STEADY, Belief, Player, close_session, take_state
from tests.histories.reference import Reference
from tests.histories.sender import Sender
from tests.histories.sequences import name_of
from tests.histories.stage import LocalStage

SHORT_LIVES = (None, 0.05, 0.1, 0.3)
LONG_LIVES = (None, None, 0, 300.0)
SOON_FORGOTTEN = {"tombstone_seconds": 0.5}
FEW_IN_MEMORY = {"memory_budget": 1}
"""So that most requests find their session in the store only."""


@dataclass(frozen=True)
class Conditions:
    """The circumstances of histories.

    Attributes:
        num_replicas: with ``lmdb`` they share a folder, as workers do.
        num_clients: those that ask at once; 1 = the history is sequential.
        num_pairs: of sessions: with few, clients meet.
        lost_to_clients, lost_to_store: the share of answers that do not arrive.
        settings: of the services.
        ttl_seconds: see ``Player``.
        pauses: whether replicas are stopped (SIGSTOP) and continued meanwhile.
        kill_share: of these times, those at which a replica is killed (SIGKILL) and started again.
    """

    name: str
    store: str
    num_replicas: int = 1
    num_clients: int = 6
    num_pairs: int = 2
    lost_to_clients: float = 0.0
    lost_to_store: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    ttl_seconds: tuple[float | None, ...] = LONG_LIVES
    pauses: bool = False
    kill_share: float = 0.0

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
            settings=LIMITS | dict(conditions.settings),
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
        """A history of so many requests; with the same answers, the same seed asks the same.

        Under an even seed everything is asked, under an odd one sessions are not closed.
        """
        conditions, history = self._conditions, History()
        models = random.Random(seed).sample(list(WIDTHS), len(WIDTHS))
        firsts = [
            name_of(models[number % len(models)], number, seed) if number % 2 else f"{seed}-{number}"
            for number in range(conditions.num_pairs)
        ]
        names = [(first, f"{seed}-{number}-copy") for number, first in enumerate(firsts)]
        beliefs: dict[str, Belief] = {}
        serving, over = asyncio.Event(), asyncio.Event()
        serving.set()

        async def client(number: int) -> None:
            async with Sender(self.stage.urls) as sender:
                player = Player(
                    *(history, sender, random.Random(f"{seed} {number}"), names, beliefs),
                    num_replicas=conditions.num_replicas,
                    verbs=STEADY if seed % 2 else EVERYTHING,
                    ttl_seconds=conditions.ttl_seconds,
                    serving=serving,
                )
                await player.play(num_requests // conditions.num_clients)

        disturbing = asyncio.create_task(self._disturb(random.Random(seed), serving, over))
        try:
            async with asyncio.TaskGroup() as clients:
                for number in range(conditions.num_clients):
                    clients.create_task(client(number))
        finally:
            over.set()
            await disturbing
        async with Sender(self.stage.urls) as sender:
            await take_leave(history, sender, [name for pair in names for name in pair], conditions.num_replicas)
        return history

    async def _disturb(self, generator: random.Random, serving: asyncio.Event, over: asyncio.Event) -> None:
        """Stop and continue replicas, or kill and start them, until it is ``over``.

        What is under way at a kill is not answered; what would be asked until all serve again, waits for ``serving``.
        """
        while self._conditions.pauses and not over.is_set():
            await asyncio.sleep(generator.uniform(0, 0.3))
            service = generator.choice(self.stage.services)
            if generator.random() < self._conditions.kill_share:
                serving.clear()
                try:
                    await asyncio.to_thread(service.kill)
                    service.start()
                    await asyncio.to_thread(service.wait_until_ready)
                finally:
                    serving.set()
                continue
            service.pause()
            try:
                await asyncio.sleep(generator.uniform(0, 0.5))
            finally:
                service.resume()


async def take_leave(history: History, sender: Sender, names: Sequence[str], num_replicas: int) -> None:
    """Take every session's state through every replica, so that what was done is seen; then close it."""
    for name in names:
        for replica in range(num_replicas):
            await take_state(history, sender, name, replica)
        await close_session(history, sender, name, 0)
