"""The stage: services, the store behind them, and what is in between."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType

import numpy as np

from tests import networks
from tests.faults.chunk import Steps
from tests.faults.proxy import Proxy
from tests.redis_server import RedisServer
from tests.server import ServerProcess, free_port

MODEL = "lstm"
NUM_FEATURES = 3


class Between(Enum):
    """Where the proxies stand."""

    NOTHING = "nothing"
    CLIENTS_AND_SERVICE = "clients and service"
    SERVICE_AND_STORE = "service and store"


class Stage:
    """Replicas of the service over one store, all ready. A context manager.

    Args:
        store: ``memory``, ``lmdb`` or ``redis``.
        folder: for models, logs and what ``lmdb`` writes.
    """

    def __init__(
        self,
        store: str,
        folder: Path,
        generator: random.Random,
        *,
        num_replicas: int = 1,
        num_workers: int = 1,
        between: Between = Between.NOTHING,
    ) -> None:
        self.store, self.folder = store, folder
        self.num_workers = num_workers
        self.services: list[ServerProcess] = []
        self.redis: RedisServer | None = None
        self.proxies: list[Proxy] = []
        self.state_folder = folder / "state"
        self._num_replicas = num_replicas
        self._between = between
        self._random = generator
        self._exits = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        """Where clients reach the replicas."""
        doors = self.proxies if self._between is Between.CLIENTS_AND_SERVICE else self.services
        return [f"http://127.0.0.1:{door.port}" for door in doors]

    async def __aenter__(self) -> Stage:
        async with AsyncExitStack() as entered:
            self._exits = entered
            await self._set_up()
            self._exits = entered.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def offline(self, inputs: Steps) -> Steps:
        """What the model answers to a whole sequence ``[T, F]`` in one run."""
        return networks.offline(self.folder / "repository" / MODEL / "1", inputs)

    def logs(self) -> str:
        """The last lines of what each service has printed."""
        return "\n".join(
            f"{service.url}:\n  " + "\n  ".join(service.log().splitlines()[-20:]) for service in self.services
        )

    async def _set_up(self) -> None:
        golden_inputs = np.random.default_rng(0).normal(size=(3, 20, NUM_FEATURES)).astype(np.float32)
        network = networks.lstm(NUM_FEATURES, hidden_size=16).named(MODEL)
        await asyncio.to_thread(network.write, self.folder / "repository", golden_inputs)
        state = await self._open_store()
        for _ in range(self._num_replicas):
            service = ServerProcess(
                self.folder / "repository", self.folder, port=free_port(), state=state, workers=self.num_workers
            )
            self.services.append(service)
            self._exits.push_async_callback(asyncio.to_thread, _end, service)
        for service in self.services:
            await asyncio.to_thread(service.wait_until_ready)
        if self._between is Between.CLIENTS_AND_SERVICE:
            for service in self.services:
                await self._put_between(service.port)

    async def _open_store(self) -> str:
        if self.store == "memory":
            return "memory://"
        if self.store == "lmdb":
            return f"lmdb://{self.state_folder}"
        redis = RedisServer()
        self._exits.push_async_callback(asyncio.to_thread, redis.stop)
        await asyncio.to_thread(redis.start)
        self.redis = redis
        port = redis.port
        if self._between is Between.SERVICE_AND_STORE:
            port = (await self._put_between(redis.port)).port
        return f"redis://127.0.0.1:{port}/0"

    async def _put_between(self, port: int) -> Proxy:
        proxy = await self._exits.enter_async_context(Proxy(port, self._random))
        self.proxies.append(proxy)
        return proxy


def _end(service: ServerProcess) -> None:
    """End a service, whatever state it is in; what it served has been judged."""
    service.kill()
