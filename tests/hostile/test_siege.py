"""A real server bears what nobody should send, with sessions next to it; and one that does not is found out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.hostile.__main__ import besiege
from tests.hostile.attacks import Attack, Bodies, Cursors, Heads, Target
from tests.hostile.breach import Toll, generator_of
from tests.hostile.siege import ATTACKS
from tests.hostile.streams import Streams
from tests.hostile.wire import Broken, read_answer
from tests.server import free_port

NUM_CASES = 150
NUM_CONNECTIONS = 300


async def test_a_server_bears_all_attacks_and_sessions_next_to_them_stay_to_the_bit() -> None:
    tolls: list[Toll] = []
    await besiege("lmdb", ATTACKS, 20_263, NUM_CONNECTIONS, tolls.append, numbers=range(NUM_CASES))
    assert [str(breach) for toll in tolls for breach in toll.breaches] == []
    assert [toll.what for toll in tolls] == [*(attack.name for attack in ATTACKS), "sessions"]
    assert all(toll.num_cases for toll in tolls)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[Target]:
    """A server that writes these and ends each connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"".join(answers))
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield Target(port, "memory")


REFUSED = (
    b'HTTP/1.1 422 Unprocessable\r\ncontent-type: application/problem+json\r\ncontent-length: 12\r\n\r\n{"code":"a"}'
)
FAILED = b'HTTP/1.1 500 Oh\r\ncontent-type: application/problem+json\r\ncontent-length: 19\r\n\r\n{"code":"internal"}'
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.mark.parametrize(
    ("kind", "answers", "said"),
    [
        (Cursors, [FAILED], "answered with 500"),
        (Cursors, [], "without an answer"),
        (Cursors, [b"HTTP/1.1 422 a\r\ncontent-length: 9\r\n\r\n{}"], "ended before its end"),
        (Cursors, [b"oh\r\n"], "the answer begins with b'oh"),
        (Heads, [FAILED], "answered with 500"),
        (Heads, [REFUSED * 9], "9 answers"),
        (Streams, [SWITCHED, b"\x88\x02\x03\xf3"], "answers to|closed with 1011"),
        (Streams, [REFUSED], "a handshake was answered with"),
    ],
)
async def test_a_server_that_does_not_bear_it_is_found_out(kind: type[Attack], answers: list[bytes], said: str) -> None:
    async with answering(*answers) as target:
        with pytest.raises(Broken, match=said):
            await kind(target).strike(1, generator_of(kind.name, 1, 1))


async def test_an_answer_too_few_or_to_another_request_is_found_out() -> None:
    state = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    for answers, said in (([state], "answered with None"), ([state, REFUSED], "a request for a session was answered")):
        async with answering(*answers) as target:
            with pytest.raises(Broken, match=said):
                await Bodies(target).strike(1, random.Random(1))


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (REFUSED + REFUSED, [422, 422]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSED, [422]),
        (b"HTTP/1.1 204 No Content\r\n\r\n" + REFUSED, [204, 422]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" + REFUSED, [200, 422]),
    ],
)
async def test_answers_one_behind_another_are_told_apart(content: bytes, statuses: list[int]) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(content)
    reader.feed_eof()
    found = []
    while (answer := await read_answer(reader)) is not None:
        found.append(answer.status)
    assert found == statuses
