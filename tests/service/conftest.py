from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.edge.tags import RequestIds
from ostinato.service.state.base import Store
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.memory import MemoryStore
from ostinato.service.state.redis.address import redis_address
from ostinato.service.state.redis.store import RedisStore
from ostinato.service.state.schemas import SCHEMA
from tests.redis_server import RedisCluster, RedisServer
from tests.service.state.places import Place, PlaceOf

FIXTURES = {"redis": "redis_server", "redis cluster": "redis_cluster"}


@pytest.fixture
def one_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all requests that come without an id called the same, so that answers can be compared."""
    monkeypatch.setattr(RequestIds, "make", lambda _: b"made-1")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as running:
        yield running


@pytest.fixture
def place_of(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    at_end: list[Callable[[], Awaitable[object]]],
) -> PlaceOf:
    """Its stores are stopped when the test is over."""

    def place(name: str) -> Place:
        if name in FIXTURES:
            server: RedisServer | RedisCluster = request.getfixturevalue(FIXTURES[name])
            for node in server.nodes if isinstance(server, RedisCluster) else [server]:
                with closing(node.client()) as client:
                    client.flushall()

        def open_store(
            *,
            memory_budget: float = 1e6,
            tombstone_seconds: float = 10,
            record_schema: int = SCHEMA,
            max_sessions: int | None = None,
        ) -> Store:
            store: Store
            settings: dict[str, Any] = {
                "memory_budget": memory_budget,
                "tombstone_seconds": tombstone_seconds,
                "record_schema": record_schema,
                "max_sessions": max_sessions or 1000,
            }
            if name == "memory":
                store = MemoryStore(tombstone_seconds=tombstone_seconds, max_sessions=max_sessions or 20)
            elif name == "lmdb":
                store = LmdbStore(tmp_path, **settings)
            else:
                store = RedisStore(redis_address(server.url), **settings)
            at_end.append(store.stop)
            return store

        return open_store

    return place
