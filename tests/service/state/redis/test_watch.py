from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from ostinato.service.state.redis import watch as watches
from ostinato.service.state.redis.address import RedisAddress, redis_address
from ostinato.service.state.redis.connection import pack
from ostinato.service.state.redis.servers import Command, RedisServers
from ostinato.service.state.redis.watch import Watch
from tests.faults.proxy import Proxy
from tests.redis_failover import RedisPair
from tests.service.state.redis.fake_redis import FakeRedis
from tests.waiting import until_true

AtEnd = list[Callable[[], Awaitable[object]]]

GET = Command(0, pack("GET", "a"))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "WATCH_SECONDS", 0.01)


async def watch_over(
    address: RedisAddress, at_end: AtEnd, on_failure: Callable[[], object] = lambda: None
) -> tuple[Watch, RedisServers]:
    servers = RedisServers(address)
    watch = Watch(servers, on_failure)
    at_end.append(servers.close)
    at_end.append(watch.stop)
    watch.start()
    return watch, servers


async def test_nobody_is_ready_before_redis_has_answered_and_whoever_was_is_again(
    at_end: AtEnd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ostinato")
    said = {b"PERSIST": b"-LOADING Redis is loading the dataset in memory\r\n"}
    async with FakeRedis(lambda _, command: said.get(command[0])) as server:
        failures: list[None] = []
        address = RedisAddress((("127.0.0.1", server.port),))
        watch, servers = await watch_over(address, at_end, lambda: failures.append(None))
        assert watch.trouble == f"redis://127.0.0.1:{server.port} has not answered yet"
        await until_true(lambda: "LOADING" in str(watch.trouble), "what Redis says")
        said.clear()
        await until_true(lambda: watch.trouble is None, "its data")
        assert failures
        for word in ("MISCONF no disk", "NOREPLICAS none"):
            said[b"PERSIST"] = f"-{word}\r\n".encode()
            await until_true(lambda word=word: word in str(watch.trouble), word)
            said.clear()
            await until_true(lambda: watch.trouble is None, "the end of it")
        await watch.stop()
        await servers.close()
    lines = [record.getMessage() for record in caplog.records if "changed" in record.getMessage()]
    assert [line.partition(":")[0] for line in lines] == [
        "sessions cannot be changed",
        *["sessions cannot be changed", "sessions can be changed again"] * 2,
    ]


async def test_where_a_name_or_the_sentinels_lead_to_another_server_so_does_the_link(at_end: AtEnd) -> None:
    async with FakeRedis() as one, FakeRedis() as other:
        ports = [one.port]

        def says(_: int, command: list[bytes]) -> bytes | None:
            port = str(ports[-1])
            return (
                f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n".encode() if command[0] == b"SENTINEL" else None
            )

        async with FakeRedis(says) as sentinel:
            address = RedisAddress((("127.0.0.1", sentinel.port),), service="sessions")
            watch, servers = await watch_over(address, at_end)
            await until_true(lambda: watch.trouble is None, "the first")
            assert await servers.ask([GET]) == [None]
            ports.append(other.port)  # and nobody is cut off
            await until_true(lambda: servers.named(("127.0.0.1", sentinel.port))[0][1] == other.port, "the other")
            assert await servers.ask([GET]) == [None]
            assert (len(one.said(b"GET")), len(other.said(b"GET"))) == (1, 1)
            ports.append(1)  # where nobody is: who is there is kept
            asked = len(sentinel.commands)
            await until_true(lambda: len(sentinel.commands) > asked + 3, "further questions")
            assert await servers.ask([GET]) == [None]
            assert len(other.said(b"GET")) == 2
            await watch.stop()
            await servers.close()


async def test_what_the_next_server_is_set_to_is_looked_at_too(at_end: AtEnd, caplog: pytest.LogCaptureFixture) -> None:
    with RedisPair() as pair:
        with closing(pair.replica.client()) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        async with Proxy(pair.master.port, random.Random(1)) as proxy:
            watch, servers = await watch_over(redis_address(f"redis://127.0.0.1:{proxy.port}"), at_end)
            await until_true(lambda: watch.trouble is None, "the master")
            assert "maxmemory-policy" not in caplog.text
            proxy.lead_to(pair.replica.port)
            await asyncio.to_thread(pair.swap)
            said = f"Redis 127.0.0.1:{proxy.port}: maxmemory-policy is allkeys-lru"
            await until_true(lambda: said in caplog.text, "a warning of the new master")
            proxy.cut()
            await until_true(lambda: watch.trouble is None, "the same master")
            await watch.stop()
            await servers.close()
    assert caplog.text.count(said) == 1
