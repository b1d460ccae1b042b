from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from ostinato.service.state.redis import connection as connections
from ostinato.service.state.redis import link as links
from ostinato.service.state.redis.address import RedisAddress
from ostinato.service.state.redis.connection import AnswerLost, TurnedAway, Unreachable, pack
from ostinato.service.state.redis.link import Link
from tests.faults.proxy import Proxy
from tests.service.state.redis.fake_redis import FakeRedis
from tests.waiting import until_true

AtEnd = list[Callable[[], Awaitable[object]]]

GET = pack("GET", "a")
SET = pack("SET", "a", "b")


def link_to(port: int, at_end: AtEnd, timeout_seconds: float = 60) -> Link:
    link = Link(RedisAddress((("127.0.0.1", port),), timeout_seconds=timeout_seconds))
    at_end.append(link.close)
    return link


@pytest.fixture
def _old_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is old enough to be given up."""
    monkeypatch.setattr(connections, "TURNED_AWAY_SECONDS", 0.0)
    monkeypatch.setattr(connections, "DOUBT_SECONDS", 0.0)


@pytest.mark.usefixtures("_old_connections")
@pytest.mark.parametrize(
    "said",
    [
        "READONLY You can't write against a read only replica.",
        "ERR Error running script (call to f_1): @user_script:30: @user_script: 30: -READONLY You can't write",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "LOADING Redis is loading the dataset in memory",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "CLUSTERDOWN The cluster is down",
        "NOREPLICAS Not enough good replicas to write.",
    ],
)
async def test_who_says_that_another_is_to_be_asked_is_left_and_the_address_is_dialed_anew(
    said: str, at_end: AtEnd
) -> None:
    def says(number: int, command: list[bytes]) -> bytes | None:
        return f"-{said}\r\n".encode() if command[0] == b"GET" and number == 1 else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        resent: list[None] = []
        assert await link.ask(GET, on_resend=lambda: resent.append(None)) == [None]
        assert server.num_connections == 2
        assert not resent, "nothing was done by whom it was sent to first"
        assert await link.ask(GET) == [None]
        assert server.num_connections == 2
        await link.close()


@pytest.mark.usefixtures("_old_connections")
@pytest.mark.parametrize(
    "said",
    [
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions to run the 'get' command",
        "BUSY Redis is busy running a script.",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR LOADING is no command",
    ],
)
async def test_what_another_connection_would_not_mend_costs_none(said: str, at_end: AtEnd) -> None:
    async with FakeRedis(lambda _, command: f"-{said}\r\n".encode() if command[0] == b"GET" else None) as server:
        link = link_to(server.port, at_end)
        for _ in range(3):
            (answer,) = await link.ask(GET)
            assert str(answer) == said
        assert server.num_connections == 1
        await link.close()


@pytest.mark.usefixtures("_old_connections")
async def test_where_it_is_not_known_whether_it_was_done_whoever_asks_is_told(at_end: AtEnd) -> None:
    def says(number: int, command: list[bytes]) -> bytes | None:
        return b"-READONLY no\r\n" if command == [b"GET", b"b"] and number == 1 else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        resent: list[None] = []
        await link.ask(GET + pack("GET", "b"), 2, on_resend=lambda: resent.append(None))
        assert len(resent) == 1, "the first of both was done, and is sent again"
        await link.close()


@pytest.mark.usefixtures("_old_connections")
async def test_who_keeps_saying_no_is_asked_twice_and_then_believed(at_end: AtEnd) -> None:
    async with FakeRedis(lambda _, command: b"-READONLY no\r\n" if command[0] == b"GET" else None) as server:
        link = link_to(server.port, at_end)
        (answer,) = await link.ask(GET)
        assert str(answer) == "READONLY no"
        assert len(server.said(b"GET")) == 2
        await link.close()


async def test_a_new_connection_that_is_turned_away_is_not_made_again_for_each_request(
    at_end: AtEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TURNED_AWAY_SECONDS", 3600.0)
    async with FakeRedis(lambda _, command: b"-READONLY no\r\n" if command[0] == b"GET" else None) as server:
        link = link_to(server.port, at_end)
        for _ in range(20):
            await link.ask(GET)
        assert server.num_connections == 1
        await link.close()


@pytest.mark.usefixtures("_old_connections")
async def test_what_was_sent_before_is_still_answered_by_whom_it_was_sent_to(at_end: AtEnd) -> None:
    def says(number: int, command: list[bytes]) -> bytes | None:
        if command[0] == b"SET" and number == 1:
            return b"-READONLY no\r\n"
        return b"+first\r\n" if command[0] == b"ECHO" and number == 1 else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        await link.ask(GET)
        asked = [link.ask(pack("ECHO", "a")), link.ask(pack("SET", "a", "b")), link.ask(pack("ECHO", "c"))]
        answers = await asyncio.gather(*asked)
        assert answers == [[b"first"], [b"OK"], [b"first"]]
        assert server.num_connections == 2
        await link.close()


@pytest.mark.usefixtures("_old_connections")
async def test_a_connection_that_is_left_stays_until_its_last_answer_is_there(at_end: AtEnd) -> None:
    def says(number: int, command: list[bytes]) -> bytes | None:
        if (number, command[0]) == (2, b"ROLE"):
            server.writers[0].write(b"rst\r\n")
        if command[0] == b"SET" and number == 1:
            return b"-READONLY no\r\n"
        return b"+fi" if command[0] == b"ECHO" and number == 1 else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        await link.ask(GET)
        changed, echoed = await asyncio.gather(link.ask(SET), link.ask(pack("ECHO", "a")))
        assert (changed, echoed) == ([b"OK"], [b"first"])
        assert server.num_connections == 2
        await link.close()


async def test_at_the_door_of_who_turns_everybody_away_nobody_asks_all_the_time(
    at_end: AtEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeRedis(lambda _, command: b"-LOADING wait\r\n" if command[0] == b"PERSIST" else None) as server:
        link = link_to(server.port, at_end)
        with monkeypatch.context() as context:
            context.setattr(links, "PAUSE_SECONDS", 3600.0)
            with pytest.raises(TurnedAway, match="LOADING wait"):
                await link.ask(GET)
        for _ in range(100):
            with pytest.raises(Unreachable, match="LOADING wait"):
                await link.ask(GET)
        assert server.num_connections == 1
        link = link_to(server.port, at_end)
        with pytest.raises(TurnedAway):
            await link.ask(GET)
        server.says = lambda _number, _command: None

        async def is_in() -> bool:
            try:
                return await link.ask(GET) == [None]
            except Unreachable:
                return False

        await until_true(is_in, "being let in")
        await link.close()


async def test_a_connection_on_which_nothing_passes_any_more_is_made_anew(at_end: AtEnd) -> None:
    async with FakeRedis() as server, Proxy(server.port, random.Random(1)) as proxy:
        link = link_to(proxy.port, at_end, timeout_seconds=0.1)
        await link.ask(GET)
        proxy.freeze()
        with pytest.raises(AnswerLost, match=r"did not answer for 0.1 s"):
            await link.ask(GET)

        async def is_back() -> bool:
            try:
                return await link.ask(GET) == [None]
            except Unreachable:
                return False

        await until_true(is_back, "a new connection")
        assert server.num_connections == 2
        await link.close()


async def test_what_was_sent_before_the_server_went_may_have_been_done(at_end: AtEnd) -> None:
    def goes(_number: int, command: list[bytes]) -> bytes | None:
        if command[0] != b"SET":
            return None
        server.leave()
        raise ConnectionResetError

    async with FakeRedis(goes) as server:
        link = link_to(server.port, at_end)
        with pytest.raises(AnswerLost):
            await link.ask(SET)
        with pytest.raises(Unreachable):  # of this one, nothing was sent
            await link.ask(SET)
        await link.close()


async def test_a_change_is_never_sent_a_second_time_in_silence(at_end: AtEnd) -> None:
    def ends(number: int, command: list[bytes]) -> bytes | None:
        if command[0] == b"SET" and number == 1:
            raise ConnectionResetError
        return None

    async with FakeRedis(ends) as server:
        link = link_to(server.port, at_end)
        resent: list[int] = []
        assert await link.ask(SET, on_resend=lambda: resent.append(len(server.said(b"SET")))) == [b"OK"]
        assert resent == [1], "whoever asks is told before it is sent again"
        assert len(server.said(b"SET")) == 2
        assert await link.ask(SET, on_resend=lambda: resent.append(0)) == [b"OK"]
        assert resent == [1]
        await link.close()


async def test_an_answer_that_nobody_waits_for_any_more_is_nobody_elses(at_end: AtEnd) -> None:
    came = asyncio.Event()

    def says(_number: int, command: list[bytes]) -> bytes | None:
        if command == [b"ECHO", b"slow"]:
            came.set()
            return b"+sl"
        return b"ow\r\n+quick\r\n" if command == [b"ECHO", b"quick"] else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        slow = asyncio.ensure_future(link.ask(pack("ECHO", "slow")))
        await came.wait()
        slow.cancel()
        await asyncio.wait([slow])
        assert await link.ask(pack("ECHO", "quick")) == [b"quick"]
        assert server.num_connections == 1
        await link.close()


async def test_who_leaves_while_a_connection_is_made_takes_it_from_nobody(at_end: AtEnd) -> None:
    greeted = asyncio.Event()

    def says(_number: int, command: list[bytes]) -> bytes | None:
        if command[0] == b"ROLE":
            greeted.set()
        return b"+%b\r\n" % command[1] if command[0] == b"ECHO" else None

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end)
        asked = [asyncio.ensure_future(link.ask(pack("ECHO", name))) for name in "abc"]
        await greeted.wait()
        asked[0].cancel()
        assert await asyncio.gather(*asked[1:]) == [[b"b"], [b"c"]]
        assert server.num_connections == 1
        await link.close()


async def test_a_server_that_does_not_answer_the_second_sending_is_left_alone(at_end: AtEnd) -> None:
    def says(number: int, command: list[bytes]) -> bytes | None:
        if command[0] == b"SET" and number == 1:
            raise ConnectionResetError
        return b"+" if command[0] == b"SET" or number > 2 else None  # which is no whole answer

    async with FakeRedis(says) as server:
        link = link_to(server.port, at_end, timeout_seconds=0.2)
        with pytest.raises(AnswerLost, match=r"did not answer for 0\.2 s"):
            await link.ask(SET)
        for _ in range(20):
            with pytest.raises(Unreachable, match="does not answer"):
                await link.ask(GET)
        assert len(server.said(b"SET")) == 2
        assert not server.said(b"GET")
        await link.close()


async def test_where_nobody_answers_while_a_connection_is_made_nothing_was_sent(at_end: AtEnd) -> None:
    async with FakeRedis(lambda _number, _command: b"+") as server:
        link = link_to(server.port, at_end, timeout_seconds=0.1)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await link.ask(SET)
        assert not server.said(b"SET")
        await link.close()
