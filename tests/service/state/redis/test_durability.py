from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from ostinato.service.state.redis.address import redis_address
from ostinato.service.state.redis.durability import weaknesses
from ostinato.service.state.redis.store import RedisStore
from tests.redis_server import RedisServer
from tests.waiting import until_true

SOUND = "maxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, []),
        ({"maxmemory_policy": "allkeys-lru"}, ["allkeys-lru: as soon as a maxmemory is set"]),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": "1000"}, ["volatile-ttl: when it is full"]),
        ({"aof_enabled": "0"}, ["appendonly is off"]),
        ({"aof_last_write_status": "err"}, ["its last write to the append-only file failed"]),
        ({"maxmemory_policy": None}, ["does not tell its maxmemory-policy"]),
        ({"aof_enabled": None, "maxmemory_policy": "allkeys-random"}, ["allkeys-random", "does not tell whether"]),
    ],
)
def test_what_may_lose_sessions_is_said(facts: dict[str, str | None], said: list[str]) -> None:
    lines = dict(line.split(":") for line in SOUND.splitlines())
    told = {name: value for name, value in {**lines, **facts}.items() if value is not None}
    found = weaknesses("\r\n".join(f"{name}:{value}" for name, value in told.items()))
    assert len(found) == len(said)
    assert all(word in sentence for word, sentence in zip(said, found, strict=True))


async def test_a_store_that_starts_looks_at_its_redis(
    redis_server: RedisServer, at_end: list[Callable[[], Awaitable[object]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with closing(redis_server.client()) as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
        try:
            store = RedisStore(redis_address(redis_server.url), tombstone_seconds=10, memory_budget=1e6)
            at_end.append(store.stop)
            await store.start()
            await until_true(lambda: "maxmemory-policy is allkeys-lfu" in caplog.text, "a word on its policy")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert "appendonly" not in caplog.text
