from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.config import Settings
from ostinato.service.errors import (
    OstinatoError,
    RecordUnreadable,
    SessionClosed,
    SessionExists,
    SessionExpired,
    StateStoreUnavailable,
    UnknownSession,
)
from ostinato.service.state.address import open_store
from ostinato.service.state.base import Address, Facts
from ostinato.service.state.redis.address import redis_address
from ostinato.service.state.redis.servers import cluster_slot
from ostinato.service.state.redis.store import RedisStore
from tests.faults.proxy import Proxy
from tests.redis_failover import RedisPair, RedisSentinels
from tests.redis_server import RedisCluster, RedisServer
from tests.service.puppet import House, column
from tests.service.state.places import Place, PlaceOf
from tests.service.state.test_shared_stores import Side, side
from tests.service.state.test_store_contract import commit_of, facts, settled
from tests.waiting import until_true

MANUAL = Path(__file__).parents[4] / "docs/stores.md"

AtEnd = list[Callable[[], Awaitable[object]]]


@pytest.fixture
def place(place_of: PlaceOf) -> Place:
    return place_of("redis")


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A Redis that a test may harm."""
    with RedisServer() as running:
        yield running


def side_at(url: str, at_end: AtEnd) -> Side:
    def open_there() -> RedisStore:
        store = RedisStore(redis_address(url), tombstone_seconds=10, memory_budget=1e6)
        at_end.append(store.stop)
        return store

    return side(open_there)


async def test_a_store_opens_and_stops_without_a_redis() -> None:
    store = open_store(Settings(state="redis://127.0.0.1:1"))
    await store.start()
    with pytest.raises(StateStoreUnavailable, match="nothing was applied"):
        await store.missing_versions()
    await store.stop()
    with pytest.raises(StateStoreUnavailable, match="closed"):
        await store.look("a", 100.0)


async def test_a_store_shows_what_it_has(place: Place) -> None:
    one = side(place)
    assert "0 sessions in memory" in repr(one.store)
    assert "not connected" in repr(one.store)
    await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert "<RedisStore 1 sessions in memory, <Link redis://127.0.0.1:" in repr(one.store)
    assert ", connected" in repr(one.store)


async def test_the_runners_memory_is_not_needed_any_more_when_commit_returns(place: Place) -> None:
    one = side(place)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    commit = commit_of(one.arena, (a.slot, 0, [3.0]))
    waiting = one.store.commit(commit, 101.0)
    commit.states[0][:] = 99
    assert (await settled(waiting)).tolist() == [True]
    other = side(place)
    for each in (one, other):
        assert facts(each.arena, await each.store.find("a", 102.0))[4] == [3.0]


async def test_many_commits_at_once_do_not_mix(place: Place) -> None:
    one = side(place)
    slots = [(await one.store.open(f"s{n}", one.arena, ttl_seconds=0, now=100.0)).slot for n in range(40)]
    for steps in range(5):
        rows = [(slot, steps, [float(100 * number + steps)] * 1) for number, slot in enumerate(slots)]
        commits = [one.store.commit(commit_of(one.arena, *rows[n : n + 3]), 101.0) for n in range(0, 40, 3)]
        results = await asyncio.gather(*map(settled, commits))
        assert all(won.all() for won in results)
    other = side(place)
    for number in range(40):
        address = await other.store.find(f"s{number}", 102.0)
        assert facts(other.arena, address)[4] == [100 * number + 4]


async def test_redis_forgets_when_nobody_is_to_be_told_any_more(place: Place, redis_server: RedisServer) -> None:
    one = side(place)
    with closing(redis_server.client()) as client:
        a = await one.store.open("a", one.arena, ttl_seconds=60, now=100.0)
        await one.store.open("b", one.arena, ttl_seconds=0, now=100.0)
        assert 69_000 < client.pttl("ostinato:session:a") <= 70_000
        assert client.pttl("ostinato:session:b") == -1
        client.pexpire("ostinato:session:a", 5_000)
        assert await one.step(a, 0, 1)
        assert 69_000 < client.pttl("ostinato:session:a") <= 70_000
        await one.store.close("b", None, 101.0)
        assert 9_000 < client.pttl("ostinato:session:b") <= 10_000


async def test_an_ended_session_is_told_for_a_while_then_unknown(place: Place, redis_server: RedisServer) -> None:
    one = side(place, tombstone_seconds=1.0)
    now = time.time()
    await one.store.open("a", one.arena, ttl_seconds=1.0, now=now)
    with pytest.raises(SessionExpired):
        await one.store.find("a", now + 1.0)
    with pytest.raises(UnknownSession):
        await one.store.find("a", now + 2.0)
    with closing(redis_server.client()) as client:
        await until_true(lambda: client.keys("ostinato:session:*") == [], "its end in Redis", 0.02)


async def test_a_script_that_redis_forgot_is_sent_again(place: Place, redis_server: RedisServer) -> None:
    one = side(place)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    with closing(redis_server.client()) as client:
        client.script_flush()
    assert await one.step(a, 0, 1)


async def test_somebody_elses_key_is_named_and_harms_no_other(place: Place, redis_server: RedisServer) -> None:
    one = side(place)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    b = await one.store.open("b", one.arena, ttl_seconds=0, now=100.0)
    with closing(redis_server.client()) as client:
        client.delete("ostinato:session:a")
        client.rpush("ostinato:session:a", "x")
    won = await settled(one.store.commit(commit_of(one.arena, (a.slot, 0, [1]), (b.slot, 0, [2])), 101.0))
    assert won.tolist() == [False, True]
    with pytest.raises(RecordUnreadable, match="session 'a': its key in Redis holds something else"):
        await one.store.look("a", 101.0)
    page = await one.store.page(None, 10, None, 101.0)
    assert [each.session_id for each in page.sessions] == ["b"]


async def test_what_redis_refuses_is_said_in_its_own_words(own_server: RedisServer, at_end: AtEnd) -> None:
    one = side_at(own_server.url, at_end)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    with closing(own_server.client()) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StateStoreUnavailable, match=r"OOM command not allowed.*nothing was applied"):
            await one.step(a, 0, 1)
        client.config_set("maxmemory", "0")
        assert await one.step(a, 0, 1)
        client.config_set("requirepass", "secret")
    await one.store.stop()
    for url, said in ((own_server.url, "NOAUTH"), (own_server.url.replace("//", "//:wrong@"), "WRONGPASS")):
        with pytest.raises(StateStoreUnavailable, match=said):
            await side_at(url, at_end).store.look("a", 101.0)
    assert (await side_at(own_server.url.replace("//", "//:secret@"), at_end).store.look("a", 101.0)).steps == 1


async def test_a_full_redis_takes_an_end_and_nothing_else(own_server: RedisServer, at_end: AtEnd) -> None:
    one = side_at(own_server.url, at_end)
    for name in ("a", "b", "bad"):
        await one.store.open(name, one.arena, ttl_seconds=0, now=100.0)
    with closing(own_server.client()) as client:
        client.script_flush()
        client.set("ostinato:session:bad", "garbage")
        client.config_set("maxmemory", "1")
        for name in ("a", "bad"):
            await one.store.close(name, None, 101.0)
            with pytest.raises(SessionClosed):
                await one.store.look(name, 102.0)
            assert 9_000 < client.pttl(f"ostinato:session:{name}") <= 10_000
        for now in (103.0, 104.0):
            with pytest.raises(StateStoreUnavailable, match="OOM"):
                await one.store.open("c", one.arena, ttl_seconds=0, now=now)
        assert (await one.store.look("b", 105.0)).steps == 0


async def test_what_is_no_string_is_removed_by_closing_it(place: Place, redis_server: RedisServer) -> None:
    one = side(place)
    with closing(redis_server.client()) as client:
        client.rpush("ostinato:session:a", "x")
        with pytest.raises(RecordUnreadable, match="closing it removes the key"):
            await one.store.look("a", 101.0)
        with pytest.raises(RecordUnreadable):
            await one.store.open("a", one.arena, ttl_seconds=0, now=101.0)
        assert client.lrange("ostinato:session:a", 0, -1) == ["x"]
        assert (await one.store.page(None, 10, None, 101.0)).num_unreadable == 1
        await one.store.close("a", None, 101.0)
        assert client.type("ostinato:session:a") == "string"
    with pytest.raises(SessionClosed):
        await one.store.look("a", 102.0)


async def test_a_commit_whose_answer_was_lost_is_sent_again_and_counts_once(
    redis_server: RedisServer, at_end: AtEnd
) -> None:
    async with Proxy(redis_server.port, random.Random(3)) as proxy:
        one = side_at(f"redis://127.0.0.1:{proxy.port}", at_end)
        name = f"cut-{random.random()}"
        address = await one.store.open(name, one.arena, ttl_seconds=60, now=100.0)
        for steps in range(10):
            num_lost = proxy.num_lost
            proxy.swallow()
            waiting = asyncio.ensure_future(
                settled(one.store.commit(commit_of(one.arena, (address.slot, steps, [steps])), 101.0))
            )
            while proxy.num_lost == num_lost:
                await asyncio.sleep(0.001)
            proxy.cut()
            assert (await waiting).tolist() == [True]
            assert one.arena.steps[address.slot] == steps + 1
        with closing(redis_server.client()) as client:
            assert client.exists(f"ostinato:session:{name}")
        for each in ("a", "b"):  # so does what opens, sets and closes
            proxy.lose_answer()
            await one.store.open(f"{name}-{each}", one.arena, ttl_seconds=60, now=100.0)
            proxy.lose_answer()
            await one.store.close(f"{name}-{each}", None, 100.0)
        await one.store.stop()


async def test_a_redis_that_was_killed_is_told_at_once_and_used_again(own_server: RedisServer, at_end: AtEnd) -> None:
    one = side_at(f"{own_server.url}?timeout_seconds=60", at_end)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(a, 0, 1)
    own_server.kill()
    await asyncio.sleep(0.05)
    began_at = time.perf_counter()
    for _ in range(3):
        with pytest.raises(StateStoreUnavailable, match="nothing was applied"):
            await one.step(a, 1, 2)
    assert time.perf_counter() - began_at < 60, "one of them was waited for"
    await asyncio.to_thread(own_server.start)
    assert await one.step(a, 1, 2)
    other = side_at(own_server.url, at_end)
    assert facts(other.arena, await other.store.find("a", 101.0))[0] == 2


async def test_a_redis_that_stands_still_is_waited_for_once(own_server: RedisServer, at_end: AtEnd) -> None:
    one = side_at(f"{own_server.url}?timeout_seconds=0.5", at_end)
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    own_server.pause()
    try:
        began_at = time.perf_counter()
        with pytest.raises(StateStoreUnavailable, match=r"did not answer for 0.5 s; it may or may not"):
            await one.step(a, 0, 1)
        assert time.perf_counter() - began_at > 0.45
        began_at = time.perf_counter()
        for _ in range(100):
            with pytest.raises(StateStoreUnavailable, match="nothing was applied"):
                await one.step(a, 0, 1)
        assert time.perf_counter() - began_at < 100 * 0.5, "each was waited for"
        assert "silent" in repr(one.store)
        await asyncio.sleep(1.2)  # the probe's own time-outs pass, too
        with pytest.raises(StateStoreUnavailable):
            await one.store.look("a", 101.0)
    finally:
        own_server.resume()
    await until_true(lambda: "silent" not in repr(one.store), "its answer to a probe")
    # What was sent first may have been done in the end; then this copy is old.
    if not await one.step(a, 0, 1):
        one.arena.busy[a.slot] = True
        await one.store.refresh("a", a, 101.0)  # type: ignore[misc]  # this store's is awaited
        assert one.arena.last_digest[a.slot] == 70
    assert one.arena.steps[a.slot] == 1


async def test_somebody_who_never_answers_is_waited_for_once(at_end: AtEnd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = side_at(f"redis://127.0.0.1:{silent.getsockname()[1]}?timeout_seconds=0.2", at_end)
        began_at = time.perf_counter()
        for _ in range(100):
            with pytest.raises(StateStoreUnavailable, match="nothing was applied"):
                await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
        assert time.perf_counter() - began_at < 100 * 0.2, "each was waited for"
        await one.store.stop()


async def test_a_slot_that_moves_to_another_server_is_followed(place_of: PlaceOf, redis_cluster: RedisCluster) -> None:
    one = side(place_of("redis cluster"))
    address = await one.store.open("mover", one.arena, ttl_seconds=0, now=100.0)
    slot = cluster_slot(b"ostinato:session:mover")
    with closing(redis_cluster.nodes[0].client()) as first, closing(redis_cluster.nodes[1].client()) as second:
        ids = [client.execute_command("CLUSTER", "MYID") for client in (first, second)]
        ours = 0 if first.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) else 1
        clients = (first, second)
        if not clients[ours].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot):
            pytest.fail("the key of this test is meant to be on one of the first two nodes")
        there = 1 - ours
        clients[there].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[ours])
        clients[ours].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
        assert await one.step(address, 0, 1)
        port = redis_cluster.nodes[there].port
        clients[ours].execute_command("MIGRATE", "127.0.0.1", port, "ostinato:session:mover", 0, 5000)
        assert await one.step(address, 1, 2)  # by ASK
        for client in (clients[there], clients[ours]):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[there])
        assert await one.step(address, 2, 3)  # by MOVED
        assert await one.step(address, 3, 4)
    assert (await one.store.look("mover", 102.0)).steps == 4


def _look(house: House, session_id: str, _: House) -> Awaitable[Facts]:
    """At this replica, whichever is asked to."""
    return house.sessions.look(session_id)


class Client:
    """Steps sessions through either replica, again until it is answered, and knows what must come out."""

    def __init__(self, houses: list[House], generator: random.Random) -> None:
        self._houses = houses
        self._random = generator

    async def run(self, session_id: str, num_chunks: int) -> None:
        steps, total = 0, 0.0
        await self._until_answered(lambda house: house.sessions.open("sum", session_id=session_id), SessionExists)
        for _ in range(num_chunks):
            if self._random.random() < 0.1:
                # Closed and opened again, with as many steps as an old copy may have.
                await self._until_answered(lambda house: house.sessions.close(session_id), SessionClosed)
                await self._until_answered(
                    lambda house: house.sessions.open("sum", session_id=session_id), SessionExists
                )
                steps, total = 0, 0.0
            values = [float(self._random.randrange(100)) for _ in range(self._random.randrange(1, 4))]
            sends = [self._until_answered(self._step(session_id, values, steps))]
            if self._random.random() < 0.3:
                sends.append(self._until_answered(self._step(session_id, values, steps)))
            expected = np.cumsum([total, *values])[1:].tolist()
            for answer in await asyncio.gather(*sends):
                assert answer.outputs[:, 0].tolist() == expected
                assert (answer.seq, answer.steps) == (steps, steps + len(values))
            steps, total = steps + len(values), expected[-1]
        for house in self._houses:
            looks = partial(_look, house, session_id)
            assert (await self._until_answered(looks)).steps == steps

    def _step(self, session_id: str, values: list[float], seq: int) -> Callable[[House], Awaitable[Any]]:
        async def step(house: House) -> Any:
            return await house.ledger.step(await house.sessions.find(session_id), column(*values), seq)

        return step

    async def _until_answered(
        self, attempt: Callable[[House], Awaitable[Any]], done_before: type[OstinatoError] | None = None
    ) -> Any:
        while True:
            try:
                return await attempt(self._random.choice(self._houses))
            except StateStoreUnavailable:
                await asyncio.sleep(0.01)
            except OstinatoError as error:
                if done_before is None or not isinstance(error, done_before):
                    raise
                return None


@pytest.mark.parametrize("name", ["redis", "redis cluster"])
@pytest.mark.parametrize("memory_budget", [1e6, 8000.0])
async def test_replicas_that_share_every_session_answer_as_one(
    name: str, memory_budget: float, place_of: PlaceOf
) -> None:
    place = place_of(name)
    houses = [House(store=place(memory_budget=memory_budget)) for _ in range(2)]
    client = Client(houses, random.Random(11))
    await asyncio.gather(*(client.run(f"session-{number}", 25) for number in range(24)))


async def test_replicas_whose_answers_are_lost_answer_as_one(redis_server: RedisServer, at_end: AtEnd) -> None:
    generator = random.Random(12)
    async with Proxy(redis_server.port, generator) as proxy:
        sides = [side_at(f"redis://127.0.0.1:{proxy.port}", at_end) for _ in range(2)]
        houses = [House(store=each.store) for each in sides]
        client = Client(houses, generator)

        proxy.loss = 0.2
        prefix = f"lossy-{time.time_ns()}"
        await asyncio.gather(*(client.run(f"{prefix}-{number}", 40) for number in range(12)))
        proxy.loss = 0.0
        assert proxy.num_lost > 30
        for each in sides:
            await each.store.stop()


async def step_until_taken(one: Side, address: Address, before: int, output: float) -> int:
    """Step until the store takes it; how often it was told that the store cannot."""
    for num_refused in range(100_000):
        try:
            assert await one.step(address, before, output)
        except StateStoreUnavailable:
            await asyncio.sleep(0.005)
        else:
            return num_refused
    raise AssertionError("the store never took it")


async def test_when_another_takes_the_lead_behind_one_address_it_is_found_by_itself(at_end: AtEnd) -> None:
    with RedisPair() as pair:
        async with Proxy(pair.master.port, random.Random(5)) as proxy:
            one = side_at(f"redis://127.0.0.1:{proxy.port}", at_end)
            a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
            for number in range(4):
                assert await one.step(a, 2 * number, number)
                await asyncio.sleep(0.06)  # a connection that was just made would be believed for this once
                proxy.lead_to(pair.replica.port)
                await asyncio.to_thread(pair.swap)
                # Nobody was cut off: the connection that there is leads to a replica by now.
                await step_until_taken(one, a, 2 * number + 1, number)
            other = side_at(pair.master.url, at_end)
            assert facts(other.arena, await other.store.find("a", 101.0)) == facts(one.arena, a)
            for each in (one, other):
                await each.store.stop()


async def test_a_replica_that_was_left_behind_is_never_read(at_end: AtEnd) -> None:
    with RedisPair() as pair:
        one, other = side_at(pair.master.url, at_end), side_at(pair.replica.url, at_end)
        a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
        assert (await one.store.look("a", 101.0)).steps == 0
        await asyncio.to_thread(pair.swap)
        with closing(pair.replica.client()) as client:
            client.replicaof("127.0.0.1", 1)  # it hears of nothing any more
        there = await other.store.find("a", 101.0)
        assert await other.step(there, 0, 5)
        for attempt in (
            lambda: one.store.look("a", 102.0),
            lambda: one.store.find_newest("a", 102.0),
            lambda: one.store.page(None, 5, None, 102.0),
            lambda: one.store.missing_versions(),
            lambda: one.step(a, 0, 7),
        ):
            with pytest.raises(StateStoreUnavailable, match=r"READONLY|no master"):
                await attempt()
        assert one.arena.steps[a.slot] == 0
        for each in (one, other):
            await each.store.stop()


async def test_when_the_sentinels_put_another_in_its_place_it_is_found_by_itself(at_end: AtEnd) -> None:
    with RedisSentinels() as servers:
        one = side_at(servers.url, at_end)
        a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
        for number in range(3):
            assert await one.step(a, number, number)
        await asyncio.to_thread(servers.fail_over)
        await step_until_taken(one, a, 3, 3)
        other = side_at(servers.master.url, at_end)
        assert facts(other.arena, await other.store.find("a", 101.0)) == facts(one.arena, a)
        for each in (one, other):
            await each.store.stop()


async def test_of_what_a_dead_master_acknowledged_nothing_is_lost_but_what_no_replica_got(at_end: AtEnd) -> None:
    """The Sentinels find out by themselves that it is dead; what it acknowledged in its last moments may be gone."""
    with RedisSentinels() as servers:
        one = side_at(servers.url, at_end)
        await one.store.start()
        house = House(store=one.store)
        still, busy = [await house.sessions.open("sum", session_id=session_id) for session_id in ("still", "busy")]
        for each in (still, busy):
            await house.ledger.step(each, column(1.0), 0)
        await asyncio.to_thread(servers.wait_until_copied)
        num_copied = num_acknowledged = 1

        async def step_until_refused() -> None:
            nonlocal num_acknowledged
            while True:
                await house.ledger.step(await house.sessions.find("busy"), column(1.0), num_acknowledged)
                num_acknowledged += 1

        dying = asyncio.create_task(asyncio.to_thread(servers.lose_master))
        with pytest.raises(StateStoreUnavailable):
            await step_until_refused()
        await until_true(lambda: one.store.trouble is not None, "the watch")
        await dying
        await until_true(lambda: one.store.trouble is None, "the watch")
        assert (await one.store.look("still", 101.0)).steps == num_copied
        num_left = (await one.store.look("busy", 101.0)).steps
        # It may also have what was not acknowledged any more.
        assert num_copied <= num_left <= num_acknowledged + 1
        for number in range(num_left, num_left + 3):
            answer = await house.ledger.step(await house.sessions.find("busy"), column(1.0), number)
            assert (answer.steps, answer.outputs.tolist()) == (number + 1, [[number + 1.0]])
        await one.store.stop()


async def test_when_a_servers_replica_takes_its_place_in_a_cluster_it_is_found_by_itself(at_end: AtEnd) -> None:
    with RedisCluster(num_replicas=1) as cluster:
        one = side_at(cluster.url, at_end)
        ids = [f"session-{number}" for number in range(12)]  # some on each server
        addresses = [await one.store.open(session_id, one.arena, ttl_seconds=0, now=100.0) for session_id in ids]
        for address in addresses:
            assert await one.step(address, 0, 1)
        await asyncio.to_thread(cluster.kill_node, 0)
        for address in addresses:
            await step_until_taken(one, address, 1, 2)
        other = side_at(cluster.url, at_end)
        for session_id, address in zip(ids, addresses, strict=True):
            assert facts(other.arena, await other.store.find(session_id, 101.0)) == facts(one.arena, address)
        for each in (one, other):
            await each.store.stop()


async def test_a_password_that_was_changed_is_read_again_and_never_told(
    at_end: AtEnd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "password"
    file.write_text("first-secret\n")
    with RedisServer(password="first-secret") as server:
        one = side_at(f"{server.url}?password_file={file}", at_end)
        await one.store.start()
        a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
        server.change_password("second-secret")
        with pytest.raises(StateStoreUnavailable, match="WRONGPASS") as refusal:
            await one.step(a, 0, 1)
        await until_true(lambda: "WRONGPASS" in str(one.store.trouble), "the watch")
        file.write_text("second-secret")
        await step_until_taken(one, a, 0, 1)
        await until_true(lambda: one.store.trouble is None, "the watch")
        await one.store.stop()
    assert "WRONGPASS" in caplog.text
    assert "secret" not in caplog.text + str(refusal.value)


@pytest.mark.parametrize("prefix", [None, "blue"])
async def test_a_user_of_its_own_needs_the_rights_that_the_manual_names(
    prefix: str | None, own_server: RedisServer, at_end: AtEnd
) -> None:
    manual = " ".join(MANUAL.read_text().split())
    (rights,) = re.findall(r"`(~ostinato:\*)` .*and, in words of an ACL, `(\S.*?)`", manual)
    words = " ".join(rights).replace("ostinato", prefix or "ostinato").split()
    with closing(own_server.client()) as client:
        client.execute_command("ACL", "SETUSER", "me", "on", ">p@ss", *words)
    url = own_server.url.replace("//", "//me:p%40ss@").replace("/0", "/1")
    one = side_at(f"{url}?prefix={prefix}" if prefix else url, at_end)
    await one.store.start()
    await until_true(lambda: one.store.trouble is None, "an answer")
    a = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(a, 0, 1)
    assert [each.session_id for each in (await one.store.page(None, 5, None, 101.0)).sessions] == ["a"]
    await one.store.close("a", a, 102.0)
    assert await one.store.missing_versions() == {}
    with closing(own_server.client()) as client:
        log = client.execute_command("ACL", "LOG")
    assert log == [], "something was not allowed"
    await one.store.stop()


async def test_two_installations_share_a_redis_and_see_nothing_of_each_other(
    own_server: RedisServer, at_end: AtEnd
) -> None:
    # One's prefix begins as the other's does, and is the default one's word in a key.
    urls = [own_server.url, *(f"{own_server.url}?prefix={prefix}" for prefix in ("ostinato-2", "session"))]
    sides = [side_at(url, at_end) for url in urls]
    for number, one in enumerate(sides):
        await one.store.open(f"only-{number}", one.arena, ttl_seconds=0, now=100.0)
        address = await one.store.open("same", one.arena, ttl_seconds=0, now=100.0)
        for step in range(number):
            assert await one.step(address, step, step + 1)
    for number, url in enumerate(urls):
        anew = side_at(url, at_end)
        assert facts(anew.arena, await anew.store.find("same", 101.0))[0] == number
        page = await anew.store.page(None, 9, None, 101.0)
        assert {each.session_id for each in page.sessions} == {"same", f"only-{number}"}
    await sides[1].store.close("same", None, 102.0)
    with pytest.raises(SessionClosed):
        await side_at(urls[1], at_end).store.find("same", 103.0)
    await side_at(urls[2], at_end).store.find("same", 103.0)
    with closing(own_server.client()) as client:
        assert {key.partition(":")[0] for key in client.keys("*")} == {"ostinato", "ostinato-2", "session"}
