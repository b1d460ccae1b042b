"""Attacks that hold connections: slow, silent and half-open clients, and very many of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import Awaitable, Callable

from tests.hostile import seeds
from tests.hostile.attacks import MODEL, SESSION, Attack, Target, judge
from tests.hostile.wire import PING, TEXT, Connection, connected, frame, request


class Held(Attack):
    """Connections that stay, in some awkward state, until ``release`` is set.

    Attributes:
        num_in_place: how many are.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.release = asyncio.Event()
        self.num_in_place = 0
        self._ways: list[tuple[str, Callable[[Connection], Awaitable[None]]]] = []

    async def strike(self, number: int, generator: random.Random) -> str:  # noqa: ARG002
        """See ``Attack``; a connection that is refused or ended is a fair answer."""
        word, way = generator.choice(self._ways)
        try:
            async with connected(self.target.port) as connection:
                await way(connection)
                self.num_in_place += 1
                await self.release.wait()
        except OSError:
            self.num_in_place += 1
            return f"{word}, refused"
        return word


class Slow(Held):
    """Slow, silent and half-open clients, and those that never read or leave in the middle."""

    name = "slow"
    _STEP = request("POST", f"/v1/sessions/{SESSION}/step", b'{"inputs": [[1, 2, 3]]}')
    _LONG = request("POST", f"/v1/models/{MODEL}/predict", json.dumps({"sequences": [[[1, 2, 3]] * 400]}).encode())

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._ways = [
            ("silent", self._be_silent),
            ("half a head", self._send_half_a_head),
            ("half a body", self._send_half_a_body),
            ("half a chunk", self._send_half_a_chunk),
            ("byte by byte", self._drip),
            ("reads nothing", self._read_nothing),
            ("reset", self._reset),
            ("left", self._leave),
            ("half a frame", self._send_half_a_frame),
            ("a stream that reads nothing", self._read_no_frame),
            ("pings", self._ping),
        ]

    async def _be_silent(self, connection: Connection) -> None:
        pass

    async def _send_half_a_head(self, connection: Connection) -> None:
        await connection.send(self._STEP[:60])

    async def _send_half_a_body(self, connection: Connection) -> None:
        await connection.send(self._STEP[:-5])
        connection.writer.write_eof()

    async def _send_half_a_chunk(self, connection: Connection) -> None:
        await connection.send(
            b"POST /v1/sessions/hostile/step HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfff\r\n{"
        )

    async def _drip(self, connection: Connection) -> None:
        for byte in self._STEP:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.001)
        judge(await connection.answer(), self._STEP)

    async def _read_nothing(self, connection: Connection) -> None:
        connection.pause()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.2):
                for _ in range(200):
                    connection.writer.write(self._LONG)
                    await connection.writer.drain()

    async def _reset(self, connection: Connection) -> None:
        await connection.send(self._STEP[:-1])
        connection.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        connection.cut()

    async def _leave(self, connection: Connection) -> None:
        await connection.send(self._LONG)
        connection.cut()

    async def _send_half_a_frame(self, connection: Connection) -> None:
        await connection.open_stream(MODEL)
        await connection.send(frame(TEXT, seeds.FRAMES[0])[:20])

    async def _read_no_frame(self, connection: Connection) -> None:
        await connection.open_stream(MODEL)
        connection.pause()
        step = frame(TEXT, json.dumps({"session_id": SESSION, "inputs": [[1, 2, 3]] * 20}).encode())
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.2):
                for _ in range(20):
                    connection.writer.write(step * 20)
                    await connection.writer.drain()

    async def _ping(self, connection: Connection) -> None:
        await connection.open_stream(MODEL)
        await connection.send(frame(PING, b"a" * 100) * 500 + frame(0, b"", is_last=False) * 50)


class Crowd(Held):
    """Very many connections that want little or nothing."""

    name = "crowd"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._ways = [
            ("silent", self._be_silent),
            ("half a head", self._begin),
            ("idle", self._ask),
            ("stream", self._open),
        ]

    async def _be_silent(self, connection: Connection) -> None:
        pass

    async def _begin(self, connection: Connection) -> None:
        await connection.send(b"GET /livez HTTP/1.1\r\nhost")

    async def _ask(self, connection: Connection) -> None:
        await connection.send(request("GET", "/v1/sessions/nobody"))

    async def _open(self, connection: Connection) -> None:
        await connection.send(b"GET /v1/models/lstm/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n")


class Descriptors(Crowd):
    """The same of a server that may open few files."""

    name = "descriptors"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        # A connection that was answered is closed by the server some seconds later, and its descriptor is free again.
        self._ways = [way for way in self._ways if way[1] != self._ask]
