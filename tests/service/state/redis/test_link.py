"""A connection to a Redis that goes away, is slow, or answers nobody any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from ostinato.service.state.redis.link import AnswerLost, Link, RedisAddress, Unreachable, pack

Answer = Callable[[list[bytes], asyncio.StreamWriter], bytes | None]
"""What a command is answered, by the connection on which it came; None = nothing yet."""


class Puppet:
    """A server that answers PING, and all else as it is told.

    Attributes:
        connections: those that were made, in order.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.connections: list[asyncio.StreamWriter] = []
        self.listener: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        commands = hiredis.Reader()
        while data := await reader.read(4096):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                said = b"+PONG\r\n" if command == [b"PING"] else self._answer(command, writer)
                writer.write(said or b"")


@asynccontextmanager
async def linked(answer: Answer, timeout_seconds: float = 10) -> AsyncIterator[tuple[Puppet, Link]]:
    puppet = Puppet(answer)
    puppet.listener = await asyncio.start_server(puppet.serve, "127.0.0.1", 0)
    port = puppet.listener.sockets[0].getsockname()[1]
    link = Link(RedisAddress("127.0.0.1", port, timeout_seconds=timeout_seconds))
    try:
        yield puppet, link
    finally:
        await link.close()
        puppet.listener.close()
        for writer in puppet.connections:
            writer.transport.abort()


async def test_what_was_sent_before_the_server_went_may_have_been_done() -> None:
    def go(_: list[bytes], writer: asyncio.StreamWriter) -> None:
        assert puppet.listener is not None
        puppet.listener.close()
        writer.transport.abort()

    async with linked(go) as (puppet, link):
        with pytest.raises(AnswerLost):
            await link.ask(pack("SET", "a", "1"))
        with pytest.raises(Unreachable):
            await link.ask(pack("SET", "a", "1"))


async def test_an_answer_that_nobody_waits_for_any_more_is_nobody_elses() -> None:
    def later(command: list[bytes], _: asyncio.StreamWriter) -> bytes | None:
        if command == [b"GET", b"slow"]:
            came.set()
            return None
        return b"+slow\r\n+quick\r\n"

    came = asyncio.Event()
    async with linked(later) as (_, link):
        slow = asyncio.ensure_future(link.ask(pack("GET", "slow")))
        await came.wait()
        slow.cancel()
        await asyncio.wait([slow])
        assert await link.ask(pack("GET", "quick")) == [b"quick"]


async def test_who_leaves_while_a_connection_is_made_takes_it_from_nobody() -> None:
    async with linked(lambda command, _: b"+%b\r\n" % command[1]) as (puppet, link):
        asked: list[asyncio.Future[Any]] = [asyncio.ensure_future(link.ask(pack("GET", name))) for name in "abc"]
        await asyncio.sleep(0)  # all wait for the one connection
        asked[0].cancel()
        assert await asyncio.gather(*asked[1:]) == [[b"b"], [b"c"]]
        assert len(puppet.connections) == 1


async def test_a_server_that_does_not_answer_the_second_sending_is_left_alone() -> None:
    def first_ends(_: list[bytes], writer: asyncio.StreamWriter) -> None:
        if writer is puppet.connections[0]:
            writer.transport.abort()

    resent: list[bool] = []
    async with linked(first_ends, timeout_seconds=0.2) as (puppet, link):
        with pytest.raises(AnswerLost, match=r"did not answer for 0\.2 s"):
            await link.ask(pack("SET", "a", "1"), on_resend=lambda: resent.append(True))
        assert resent == [True]
        assert "silent" in repr(link)
        with pytest.raises(Unreachable, match="does not answer"):
            await link.ask(pack("GET", "a"))
