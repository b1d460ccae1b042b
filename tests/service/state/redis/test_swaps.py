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

from ostinato.service.errors import SeqConflict, SessionClosed, StateStoreUnavailable
from ostinato.service.sessions.blocks import NO_SEQ
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.state.base import Snapshot
from ostinato.service.state.redis.address import RedisAddress, redis_address
from ostinato.service.state.redis.servers import NUM_CLUSTER_SLOTS, RedisServers
from ostinato.service.state.redis.store import RedisStore
from ostinato.service.state.redis.swaps import Swaps
from tests.faults.proxy import Proxy
from tests.redis_server import RedisServer
from tests.service.puppet import House, column, until

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


class Node:
    """A server of a cluster that says one thing; ``is_cut``: it was asked before, and did not answer."""

    def __init__(self, said: Any, *, is_cut: bool = False) -> None:
        self._said = said
        self._is_cut = is_cut

    async def ask(self, packed: bytes, num_answers: int, on_resend: Callable[[], object]) -> list[Any]:
        assert packed
        if self._is_cut:
            on_resend()
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
