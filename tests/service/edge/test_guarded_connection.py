"""What a connection bears: slow heads, silence, junk and handshakes behind work, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from ostinato.service.edge import guarded_connection
from ostinato.service.edge.head import MAX_HEAD_BYTES
from tests.service.edge.test_http_connection import (
    JSON_TYPE,
    STEP,
    Client,
    house_with_a,
    post,
    serving,
    step,
    turns,
    until,
)
from tests.waiting import PATIENCE_SECONDS

HANDSHAKE = (
    b"GET /v1/models/sum/stream HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAME = b'{"session_id": "a", "inputs": [[1]]}'
MASKED = bytes([0x81, 0x80 | len(FRAME), 0, 0, 0, 0]) + FRAME
both_ways = pytest.mark.parametrize("direct", [True, False], ids=["past ASGI", "through ASGI"])


async def test_a_new_connection_that_says_nothing_is_closed() -> None:
    house = await house_with_a(head_seconds=0.1)
    async with serving(house, timeout_keep_alive=3600) as server, Client.to(server) as client:
        assert await client.ends() == b""


async def test_0_waits_for_a_head_for_ever_and_for_another_request_as_long_as_ever() -> None:
    house = await house_with_a(head_seconds=0)
    async with serving(house, timeout_keep_alive=1) as server, Client.to(server) as slow, Client.to(server) as silent:
        request = step(1)
        await slow.send(request[:20])
        await silent.send(step(1))
        assert (await silent.answer())[0] == 200
        assert await silent.ends() == b""
        await slow.send(request[20:])
        assert (await slow.answer())[0] == 200


@both_ways
async def test_a_head_that_drips_is_answered_at_its_deadline(direct: bool) -> None:
    house = await house_with_a(head_seconds=0.2)
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(step(1))
        assert (await client.answer())[0] == 200  # a connection that was used, too
        await client.send(b"POST /v1/sessions/a/step HTTP/1.1\r\na: ")
        reading = asyncio.ensure_future(client.answer())
        while not reading.done():
            await client.send(b"b")  # far from the limits of a head until then
            if server.edge.desk.under_way:
                break
        status, headers, problem = await reading
        assert (status, problem["code"]) == (408, "request_timeout")
        assert ("connection", "close") in headers
        assert await client.ends() == b""
    assert house.value('ostinato_rejected_total{reason="request_timeout"}') == 1


@pytest.mark.parametrize("lines", [[b"a: " + b"b" * 1000] * 70, [b"a: b"] * 102, [b"a: " + b"b" * 70_000]])
async def test_a_head_over_a_limit_is_refused_before_its_end(lines: list[bytes]) -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        await client.send(b"POST /v1/sessions/a/step HTTP/1.1\r\n")
        for start in range(0, len(lines), 10):
            client.writer.write(b"\r\n".join(lines[start : start + 10]) + b"\r\n")
            await turns()
        status, _, problem = await client.answer()
        assert (status, problem["code"]) == (431, "head_too_large")


async def test_a_head_that_goes_over_its_limit_with_its_last_bytes_is_refused() -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        head = b"POST /v1/sessions/a/step HTTP/1.1\r\nhost: x\r\n" + b"a: %b\r\n" % (b"b" * 1000) * 62
        await client.send(head)
        assert len(head) < MAX_HEAD_BYTES
        connections: set[Any] = server.state.connections
        await until(lambda: any(connection.headers for connection in connections))
        await client.send(b"a: %b\r\n" % (b"b" * 1000) * 10 + b"\r\n")
        status, _, problem = await client.answer()
        assert (status, problem["code"]) == (431, "head_too_large")


async def test_heads_within_the_limits_are_read_however_many_come_at_once() -> None:
    request = post(STEP, '{"inputs": [[1]]}', *["a: " + "b" * 600] * 97)
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        await client.send(request * 20)
        assert [(await client.answer())[2]["steps"] for _ in range(20)] == list(range(1, 21))


async def test_one_connection_too_many_is_told_so_and_there_is_room_again_when_one_has_gone() -> None:
    house = await house_with_a(max_connections=2)
    async with serving(house) as server, Client.to(server) as first:
        async with Client.to(server):
            await until(lambda: len(server.state.connections) == 2)
            async with Client.to(server) as third:
                await third.send(step(1))
                status, headers, problem = await third.answer()
                assert (status, problem["code"]) == (503, "too_many_connections")
                assert ("connection", "close") in headers
                assert await third.ends() == b""
            await first.send(step(1))
            assert (await first.answer())[2]["steps"] == 1
        await until(lambda: len(server.state.connections) == 1)
        async with Client.to(server) as fourth:
            await fourth.send(step(1))
            assert (await fourth.answer())[2]["steps"] == 2
    assert house.value('ostinato_rejected_total{reason="too_many_connections"}') == 1


@both_ways
async def test_an_old_connection_ends_with_its_next_answer_and_says_so(direct: bool) -> None:
    house = await house_with_a(connection_seconds=1e-9)
    async with serving(house, direct=direct) as server:
        for number in (1, 2):
            async with Client.to(server) as client:
                await client.send(step(1))
                status, headers, content = await client.answer()
                assert (status, content["steps"]) == (200, number)
                assert [value for name, value in headers if name == "connection"] == ["close"]
                assert await client.ends() == b""


async def test_an_old_connection_may_become_a_stream() -> None:
    async with serving(await house_with_a(connection_seconds=1e-9)) as server, Client.to(server) as client:
        await client.send(HANDSHAKE + MASKED)
        assert (await client.answer())[0] == 101
        assert await asyncio.wait_for(client.reader.readexactly(1), PATIENCE_SECONDS) == b"\x81"


@both_ways
@pytest.mark.parametrize("asks_first", [False, True], ids=["plain", "Expect: 100-continue"])
@pytest.mark.parametrize("limits", [{"deadline_seconds": 0.3}, {"deadline_seconds": 0, "head_seconds": 0.01}])
async def test_a_client_that_reads_no_answer_is_cut_off(
    direct: bool, asks_first: bool, limits: dict[str, float]
) -> None:
    house = await house_with_a(**limits)
    expect = ("expect: 100-continue",) if asks_first else ()
    chunk = post(STEP, json.dumps({"inputs": [[0.5]] * 10_000, "seq": 0}), JSON_TYPE, *expect)
    async with serving(house, direct=direct) as server:
        # So little room for what is on its way that a few answers fill it.
        server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            sending = asyncio.ensure_future(loop.sock_sendall(client, chunk * 10))
            await until(lambda: server.state.total_requests)
            await until(lambda: not server.state.connections)
            await asyncio.gather(sending, return_exceptions=True)
        assert not server.edge.desk.under_way
    assert house.value('ostinato_rejected_total{reason="answer_unread"}') == 1


async def test_the_last_answer_of_a_connection_is_waited_for_no_longer_than_others() -> None:
    house = await house_with_a(deadline_seconds=0.3)
    chunk = post(STEP, json.dumps({"inputs": [[0.5]] * 6000, "seq": 0}), JSON_TYPE, "connection: close")
    async with serving(house, timeout_keep_alive=1) as server:
        # So little room that a part of the answer stays with the server, and so much that it need not pause.
        server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, chunk)
            await until(lambda: server.state.total_requests)
            connections: set[Any] = server.state.connections
            transport = next(iter(connections)).transport
            assert 0 < transport.get_write_buffer_size() < transport.get_write_buffer_limits()[1]
            await until(lambda: not server.state.connections)
    assert house.value('ostinato_rejected_total{reason="answer_unread"}') == 1


@both_ways
async def test_a_step_that_was_applied_is_answered_before_the_junk_behind_it(direct: bool) -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(step(4) + b"\x00\x01 junk\r\n\r\n", b"more junk")
        await until(lambda: house.engine.arena.busy.any())
        house.runner.gate.set()
        assert (await client.answer())[2]["outputs"] == [[4.0]]
        status, headers, problem = await client.answer()
        assert (status, problem["code"], ("connection", "close") in headers) == (400, "malformed_request", True)
        assert await client.ends() == b""


@both_ways
async def test_of_two_requests_the_one_with_a_broken_body_is_refused_and_the_one_before_it_answered(
    direct: bool,
) -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(step(4) + post(STEP, b"2\r\n{", "transfer-encoding: chunked"), b"x\r\n", b"zz\r\n")
        await until(lambda: house.engine.arena.busy.any())
        house.runner.gate.set()
        assert (await client.answer())[2]["outputs"] == [[4.0]]
        assert (await client.answer())[0] == 400
        assert await client.ends() == b""
        assert house.engine.arena.steps[0] == 1


@both_ways
async def test_a_handshake_behind_a_step_waits_for_its_answer_and_frames_behind_it_are_read(direct: bool) -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(step(4) + HANDSHAKE + MASKED)
        await until(lambda: house.engine.arena.busy.any())
        house.runner.gate.set()
        assert (await client.answer())[2]["outputs"] == [[4.0]]
        assert (await client.answer())[0] == 101
        opcode, length = await client.reader.readexactly(2)
        assert (opcode, json.loads(await client.reader.readexactly(length))["outputs"]) == (0x81, [[5.0]])


async def test_a_body_that_goes_on_behind_its_refusal_is_not_read_for_ever() -> None:
    house = await house_with_a(max_body_bytes=1000)
    async with serving(house, timeout_keep_alive=1) as server, Client.to(server) as client:
        await client.send(post(STEP, b"3e9\r\n" + b" " * 1001 + b"\r\n", JSON_TYPE, "transfer-encoding: chunked"))
        assert (await client.answer())[0] == 413
        while server.state.connections:
            client.writer.write(b"1\r\n \r\n")
            await turns()


@both_ways
async def test_a_body_in_chunks_is_unknown_to_http_1_0(direct: bool) -> None:
    request = post(STEP, b"10\r\n" + b'{"inputs":[[1]]}' + b"\r\n0\r\n\r\n", JSON_TYPE, "transfer-encoding: chunked")
    house = await house_with_a()
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        status, _, problem = await client.answer()
        assert (status, problem["code"]) == (400, "malformed_request")
        assert house.engine.arena.steps[0] == 0


async def test_what_goes_on_behind_junk_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_connection, "LINGER_SECONDS", 0.1)
    async with serving(await house_with_a(), timeout_keep_alive=1) as server, Client.to(server) as client:
        await client.send(b"\x00\x01 junk\r\n\r\n")
        assert (await client.answer())[0] == 400
        while server.state.connections:
            client.writer.write(b"junk")
            await turns()


async def test_an_answer_to_a_body_that_never_came_closes_in_time(caplog: pytest.LogCaptureFixture) -> None:
    house = await house_with_a(deadline_seconds=0.2)
    async with serving(house, timeout_keep_alive=1) as server, Client.to(server) as client:
        await client.send(step(4)[:-1])
        assert (await client.answer())[0] == 408
        assert await client.ends() == b""
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "line", [b"x: " + b"a" * 9000, b"content-length: 5", b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="]
)
async def test_a_handshake_that_cannot_be_read_is_answered(line: bytes) -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        await client.send(HANDSHAKE[:-2] + line + b"\r\n\r\n")
        status, _, problem = await client.answer()
        assert 400 <= status < 500, problem


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        ("http://x", "", 101),
        ("https://X", "", 101),
        ("http://evil.example", "", 403),
        ("null", "", 403),
        ("http://x.evil.example", "", 403),
        ("https://good.example", "https://other.example, https://good.example/", 101),
        ("http://good.example", "https://good.example", 403),
        ("http://evil.example", "*", 101),
    ],
)
async def test_pages_of_other_sites_open_no_streams_unless_they_may(origin: str, allowed: str, status: int) -> None:
    async with serving(await house_with_a(allow_origin=allowed)) as server, Client.to(server) as client:
        await client.send(HANDSHAKE[:-2] + f"origin: {origin}\r\n\r\n".encode())
        assert (await client.answer())[0] == status
        assert status == 101 or b'"origin_refused"' in await client.ends()


async def test_a_message_in_very_many_fragments_is_refused_and_one_in_some_is_not() -> None:
    async with serving(await house_with_a()) as server, Client.to(server) as client:
        await client.send(HANDSHAKE)
        assert (await client.answer())[0] == 101
        letters = [bytes([0x80 | 1, 0, 0, 0, 0, letter]) for letter in FRAME]
        await client.send(b"\x01" + letters[0], *[b"\x00" + each for each in letters[1:-1]], b"\x80" + letters[-1])
        opcode, length = await client.reader.readexactly(2)
        assert json.loads(await client.reader.readexactly(length))["outputs"] == [[1.0]]
        await client.send(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 20_000)
        opcode, length = await client.reader.readexactly(2)
        assert (opcode, int.from_bytes((await client.reader.readexactly(length))[:2])) == (0x88, 1009)


async def test_others_have_their_turn_while_many_small_frames_are_read() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as flooder, Client.to(server) as other:
        await flooder.send(HANDSHAKE)
        assert (await flooder.answer())[0] == 101
        num_pings = 60_000
        flooder.writer.write(b"\x89\x80\0\0\0\0" * num_pings + MASKED)
        await other.send(step(4))
        assert (await other.answer())[0] == 200
        pongs = await flooder.reader.readexactly(2 * num_pings)
        assert pongs == b"\x8a\x00" * num_pings
        assert (await flooder.reader.readexactly(2))[0] == 0x81
