"""The stage: services, the store behind them, and what is in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from enum import Enum, Flag, auto
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tests import networks
from tests.faults.chunk import Steps
from tests.faults.clock import STEPPED_CLOCK_FILE
from tests.faults.proxy import Proxy
from tests.redis_failover import RedisPair, RedisSentinels
from tests.redis_server import RedisCluster, RedisServer
from tests.server import ServerProcess, free_port

SERVICE = "ostinato.service.app:Ostinato"
MODEL = "lstm"
NUM_FEATURES = 3


class Between(Flag):
    """Where the proxies stand: one for each replica."""

    NOTHING = 0
    CLIENTS_AND_SERVICE = auto()
    SERVICE_AND_STORE = auto()


class Backing(Enum):
    """Which Redis there is, where one is the store."""

    ONE = auto()
    LOCKED = auto()
    """It has a password, which replicas read from a file."""
    PAIR = auto()
    """Another copies it, and may take its place."""
    SENTINELS = auto()
    """And Sentinels see to that."""
    CLUSTER = auto()
    """Three servers share the sessions, and each has a replica."""


class Stage:
    """Replicas of the service over one store, all ready. A context manager.

    Args:
        store: ``memory``, ``lmdb`` or ``redis``.
        folder: for models, logs and what ``lmdb`` writes.
        backing: which Redis there is.
        settings: of the services, where they are not the default.
        target: what is served.
        further_models: models besides the one that is stepped.

    Attributes:
        client_proxies, store_proxies: those in front of the replicas, and those in front of the store.
        redis: the server that is the store, or began as it; ``pair``: that one and its copy; ``cluster``: those
            that share the sessions.
        password_file: what a locked Redis' password is read from.
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
        backing: Backing = Backing.ONE,
        settings: Mapping[str, Any] | None = None,
        target: str = SERVICE,
        further_models: Sequence[str] = (),
    ) -> None:
        self.store, self.folder = store, folder
        self.num_workers = num_workers
        self.services: list[ServerProcess] = []
        self.redis: RedisServer | None = None
        self.pair: RedisPair | None = None
        self.cluster: RedisCluster | None = None
        self.password_file = folder / "password"
        self.client_proxies: list[Proxy] = []
        self.store_proxies: list[Proxy] = []
        self.state_folder = folder / "state"
        self.clock_file = folder / "clock"
        self.ports: list[int] = []
        self.settings = dict(settings or {})
        self._num_replicas = num_replicas
        self._between = between
        self._target = target
        self._further_models = further_models
        self._backing = backing
        self._random = generator
        self._exits = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        """Where clients reach the replicas."""
        ports = [proxy.port for proxy in self.client_proxies] or self.ports
        return [f"http://127.0.0.1:{port}" for port in ports]

    @property
    def grpc_addresses(self) -> dict[str, str]:
        """Where the replicas that are processes speak gRPC, by their URLs; nothing is in between."""
        environments = [service.environment for service in self.services]
        addresses = [f"127.0.0.1:{each['OSTINATO_GRPC_PORT']}" for each in environments]
        return dict(zip(self.urls, addresses, strict=False))

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

    def write_models(self, repository: Path) -> None:
        """Lay what is served into a repository."""
        golden_inputs = np.random.default_rng(0).normal(size=(3, 20, NUM_FEATURES)).astype(np.float32)
        for name in (MODEL, *self._further_models):
            networks.lstm(NUM_FEATURES, hidden_size=16).named(name).write(repository, golden_inputs)

    async def start_replicas(self, states: Sequence[str]) -> AsyncIterator[int]:
        """Start a replica for each address of the store; yields the port of each when it is ready."""
        for state in states:
            service = ServerProcess(
                *(self.folder / "repository", self.folder),
                port=free_port(),
                target=self._target,
                environment={STEPPED_CLOCK_FILE: str(self.clock_file)},
                **{"state": state, "workers": self.num_workers, "grpc_port": free_port(), **self.settings},
            )
            self.services.append(service)
            self.at_end(asyncio.to_thread, _end, service)
        for service in self.services:
            await asyncio.to_thread(service.wait_until_ready)
            yield service.port

    def at_end(self, end: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Await this when the play is over."""
        self._exits.push_async_callback(end, *arguments)

    async def _set_up(self) -> None:
        await asyncio.to_thread(self.write_models, self.folder / "repository")
        self.ports = [port async for port in self.start_replicas(await self._open_store())]
        if Between.CLIENTS_AND_SERVICE in self._between:
            self.client_proxies = [await self._put_between(port) for port in self.ports]

    async def _open_store(self) -> list[str]:
        """The address of the store for each replica."""
        if self.store == "memory":
            return ["memory://"]
        if self.store == "lmdb":
            return [f"lmdb://{self.state_folder}"] * self._num_replicas
        if self._backing is Backing.CLUSTER:
            self.cluster = RedisCluster(num_replicas=3)
            self.at_end(asyncio.to_thread, self.cluster.stop)
            await asyncio.to_thread(self.cluster.start)
            return [self.cluster.url] * self._num_replicas
        redis = await self._open_redis()
        self.redis = redis
        if isinstance(self.pair, RedisSentinels):
            return [self.pair.url] * self._num_replicas
        ports = [redis.port] * self._num_replicas
        if Between.SERVICE_AND_STORE in self._between:
            self.store_proxies = [await self._put_between(port) for port in ports]
            ports = [proxy.port for proxy in self.store_proxies]
        query = "" if redis.password is None else f"?password_file={self.password_file}"
        return [f"redis://127.0.0.1:{port}/0{query}" for port in ports]

    async def _open_redis(self) -> RedisServer:
        if self._backing in (Backing.PAIR, Backing.SENTINELS):
            self.pair = RedisPair() if self._backing is Backing.PAIR else RedisSentinels()
            self.at_end(asyncio.to_thread, self.pair.stop)
            await asyncio.to_thread(self.pair.start)
            return self.pair.master
        redis = RedisServer(password="0" if self._backing is Backing.LOCKED else None)
        if redis.password is not None:
            self.password_file.write_text(redis.password)
        self.at_end(asyncio.to_thread, redis.stop)
        await asyncio.to_thread(redis.start)
        return redis

    async def _put_between(self, port: int) -> Proxy:
        return await self._exits.enter_async_context(Proxy(port, self._random))


def _end(service: ServerProcess) -> None:
    """End a service, whatever state it is in; what it served has been judged."""
    service.kill()
