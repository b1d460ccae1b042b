"""What comes in very small parts is read a slice at a time."""

from __future__ import annotations

import asyncio

import pytest

from ostinato.service.edge import guarded_connection, reading_connection
from ostinato.service.edge.http_connection import HttpConnection
from tests.service.edge.test_guarded_connection import HANDSHAKE
from tests.service.edge.test_http_connection import JSON_TYPE, STEP, Client, house_with_a, post, serving, step
from tests.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("path", [STEP, "/step"])
async def test_a_body_in_the_smallest_chunks_is_read_a_slice_at_a_time(
    direct: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_connection, "TURN_SECONDS", -1.0)
    content = b'{"inputs": [[4]]%b}' % (b' , "session_id": "a"' if path == "/step" else b"")
    content = content[:-1] + b" " * 100_000 + b"}"
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    most = now = 0

    def count(connection: HttpConnection, part: bytes) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        on_body(connection, part)

    async def turn() -> None:
        nonlocal now
        while True:
            now = 0
            await asyncio.sleep(0)

    on_body = HttpConnection.on_body
    monkeypatch.setattr(HttpConnection, "on_body", count)
    async with serving(await house_with_a(), direct=direct) as server, Client.to(server) as client:
        watching = asyncio.create_task(turn())
        client.writer.write(post(path, body, JSON_TYPE, "transfer-encoding: chunked") + step(5))
        status, _, answer = await client.answer()
        assert (status, answer["outputs"]) == (200, [[4.0]])
        status, _, answer = await client.answer()
        assert (status, answer["outputs"]) == (200, [[9.0]])
        watching.cancel()
    assert 1000 < most <= reading_connection.SLICE_BYTES // 6 + 1


async def test_what_stands_behind_many_requests_and_a_handshake_reaches_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading_connection, "TURN_SECONDS", -1.0)
    monkeypatch.setattr(reading_connection, "SLICE_BYTES", 50)
    monkeypatch.setattr(guarded_connection, "SLICE_BYTES", 50)
    frame = b"\x81\xa6\0\0\0\0" + b'{"session_id":"a","inputs":[[  %d]]}   '
    frames = b"".join(frame % number for number in (1, 2, 3))
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        client.writer.write(step(4) * 3 + HANDSHAKE + frames)
        for _ in range(3):
            assert (await client.answer())[0] == 200
        assert (await client.answer())[0] == 101
        answers = b""
        while answers.count(b"outputs") < 3:
            answers += await asyncio.wait_for(client.reader.read(1000), PATIENCE_SECONDS)
    assert [b'"outputs":[[%d.0]]' % number in answers for number in (13, 15, 18)] == [True] * 3


@pytest.mark.parametrize("head", ["a: " + "b" * 65_600, "\r\n".join(["a: " + "b" * 3000] * 22)], ids=["one", "many"])
async def test_a_head_over_the_limit_is_refused_though_it_is_read_in_slices(head: str) -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        client.writer.write(step(4) + post(STEP, b"{}", head))
        assert (await client.answer())[0] == 200
        status, headers, problem = await client.answer()
        assert (status, problem["code"], dict(headers)["connection"]) == (431, "head_too_large", "close")
