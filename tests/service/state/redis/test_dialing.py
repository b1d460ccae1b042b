from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.state.redis.address import Login, RedisAddress, Tls, redis_address
from ostinato.service.state.redis.connection import AnswerLost, RedisError, TurnedAway, Unreachable
from ostinato.service.state.redis.dialing import dial, leads_to
from tests.service.state.redis.fake_redis import CERTIFICATES, FakeRedis, Says

SECRET = "pa55-w0rd"
REPLICA = b"*5\r\n$5\r\nslave\r\n$4\r\nhost\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n"
CA, SERVER, CLIENT = (str(CERTIFICATES / f"{name}.pem") for name in ("ca", "server", "client"))


def at(server: FakeRedis, **facts: Any) -> RedisAddress:
    return RedisAddress(((server.host, server.port),), **facts)


async def dialed(address: RedisAddress) -> int:
    """The port of the server that is connected to."""
    connection = await dial(address)
    connection.abort()
    await asyncio.sleep(0)
    return connection.server[1]


def when(**answers: bytes) -> Says:
    """Says an answer to each command of a name."""
    return lambda _number, command: answers.get(command[0].decode().lower())


async def test_who_asks_says_who_they_are_and_which_database_they_mean() -> None:
    async with FakeRedis() as server:
        await dialed(at(server, login=Login("me", SECRET), database=3))
        assert server.commands[0] == [b"AUTH", b"me", SECRET.encode()]
        assert server.said(b"SELECT") == [[b"3"]]
        await dialed(at(server, login=Login(None, SECRET)))
        assert server.said(b"AUTH")[-1] == [SECRET.encode()]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"role": REPLICA}, "it is a slave, no master"),
        ({"role": b"*1\r\n$8\r\nsentinel\r\n"}, "it is a sentinel, no master"),
        ({"persist": b"-READONLY You can't write against a read only replica.\r\n"}, "READONLY"),
        ({"persist": b"-LOADING Redis is loading\r\n", "role": b"-LOADING Redis is loading\r\n"}, "LOADING"),
        ({"persist": b"-MASTERDOWN Link with MASTER is down\r\n"}, "MASTERDOWN"),
        ({"persist": b"-NOAUTH Authentication required.\r\n"}, "NOAUTH"),
        ({"auth": b"-WRONGPASS invalid username-password pair\r\n"}, "WRONGPASS"),
        ({"select": b"-ERR DB index is out of range\r\n"}, "out of range"),
        ({"auth": b"-ERR max number of clients reached\r\n"}, "max number of clients"),
    ],
)
async def test_who_is_not_to_be_asked_is_not_connected_to(answers: dict[str, bytes], said: str) -> None:
    async with FakeRedis(when(**answers)) as server:
        with pytest.raises(TurnedAway, match=rf"^redis://127.0.0.1:{server.port}: .*{said}"):
            await dial(at(server, login=Login("me", SECRET), database=3))


@pytest.mark.parametrize(
    "answers",
    [
        {"persist": b"-MISCONF Redis is configured to save RDB snapshots\r\n"},
        {"persist": b"-NOREPLICAS Not enough good replicas to write.\r\n"},
        {"persist": b"-NOPERM this user has no permissions\r\n", "role": b"-NOPERM this user has no permissions\r\n"},
        {"role": b"-ERR unknown command 'ROLE'\r\n"},
        {"persist": b"-MOVED 5 1.2.3.4:5\r\n", "role": REPLICA},
        {"persist": b"-CLUSTERDOWN The cluster is down\r\n", "role": REPLICA},
    ],
)
async def test_who_cannot_take_changes_now_or_knows_who_can_is_connected_to(answers: dict[str, bytes]) -> None:
    async with FakeRedis(when(**answers)) as server:
        assert await dialed(at(server)) == server.port


@pytest.mark.parametrize(
    "said",
    [
        f"ERR unknown command 'AUTH', with args beginning with: 'me' '{SECRET}' ",
        f"ERR unknown command 'AUTH', with args beginning with: '{SECRET[:5]}",
        f"WRONGPASS {SECRET} is not right",
    ],
)
async def test_no_error_repeats_a_password(said: str) -> None:
    async with FakeRedis(when(auth=f"-{said}\r\n".encode())) as server:
        with pytest.raises(TurnedAway) as refusal:
            await dial(at(server, login=Login("me", SECRET)))
    assert SECRET[:5] not in str(refusal.value)
    assert said.split()[0] in str(refusal.value)


async def test_a_password_that_was_changed_is_used_with_the_next_connection(tmp_path: Path) -> None:
    right = b"second"

    def says(_: int, command: list[bytes]) -> bytes | None:
        return b"-WRONGPASS no\r\n" if command[0] == b"AUTH" and command[-1] != right else None

    file = tmp_path / "password"
    async with FakeRedis(says) as server:
        address = at(server, login=Login(None, None, str(file)))
        with pytest.raises(Unreachable, match=f"{file}: No such file"):
            await dial(address)
        file.write_text("first\n")
        with pytest.raises(TurnedAway, match="WRONGPASS"):
            await dial(address)
        file.write_text("second\n")
        assert await dialed(address) == server.port
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(Unreachable, match=f"{file}: it is no UTF-8"):
            await dial(address)


Resolve = Callable[[str], None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Sets what the name redis.test stands for."""
    actual = socket.getaddrinfo
    addresses = ["127.0.0.1"]

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return actual(addresses[0] if host == "redis.test" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def resolve_to(address: str) -> None:
        addresses[0] = address

    return resolve_to


async def test_a_name_is_looked_up_with_each_connection(resolve: Resolve) -> None:
    async with FakeRedis() as one, FakeRedis(host="127.0.0.2", port=one.port) as other:
        address = RedisAddress((("redis.test", one.port),))
        first = await dial(address)
        assert await leads_to(address, first)
        resolve("127.0.0.2")
        assert not await leads_to(address, first)
        second = await dial(address)
        assert (one.num_connections, other.num_connections) == (1, 1)
        assert await leads_to(address, second)
        resolve("no address")
        assert await leads_to(address, second), "who cannot be asked knows nothing against it"
        for connection in (first, second):
            connection.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("host", ["x" * 70, "a..b", "\0", ""])
async def test_a_name_that_cannot_be_one_is_an_error_like_any_other(host: str) -> None:
    with pytest.raises(Unreachable, match=r"^redis://"):
        await dial(RedisAddress(((host, 6379),), timeout_seconds=30))


@pytest.fixture
def server_context() -> ssl.SSLContext:
    """A server's, that asks who wants to come in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CA)
    context.load_cert_chain(SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.usefixtures("resolve")
async def test_both_show_a_certificate(server_context: ssl.SSLContext) -> None:
    async with FakeRedis(context=server_context) as server:
        mine = Tls(CA, CLIENT, CLIENT)
        by_name = RedisAddress((("redis.test", server.port),), tls=mine, timeout_seconds=30)
        by_number = replace(by_name, hosts=(("127.0.0.1", server.port),))
        assert await dialed(by_name) == server.port
        assert await dialed(replace(by_number, tls=replace(mine, server_name="redis.test"))) == server.port
        for address, said in [
            (by_number, "certificate"),  # which has another name in it
            (replace(by_name, tls=Tls(None, CLIENT)), "certificate verify failed"),
            (replace(by_name, tls=Tls(CA)), "certificate required|ended the connection"),
            (replace(by_name, tls=Tls(CA, "no/client.pem")), "no/client.pem: No such file"),
            (replace(by_name, tls=Tls(CA, CLIENT, "no/key")), "client.pem, no/key: No such file"),
            (replace(by_name, tls=Tls("no/ca.pem")), "no/ca.pem: No such file"),
            (replace(by_name, tls=Tls(CA, CA)), "ca.pem: "),  # which has no key in it
            (replace(by_name, tls=None), "ended the connection"),
        ]:
            with pytest.raises(Unreachable, match=f"(?s){said}"):
                await dial(address)


@pytest.mark.usefixtures("resolve")
async def test_a_certificate_that_was_changed_is_used_with_the_next_connection(
    server_context: ssl.SSLContext, tmp_path: Path
) -> None:
    file = str(tmp_path / "client.pem")
    async with FakeRedis(context=server_context) as server:
        address = RedisAddress((("redis.test", server.port),), tls=Tls(CA, file), timeout_seconds=30)
        shutil.copy(SERVER, file)  # which the server knows, too
        assert await dialed(address) == server.port
        shutil.copy(CA, file)
        with pytest.raises(Unreachable):
            await dial(address)
        shutil.copy(CLIENT, file)
        assert await dialed(address) == server.port


def names(server: FakeRedis) -> bytes:
    """What a Sentinel says that takes a server for the service's."""
    return f"*2\r\n${len(server.host)}\r\n{server.host}\r\n${len(str(server.port))}\r\n{server.port}\r\n".encode()


def by_sentinels(*sentinels: FakeRedis | int, **facts: Any) -> RedisAddress:
    hosts = [("127.0.0.1", each if isinstance(each, int) else each.port) for each in sentinels]
    return RedisAddress(tuple(hosts), service="sessions", timeout_seconds=30, **facts)


async def test_sentinels_are_asked_and_the_first_that_names_a_master_is_believed() -> None:
    async with (
        FakeRedis() as master,
        FakeRedis(when(role=REPLICA)) as replica,
        FakeRedis(when(sentinel=names(replica))) as late,
        FakeRedis(when(sentinel=names(master))) as right,
        FakeRedis(when(sentinel=b"*-1\r\n")) as ignorant,
        FakeRedis(when(sentinel=b"-IDONTKNOW I have not enough data\r\n")) as unsure,
    ):
        address = by_sentinels(1, ignorant, unsure, late, right)
        for _ in range(3):
            assert await dialed(address) == master.port
        assert {tuple(said) for said in right.said(b"SENTINEL")} == {(b"get-master-addr-by-name", b"sessions")}
        with pytest.raises(TurnedAway, match="it is a slave, no master"):
            await dial(by_sentinels(late))
        with pytest.raises(TurnedAway, match=r"knows of no service 'sessions'.*IDONTKNOW"):
            await dial(by_sentinels(ignorant, unsure))
        with pytest.raises(Unreachable, match=r"redis://127.0.0.1:1: "):
            await dial(by_sentinels(1))
        connection = await dial(address)
        assert await leads_to(by_sentinels(1, late, right), connection)
        assert await leads_to(by_sentinels(1, ignorant), connection)
        assert not await leads_to(by_sentinels(1, late), connection)
        connection.abort()
        await asyncio.sleep(0)


async def test_a_master_that_was_replaced_and_is_back_is_not_taken_for_the_one() -> None:
    """It says that it is one until it is told to copy; what it acknowledged until then would be gone."""
    async with (
        FakeRedis() as back,
        FakeRedis() as master,
        FakeRedis(lambda *_: names(master if back.num_connections else back)) as sentinel,
    ):
        with pytest.raises(TurnedAway, match="another server took the lead meanwhile"):
            await dial(by_sentinels(sentinel))
        assert back.num_connections == 1
        assert await dialed(by_sentinels(sentinel)) == master.port


async def test_a_sentinel_that_is_silent_keeps_nobody_from_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with FakeRedis() as master, FakeRedis(when(sentinel=names(master))) as right:
            assert await dialed(by_sentinels(port, right)) == master.port
        with pytest.raises(AnswerLost, match=r"did not answer for 0.1 s"):
            await dial(replace(by_sentinels(port, 1), timeout_seconds=0.1))


async def test_sentinels_and_servers_have_passwords_of_their_own() -> None:
    async with FakeRedis() as master, FakeRedis(when(sentinel=names(master))) as sentinel:
        url = f"redis+sentinel://me:one@127.0.0.1:{sentinel.port}/sessions/2?sentinel_username=s&sentinel_password=two"
        assert await dialed(redis_address(url)) == master.port
        assert (sentinel.said(b"AUTH"), master.said(b"AUTH")) == ([[b"s", b"two"]] * 2, [[b"me", b"one"]])
        assert (sentinel.said(b"SELECT"), master.said(b"SELECT")) == ([], [[b"2"]])


async def test_what_is_no_redis_is_said_so() -> None:
    async with FakeRedis(lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        with pytest.raises(RedisError, match="ended the connection"):
            await dial(at(server))


@pytest.mark.parametrize("others", [["127.0.0.9", "127.0.0.1"], ["127.0.0.1", "127.0.0.3"], ["127.0.0.3", "127.0.0.1"]])
async def test_of_several_machines_with_one_name_the_master_is_found(
    others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts = others if host == "redis.test" else [host]
        return [found for each in hosts for found in actual(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with (
        FakeRedis() as master,
        FakeRedis(when(role=REPLICA), host="127.0.0.3", port=master.port),
    ):
        connection = await dial(RedisAddress((("redis.test", master.port),), timeout_seconds=30))
        assert connection.peer == "127.0.0.1"
        connection.abort()
        await asyncio.sleep(0)
