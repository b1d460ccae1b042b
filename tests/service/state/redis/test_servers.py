from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.redis import connection as connections
from ostinato.service.state.redis.address import RedisAddress, redis_address
from ostinato.service.state.redis.connection import RedisError, Refused, Unreachable, pack
from ostinato.service.state.redis.servers import NUM_CLUSTER_SLOTS, Command, RedisServers, cluster_slot
from ostinato.service.state.redis.store import RedisStore
from tests.redis_server import RedisCluster, RedisServer
from tests.service.puppet import House, column
from tests.service.state.redis.fake_redis import FakeRedis, Says
from tests.waiting import until_true

NUM_NODES = 3
NUM_SESSIONS = 40
ROUNDS = 6

AtEnd = list[Callable[[], Awaitable[object]]]

GET = Command(cluster_slot(b"a"), pack("GET", "a"))


@pytest.fixture
def _old_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is old enough to be given up."""
    monkeypatch.setattr(connections, "TURNED_AWAY_SECONDS", 0.0)
    monkeypatch.setattr(connections, "DOUBT_SECONDS", 0.0)


def servers_of(address: RedisAddress, at_end: AtEnd) -> RedisServers:
    servers = RedisServers(address)
    at_end.append(servers.close)
    return servers


def in_cluster(*ports: int) -> Callable[[int, list[bytes]], bytes | None]:
    """What a server says of a cluster whose slots the servers at these ports have in turn."""
    bounds = [16_384 * number // len(ports) for number in range(len(ports) + 1)]
    ranges = b"".join(
        b"*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % (first, last - 1, port)
        for first, last, port in zip(bounds, bounds[1:], ports, strict=False)
    )
    answers = {b"INFO": b"$17\r\ncluster_enabled:1\r\n", b"CLUSTER": b"*%d\r\n" % len(ports) + ranges}
    return lambda _, command: answers.get(command[0])


async def test_of_several_hosts_any_that_answers_tells_of_the_cluster(
    redis_cluster: RedisCluster, at_end: AtEnd
) -> None:
    ports = [node.port for node in redis_cluster.nodes]
    for url in (
        f"redis://127.0.0.1:1,127.0.0.1:{ports[1]}",
        f"redis+cluster://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{ports[2]}/0",
    ):
        servers = servers_of(redis_address(url), at_end)
        assert [port for _, port in await servers.nodes()] == sorted(ports)
        assert await servers.trouble() is None
        await servers.close()
    with pytest.raises(Unreachable, match=r"127.0.0.1:1"):
        await servers_of(redis_address("redis+cluster://127.0.0.1:1,127.0.0.1:2"), at_end).ask([GET])


async def test_several_hosts_that_are_no_cluster_are_refused(redis_server: RedisServer, at_end: AtEnd) -> None:
    host = f"127.0.0.1:{redis_server.port}"
    for url in (f"redis+cluster://{host}", f"redis://{host},{host}"):
        with pytest.raises(Refused, match="is no cluster"):
            await servers_of(redis_address(url), at_end).ask([GET])


@pytest.mark.usefixtures("_old_connections")
async def test_what_a_server_says_that_is_not_asked_for_changes_is_not_read(at_end: AtEnd) -> None:
    role = {"answer": b":0\r\n"}

    def says(_: int, command: list[bytes]) -> bytes | None:
        return {b"GET": b"$3\r\nold\r\n", b"PERSIST": role["answer"]}.get(command[0])

    async with FakeRedis(says) as server:
        servers = servers_of(RedisAddress((("127.0.0.1", server.port),)), at_end)
        assert await servers.read([GET, GET]) == [b"old", b"old"]
        role["answer"] = b"-MISCONF no disk\r\n"  # what is there can be read all the same
        assert await servers.read([GET]) == [b"old"]
        role["answer"] = b"-READONLY it is a replica\r\n"
        with pytest.raises(RedisError, match="READONLY it is a replica"):
            await servers.read([GET, GET])
        await servers.close()


async def test_what_is_read_from_a_replica_that_is_not_left_yet_is_an_error(
    at_end: AtEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TURNED_AWAY_SECONDS", 3600.0)
    said = {b"GET": b"$3\r\nold\r\n"}
    async with FakeRedis(lambda _, command: said.get(command[0])) as server:
        servers = servers_of(RedisAddress((("127.0.0.1", server.port),)), at_end)
        assert await servers.read([GET]) == [b"old"]
        said[b"PERSIST"] = b"-READONLY it is a replica\r\n"
        assert list(map(str, await servers.read([GET, GET]))) == ["READONLY it is a replica"] * 2
        await servers.close()


@pytest.mark.usefixtures("_old_connections")
async def test_a_cluster_that_took_a_servers_place_is_found_out_and_the_other_way_round(at_end: AtEnd) -> None:
    async with FakeRedis() as server:
        servers = servers_of(RedisAddress((("127.0.0.1", server.port),)), at_end)
        assert await servers.ask([GET]) == [None]
        kinds = [servers.is_one]
        known = in_cluster(server.port)
        server.says = lambda number, command: (
            b"-MOVED 1 127.0.0.1:%d\r\n" % server.port if command[0] == b"GET" else known(number, command)
        )
        (answer,) = await servers.ask([GET])
        servers.refusal(answer)
        server.says = known
        assert await servers.ask([GET]) == [None]
        kinds.append(servers.is_one)
        single: dict[bytes, bytes] = {
            b"GET": b"-CLUSTERDOWN The cluster is down\r\n",
            b"CLUSTER": b"-ERR This instance has cluster support disabled\r\n",
        }
        server.says = lambda _, command: single.get(command[0])
        await servers.ask([GET])
        with pytest.raises(RedisError):
            await servers.ask([GET])
        del single[b"GET"]
        assert await servers.ask([GET]) == [None]
        kinds.append(servers.is_one)
        assert kinds == [True, False, True]
        await servers.close()


@pytest.mark.usefixtures("_old_connections")
@pytest.mark.parametrize("said", ["CLUSTERDOWN The cluster is down", "READONLY no", "MASTERDOWN no", "LOADING no"])
async def test_whoever_of_a_cluster_is_in_doubt_is_asked_last_who_has_which_slots(said: str, at_end: AtEnd) -> None:
    async with FakeRedis() as lost, FakeRedis() as heir:
        alone, known = in_cluster(lost.port), in_cluster(heir.port)
        lost.says, heir.says = in_cluster(lost.port, heir.port), known
        servers = servers_of(RedisAddress((("127.0.0.1", lost.port),)), at_end)
        mine = [Command(slot, GET.packed) for slot in (0, 16_383)]
        assert await servers.ask(mine) == [None, None]
        # The first is cut off, and the other has all slots by now, which the first does not know.
        lost.says = lambda number, command: f"-{said}\r\n".encode() if command[0] == b"GET" else alone(number, command)
        await servers.ask(mine)
        assert await servers.ask(mine) == [None, None]
        assert [command for command in heir.commands if command[0] == b"CLUSTER"]
        await servers.close()


async def test_a_cluster_is_in_trouble_when_no_server_of_it_takes_changes(at_end: AtEnd) -> None:
    said: dict[int, bytes] = {}
    async with FakeRedis() as one, FakeRedis() as other:
        known = in_cluster(one.port, other.port)

        def says_of(number: int) -> Says:
            return lambda connection, command: (
                said.get(number) if command[0] == b"PERSIST" else known(connection, command)
            )

        one.says, other.says = says_of(0), says_of(1)
        servers = servers_of(RedisAddress((("127.0.0.1", one.port),)), at_end)
        assert await servers.trouble() is None
        said[0] = b"-CLUSTERDOWN The cluster is down\r\n"
        said[1] = b"-MOVED 1 127.0.0.1:1\r\n"
        assert await servers.trouble() is None
        said[1] = b"-MISCONF no disk\r\n"
        assert await servers.trouble() is not None
        await servers.close()


async def test_a_redis_that_takes_no_changes_is_in_trouble(at_end: AtEnd) -> None:
    with RedisServer("--maxclients", "100") as server:
        servers = servers_of(redis_address(server.url), at_end)
        assert await servers.trouble() is None
        with closing(server.client()) as client:
            client.config_set("min-replicas-to-write", 1)
            assert "NOREPLICAS" in str(await servers.trouble())
            client.config_set("min-replicas-to-write", 0)
        assert await servers.trouble() is None
        server.kill()
        assert str(await servers.trouble()).startswith("redis://127.0.0.1")
        await servers.close()


def node_of(session_id: str) -> int:
    """Which of the cluster's nodes has a session."""
    return cluster_slot(b"ostinato:session:" + session_id.encode()) * NUM_NODES // NUM_CLUSTER_SLOTS


async def step_all(house: House, sessions: list[str], applied: dict[str, int]) -> set[str]:
    """Step all at once, so that they share iterations and commits; which of them were refused by the store."""

    async def step(session_id: str) -> None:
        session: LiveSession = house.sessions.use(session_id) or await house.sessions.find(session_id)
        answer = await house.ledger.step(session, column(1.0), applied[session_id])
        applied[session_id] += 1
        # The puppet adds up: each step was applied once, in whatever company.
        assert (answer.steps, answer.outputs.tolist()) == (applied[session_id], [[float(applied[session_id])]])

    done = await asyncio.gather(*map(step, sessions), return_exceptions=True)
    errors = {session_id: error for session_id, error in zip(sessions, done, strict=True) if error is not None}
    assert [error for error in errors.values() if not isinstance(error, StateStoreUnavailable)] == []
    return {*errors}


@pytest.mark.parametrize("resident", [1e6, 1.0], ids=["in memory", "brought back"])
async def test_a_shard_that_dies_takes_its_own_sessions_and_no_others(
    resident: float, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisCluster(NUM_NODES) as cluster:
        for node in cluster.nodes:
            with closing(node.client()) as client:
                client.config_set("cluster-require-full-coverage", "no")
        store = RedisStore(redis_address(cluster.url), tombstone_seconds=10, memory_budget=resident)
        house = House(store=store)
        sessions = [f"s{number}" for number in range(NUM_SESSIONS)]
        for session_id in sessions:
            await house.sessions.open("sum", session_id=session_id)
        applied = dict.fromkeys(sessions, 0)
        assert await step_all(house, sessions, applied) == set()
        lost = {session_id for session_id in sessions if node_of(session_id) == 0}
        assert 0 < len(lost) < NUM_SESSIONS
        cluster.nodes[0].kill()
        with caplog.at_level(logging.WARNING):
            for _ in range(ROUNDS):
                assert await step_all(house, sessions, applied) == lost
        assert "socket.send" not in caplog.text
        cluster.nodes[0].start()

        async def everyone() -> bool:
            return not await step_all(house, sessions, applied)

        await until_true(everyone, "the shard")
        await store.stop()
