"""Changes whose answer was lost, and which another replica has changed again before they are sent a second time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any, NamedTuple

import hiredis
import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.errors import SeqConflict, SessionClosed, StateStoreUnavailable
from ostinato.service.sessions.blocks import NO_SEQ
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.state.base import Snapshot
from ostinato.service.state.redis.address import RedisAddress, redis_address
from ostinato.service.state.redis.connection import AnswerLost, RedisError, Refused, Unreachable, pack
from ostinato.service.state.redis.servers import NUM_CLUSTER_SLOTS, Command, RedisServers, cluster_slot
from ostinato.service.state.redis.store import RedisStore
from ostinato.service.state.redis.swaps import ABSENT, SCRIPT, Swapped, Swaps
from tests.faults.proxy import Proxy
from tests.redis_server import RedisCluster, RedisServer
from tests.service.puppet import House, column, until
from tests.service.state.test_store_contract import commit_of, settled

UNKNOWN = "may have been applied|may or may not"


class Pair(NamedTuple):
    """Two replicas: one behind a proxy that loses answers, one next to Redis."""

    proxy: Proxy
    one: House
    other: House

    async def overtake(self, attempt: Awaitable[Any], change: Callable[[], Awaitable[object]]) -> Any:
        """What comes of a change of ``one``'s whose answer is lost, ``other`` changing the session before it is sent
        again.
        """
        num_lost = self.proxy.num_lost
        self.proxy.swallow_after(b"EVALSHA")
        under_way = asyncio.ensure_future(attempt)
        await until(lambda: self.proxy.num_lost > num_lost)
        await change()
        self.proxy.cut()
        return await under_way


@asynccontextmanager
async def replicas(redis_server: RedisServer) -> AsyncIterator[Pair]:
    with closing(redis_server.client()) as client:
        client.flushall()
    async with Proxy(redis_server.port, random.Random(1)) as proxy:
        urls = (f"redis://127.0.0.1:{proxy.port}", redis_server.url)
        stores = [RedisStore(redis_address(url), tombstone_seconds=10, memory_budget=1e6) for url in urls]
        pair = Pair(proxy, *(House(store=store) for store in stores))
        # From here on Redis knows the script.
        await pair.one.sessions.open("sum", session_id="a")
        try:
            yield pair
        finally:
            for store in stores:
                await store.stop()


async def step(house: House, *values: float, seq: int | None = None, session_id: str = "a") -> list[float]:
    answer = await house.ledger.step(await house.sessions.find(session_id), column(*values), seq)
    return [float(value) for value in answer.outputs[:, 0]]


async def test_a_step_without_seq_is_not_made_a_second_time(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)
        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(step(pair.one, 10), lambda: step(pair.other, 100))
        for house in (pair.one, pair.other):
            assert (await house.sessions.look("a")).steps == 3
        assert await step(pair.one, 1000) == [1111]
        assert pair.one.engine.num_rows == 0
        assert not pair.one.engine.arena.busy.any()


async def test_with_seq_sending_it_again_finds_out(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(step(pair.one, 10, seq=0), lambda: step(pair.other, 100))
        with pytest.raises(SeqConflict) as conflict:
            await step(pair.one, 10, seq=0)
        assert conflict.value.expected_seq == 2
        # And where nobody followed, it is answered again.
        assert await step(pair.one, 1000, seq=2) == await step(pair.other, 1000, seq=2) == [1110]


async def test_of_a_message_only_the_rows_that_were_overtaken_are_unknown(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        house = pair.one
        await house.sessions.open("sum", session_id="b")
        columns = Columns.of(["a", "b"], column(1, 2), np.array([NO_SEQ, NO_SEQ]), {})
        answers = await pair.overtake(
            step_columns(house.sessions, house.ledger, house.engine, columns), lambda: step(pair.other, 100)
        )
        assert {row: type(error) for row, error in answers.errors.items()} == {0: StateStoreUnavailable}
        assert (answers.outputs[1].tolist(), answers.seqs[1]) == ([2], 0)
        assert await step(house, 1000) == [1101]
        assert await step(house, 1000, session_id="b") == [1002]


async def test_the_doubt_stands_at_the_row_that_was_overtaken_wherever_others_have_lost(
    redis_server: RedisServer,
) -> None:
    async with replicas(redis_server) as pair:
        for session_id in "bc":
            await pair.one.sessions.open("sum", session_id=session_id)
        store, arena, now = pair.one.store, pair.one.engine.arena, pair.one.clock()
        slots = [(await store.find(session_id, now)).slot for session_id in "cab"]
        # The first is at another count of steps, and is not sent at all.
        rows = [(slot, before, [5.0]) for slot, before in zip(slots, (7, 0, 0), strict=True)]
        commit = commit_of(arena, *rows)
        won = await pair.overtake(settled(store.commit(commit, now)), lambda: step(pair.other, 100))
        assert won.tolist() == [False, False, True]
        assert commit.unknown is not None
        assert commit.unknown.tolist() == [False, True, False]


@pytest.mark.parametrize("verb", ["reset", "put"])
async def test_what_sets_a_session_does_not_undo_the_step_that_followed(verb: str, redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)
        session = await pair.one.sessions.find("a")
        snapshot = Snapshot([np.array([50], np.float32)], 7, np.array([[50]], np.float32))
        work = pair.one.sessions.reset(session) if verb == "reset" else pair.one.sessions.put(session, snapshot)
        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(work, lambda: step(pair.other, 100))
        expected = 100 if verb == "reset" else 150
        assert await step(pair.one, 1000) == [expected + 1000]


async def test_a_closing_does_not_close_the_session_that_was_opened_next(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)
        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(pair.one.sessions.close("a"), lambda: pair.other.sessions.open("sum", session_id="a"))
        assert await step(pair.one, 5) == [5]
        assert await step(pair.other, 6) == [11]


@pytest.mark.parametrize("verb", ["open", "fork"])
async def test_an_opening_is_not_told_that_its_own_session_exists(verb: str, redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)
        source = await pair.one.sessions.find("a")
        if verb == "open":
            work = pair.one.sessions.open("sum", session_id="new")
        else:
            work = pair.one.sessions.fork(source, session_id="new")
        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(work, lambda: step(pair.other, 100, session_id="new"))
        assert await step(pair.one, 0, session_id="new") == [100 if verb == "open" else 101]


async def test_a_closing_that_another_followed_by_nothing_counts_once(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:

        async def nothing() -> None:
            pass

        await pair.overtake(pair.one.sessions.close("a"), nothing)
        with pytest.raises(SessionClosed):
            await pair.other.sessions.look("a")


async def test_what_redis_refuses_the_second_time_may_have_been_done_the_first(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)

        async def forbid() -> None:
            with closing(redis_server.client()) as client:
                client.execute_command("ACL", "SETUSER", "default", "-evalsha")

        try:
            with pytest.raises(StateStoreUnavailable, match=r"NOPERM.*may or may not have been applied"):
                await pair.overtake(step(pair.one, 10), forbid)
        finally:
            with closing(redis_server.client()) as client:
                client.execute_command("ACL", "SETUSER", "default", "+@all")
        assert await step(pair.other, 100) == [111]


async def test_a_script_that_was_forgotten_meanwhile_keeps_the_doubt(redis_server: RedisServer) -> None:
    async with replicas(redis_server) as pair:
        await step(pair.one, 1)

        async def change_and_forget() -> None:
            await step(pair.other, 100)
            with closing(redis_server.client()) as client:
                client.script_flush()

        with pytest.raises(StateStoreUnavailable, match=UNKNOWN):
            await pair.overtake(step(pair.one, 10), change_and_forget)
        assert await step(pair.one, 1000) == [1111]


RECORDS = 600
"""More than two calls of the script have on one server, and more than there can be of different slots in a cluster."""


def rows_of(first_stamp: int, num_rows: int = RECORDS) -> tuple[list[bytes], list[bytes], NDArray[np.float64]]:
    """Keys, records that are told from each other by stamp and content, and for how long each is kept: no two alike."""
    numbers = range(num_rows)
    keys = [b"ostinato:session:row-%d" % number for number in numbers]
    records = [(first_stamp + number).to_bytes(8, "little") + b"%080d" % number for number in numbers]
    return keys, records, 1000.0 * np.arange(1, num_rows + 1, dtype=np.float64)


@pytest.mark.parametrize("name", ["redis_server", "redis_cluster"])
async def test_each_of_many_rows_is_swapped_by_its_own_stamp_record_and_time(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: RedisServer | RedisCluster = request.getfixturevalue(name)
    for node in server.nodes if isinstance(server, RedisCluster) else [server]:
        with closing(node.client()) as client:
            client.flushall()
    servers = RedisServers(redis_address(server.url))
    try:
        await servers.nodes()  # whether there is one is known from here on
        swaps = Swaps(servers)
        keys, records, keep = rows_of(1)
        begun = await swaps.begin(keys, np.full(RECORDS, ABSENT), records, keep)
        assert begun.won.all()
        assert begun.unknown is None
        # Of every third somebody else has another stamp in mind.
        stamps = np.arange(1, RECORDS + 1)
        stamps[::3] += RECORDS
        _, later, _ = rows_of(10_000)
        won = (await swaps.begin(keys, stamps, later, keep[::-1])).won
        assert np.flatnonzero(~won).tolist() == list(range(0, RECORDS, 3))
        asked = [Command(cluster_slot(key), pack(word, key)) for key in keys for word in ("GET", "PTTL")]
        answers = await servers.ask(asked)
        assert answers[::2] == [later[row] if won[row] else records[row] for row in range(RECORDS)]
        seconds = [answer / 1000 for answer in answers[1::2]]
        expected = np.where(won, keep[::-1], keep)
        assert ((expected - 900 < seconds) & (seconds <= expected)).all()
    finally:
        await servers.close()


async def test_of_several_calls_whose_answers_were_lost_each_is_in_doubt(redis_server: RedisServer) -> None:
    keys, records, keep = rows_of(1, 300)
    async with Proxy(redis_server.port, random.Random(1)) as proxy:
        servers = RedisServers(redis_address(f"redis://127.0.0.1:{proxy.port}"))
        with closing(redis_server.client()) as client:
            client.flushall()
            client.script_load(SCRIPT)
            await servers.nodes()
            proxy.swallow_after(b"EVALSHA")
            under_way = asyncio.ensure_future(Swaps(servers).begin(keys, np.full(300, ABSENT), records, keep))
            await until(lambda: client.exists(keys[299]) and proxy.num_lost)
            client.set(keys[299], b"somebody")
            client.set(keys[7], b"somebody")
            proxy.cut()
            won, unknown, _ = await under_way
        await servers.close()
    assert unknown is not None
    assert np.flatnonzero(unknown).tolist() == np.flatnonzero(~won).tolist() == [7, 299]


NOT_SEEN, FULL = hiredis.ReplyError("NOSCRIPT No matching script."), hiredis.ReplyError("OOM used memory > maxmemory")


class Calls:
    """Servers of a cluster, as ``Swaps`` asks them: what they say to each call, or what is raised; and which of its
    commands were sent before.
    """

    is_one = False
    address = "redis://cache:1"
    refusal = staticmethod(str)

    def __init__(self, *said: tuple[list[Any] | Exception, set[int]]) -> None:
        self._said = list(said)

    async def ask(self, commands: list[Command], resent: set[int]) -> list[Any]:
        said, before = self._said.pop(0)
        resent.update(before)
        if isinstance(said, Exception):
            raise said
        assert len(said) == len(commands)
        return said


async def swapped(calls: Calls) -> Swapped:
    keys, records, keep = rows_of(1, 3)
    swaps: Any = Swaps(calls)  # type: ignore[arg-type]  # it is asked nothing else
    result: Swapped = await swaps.begin(keys, np.full(3, ABSENT), records, keep)
    return result


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ([([FULL, FULL, FULL], set())], Refused),
        ([([FULL, FULL, FULL], {1})], AnswerLost),
        ([([NOT_SEEN, NOT_SEEN, NOT_SEEN], set()), (Unreachable("gone"), set())], Unreachable),
        ([([NOT_SEEN, NOT_SEEN, NOT_SEEN], {2}), (Unreachable("gone"), set())], AnswerLost),
        ([([NOT_SEEN, NOT_SEEN, NOT_SEEN], set()), ([FULL, FULL, FULL], {0})], AnswerLost),
    ],
)
async def test_nothing_was_applied_only_where_no_part_of_it_can_have_been(
    calls: list[tuple[list[Any] | Exception, set[int]]], error: type[RedisError]
) -> None:
    with pytest.raises(RedisError) as raised:
        await swapped(Calls(*calls))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("calls", "won", "unknown", "trouble"),
    [
        ([([b"1", FULL, b"0"], set())], [1, 0, 0], [0, 1, 0], "OOM"),
        ([([b"0", AnswerLost("second: late"), b"1"], set())], [0, 0, 1], [0, 1, 0], "second: late"),
        ([([Unreachable("first: gone"), b"1", b"1"], {2})], [0, 1, 1], [1, 0, 0], "first: gone"),
        ([([Unreachable("first: gone"), b"1", b"0"], {2})], [0, 1, 0], [1, 0, 1], "first: gone"),
        ([([NOT_SEEN, b"1", NOT_SEEN], set()), (Unreachable("gone"), set())], [0, 1, 0], [1, 0, 1], "gone"),
        ([([NOT_SEEN, b"1", NOT_SEEN], set()), ([FULL, b"1"], set())], [0, 1, 1], [1, 0, 0], "OOM"),
    ],
)
async def test_one_server_that_fails_is_that_for_its_own_part(
    calls: list[tuple[list[Any] | Exception, set[int]]], won: list[int], unknown: list[int], trouble: str
) -> None:
    done = await swapped(Calls(*calls))
    assert done.won.tolist() == list(map(bool, won))
    assert done.unknown is not None
    assert done.unknown.tolist() == list(map(bool, unknown))
    assert trouble in str(done.trouble)


async def test_what_is_said_the_second_time_is_of_those_that_were_asked_the_second_time() -> None:
    calls = Calls(([b"1", NOT_SEEN, NOT_SEEN], set()), ([b"0", b"1"], set()))
    assert (await swapped(calls)).won.tolist() == [True, False, True]
    calls = Calls(([b"1", NOT_SEEN, NOT_SEEN], set()), ([b"0", b"0"], {1}))
    won, unknown, trouble = await swapped(calls)
    assert trouble is None
    assert won.tolist() == [True, False, False]
    assert unknown is not None
    assert unknown.tolist() == [False, False, True]


class Node:
    """A server of a cluster that says one thing; ``is_cut``: it was asked before, and did not answer."""

    def __init__(self, said: Any, *, is_cut: bool = False) -> None:
        self._said = said
        self._is_cut = is_cut

    async def ask(self, packed: bytes, num_answers: int, on_resend: Callable[[], object]) -> list[Any]:
        assert packed
        if self._is_cut:
            on_resend()
        if isinstance(self._said, RedisError):
            raise self._said
        return [self._said] * num_answers


@pytest.mark.parametrize(("is_cut", "unknown"), [(True, [True]), (False, None)])
async def test_who_is_sent_on_to_another_server_may_have_been_answered_by_the_first(
    is_cut: bool, unknown: list[bool] | None
) -> None:
    servers: Any = RedisServers(RedisAddress((("first", 1),)))
    servers._is_cluster, servers._owners = True, [("first", 1)] * NUM_CLUSTER_SLOTS
    moved = hiredis.ReplyError("MOVED 7 second:2")
    servers._links = {("first", 1): Node(moved, is_cut=is_cut), ("second", 2): Node(b"0")}
    swapped = await Swaps(servers).begin([b"key"], np.array([5]), [b"record"], np.array([1.0]))
    assert swapped.won.tolist() == [False]
    assert (None if swapped.unknown is None else swapped.unknown.tolist()) == unknown


@pytest.mark.parametrize(
    ("second", "error"),
    [(Unreachable("second: gone"), Unreachable), (AnswerLost("second: late"), AnswerLost)],
)
async def test_where_no_server_is_there_nothing_was_applied_unless_one_was_sent_it(second: Any, error: type) -> None:
    keys = [b"first", b"second"]
    servers: Any = RedisServers(RedisAddress((("first", 1),)))
    servers._is_cluster, servers._owners = True, [("first", 1)] * NUM_CLUSTER_SLOTS
    servers._owners[cluster_slot(keys[1])] = ("second", 2)
    servers._links = {("first", 1): Node(Unreachable("first: gone")), ("second", 2): Node(second)}
    with pytest.raises(RedisError) as raised:
        await Swaps(servers).begin(keys, np.array([5, 5]), [b"record"] * 2, np.array([1.0, 1.0]))
    assert type(raised.value) is error
