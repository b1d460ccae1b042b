"""Holds: how long the largest messages keep the event loop to themselves, over real sockets."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import uvicorn

from benchmarks.errors import WrongAnswer
from benchmarks.figures import Figures
from benchmarks.load import arrow
from benchmarks.load.websocket import BINARY, TEXT, decode_frames, encode_frame
from benchmarks.workloads import MODEL, NUM_FEATURES, STATE_BYTES
from ostinato.service.config import Settings
from ostinato.service.worker import Worker
from ostinato.tools.connection import http_request, parse_answer

MAX_ROWS = 4096
"""What a server takes in one message, as it is by itself."""
MAX_STEPS = 10_000
ROW_BYTES = 4096
"""Of a body, for each row of a message of it: 16 MiB have as many rows as may be."""
POLL_SECONDS = 0.01
READ_BYTES = 1 << 20

STEP, COLUMNS, PREDICT = "/v1/sessions/s0/step", f"/v1/models/{MODEL}/step", f"/v1/models/{MODEL}/predict"
_HANDSHAKE = (
    f"GET /v1/models/{MODEL}/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


class HoldMeter:
    """The longest time between two turns of the event loop: of the processor's, in the loop's own thread, so that
    neighbours on the machine lengthen nothing.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_on = False
        self._last = 0.0
        self.longest = 0.0

    def start(self) -> None:
        """Begin anew."""
        self.longest, self._last, self._is_on = 0.0, time.thread_time(), True
        self._loop.call_soon(self._tick)

    def stop(self) -> float:
        """The longest since ``start``, in seconds."""
        self._is_on = False
        return self.longest

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        if self._is_on:
            self._loop.call_soon(self._tick)


async def holds(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 19: the longest hold by each kind of message; the least of the rounds, and the longest of all kinds."""
    num_rows = min(MAX_ROWS, arguments.bytes // ROW_BYTES)
    async with _server(arguments) as (worker, port):
        for row in range(num_rows):
            await worker.sessions.open(MODEL, session_id=f"s{row}")
        meter = HoldMeter()
        longest = 0.0
        for kind, messages, num_answers in _kinds(arguments.bytes, num_rows):
            least = np.inf
            for _ in range(max(2, arguments.rounds)):
                message = messages()
                gc.collect()
                meter.start()
                await asyncio.to_thread(_exchange, port, message, num_answers)
                least = min(least, meter.stop())
            figures.add(f"holds/{kind}", least)
            longest = max(longest, least)
        figures.add("holds/longest", longest)


@contextlib.asynccontextmanager
async def _server(arguments: argparse.Namespace) -> AsyncIterator[tuple[Worker, int]]:
    """A worker behind uvicorn, in this process and loop."""
    settings = Settings(repository=arguments.directory.parents[1], state="memory://", open=True)
    worker = Worker(settings)
    config = uvicorn.Config(worker.edge(_nothing), log_level="error", lifespan="on", loop="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        while not worker.readiness()[0]:
            await asyncio.sleep(POLL_SECONDS)
        try:
            yield worker, listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application behind the edge: it only starts and stops."""
    while scope["type"] == "lifespan":
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


def _kinds(num_bytes: int, num_rows: int) -> Iterator[tuple[str, Callable[[], bytes], int]]:
    """``(name, what makes a message, answers to it of a stream)``; 0 = it is a request."""
    values = np.random.default_rng(5).normal(size=(MAX_STEPS, NUM_FEATURES)).round(3).astype(np.float32)
    num_steps = min(MAX_STEPS, num_bytes // 200)
    rows = values[:num_rows]
    known = [f"s{row}" for row in range(num_rows)]
    unknown = [f"n{row}" for row in range(num_rows)]
    missing = np.full_like(rows, np.nan)
    num_made = 0

    def new() -> list[str]:
        nonlocal num_made
        num_made += 1
        return [f"new{num_made}-{row}" for row in range(num_rows)]

    def in_json(ids: Callable[[], list[str]], inputs: Any, query: str = "", **members: Any) -> Callable[[], bytes]:
        return lambda: _post(COLUMNS + query, {"session_ids": ids(), "inputs": inputs, **members})

    def in_arrow(ids: Callable[[], list[str]], inputs: Any, query: str = "") -> Callable[[], bytes]:
        return lambda: http_request("POST", COLUMNS + query, arrow.encode_steps(ids(), inputs), arrow.MEDIA_TYPE)

    def of(message: bytes) -> Callable[[], bytes]:
        return lambda: message

    def filled(form: bytes, value: bytes) -> Callable[[], bytes]:
        return of(http_request("POST", STEP, form % (value * (num_bytes // len(value) - 20))))

    state = {name: np.zeros((1, STATE_BYTES // 8)).tolist() for name in "hc"}
    create = "?create_missing=true"
    yield "rows, json", in_json(lambda: known, rows.tolist()), 0
    yield "rows, arrow", in_arrow(lambda: known, rows), 0
    yield "rows of unknown sessions, json", in_json(lambda: unknown, rows.tolist()), 0
    yield "rows of unknown sessions, arrow", in_arrow(lambda: unknown, rows), 0
    yield "rows out of order, json", in_json(lambda: known, rows.tolist(), seq=[10**6] * num_rows), 0
    yield "rows of missing values, json", in_json(lambda: known, [[None] * NUM_FEATURES] * num_rows), 0
    yield "rows of missing values, arrow", in_arrow(lambda: known, missing), 0
    yield "rows of one session, arrow", in_arrow(lambda: ["s0"] * num_rows, rows), 0
    yield "rows of new sessions, json", in_json(new, rows.tolist(), create), 0
    yield "rows of new sessions, arrow", in_arrow(new, rows, create), 0
    yield "rows of missing values, stream", of(encode_frame(arrow.encode_steps(known, missing), BINARY)), 1
    yield "a chunk", of(_post(STEP, {"inputs": values[:num_steps].tolist()})), 0
    chunk = json.dumps({"session_id": "s0", "inputs": values[:num_steps].tolist()}).encode()
    yield "a chunk, stream", of(encode_frame(chunk, TEXT)), 1
    yield "whole sequences, json", of(_post(PREDICT, {"sequences": [[row] for row in rows.tolist()]})), 0
    given = {"sequences": [[row] for row in rows.tolist()], "initial_state": [state] * num_rows, "return_state": True}
    yield "whole sequences with states", of(_post(PREDICT, given)), 0
    lengths = num_bytes // (NUM_FEATURES * 4) // num_rows - 1
    sequences = [values[:lengths]] * num_rows
    message = http_request("POST", PREDICT, arrow.encode_sequences(sequences), arrow.MEDIA_TYPE)
    yield "whole sequences, arrow", of(message), 0
    yield "blanks", filled(b'{"inputs":[%b]}', b" "), 0
    yield "one text", filled(b'{"inputs":"%b"}', b"\\\\"), 0
    yield "one name", filled(b'{"%b":1}', b"a"), 0
    yield "numbers that are hard to round", filled(b'{"inputs":[[%b1]]}', b"1e308,"), 0
    few = http_request("POST", STEP, b'{"inputs":[[%b1]]}' % (b"1e308," * 10_000))
    yield "64 KiB of them", of(few), 0
    yield "chunks of a byte", of(_in_chunks(b" " * (num_bytes // 8))), 0
    num_frames = num_bytes // 1000
    yield "frames of nothing, stream", of(encode_frame(b"{}", TEXT) * num_frames), num_frames
    # RFC 6455, section 5.4: first, others, last.
    fragments = b"\x01\x81\0\0\0\0 " + b"\x00\x81\0\0\0\0 " * 1000 + b"\x80\x80\0\0\0\0"
    yield "fragments of a byte, stream", of(fragments * 20), 20


def _post(target: str, content: dict[str, Any]) -> bytes:
    return http_request("POST", target, json.dumps(content).encode())


def _in_chunks(body: bytes) -> bytes:
    head = f"POST {STEP} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


def _exchange(port: int, message: bytes, num_answers: int) -> None:
    if num_answers:
        _stream(port, message, num_answers)
    else:
        _ask(port, message)


def _ask(port: int, message: bytes) -> None:
    """Send a request and read the answer, whatever it is but a fault of the service's."""
    with _sent(port, message) as connection:
        answer = bytearray()
        while (found := parse_answer(answer)) is None:
            _read(connection, answer)
        if found[0].status >= 500:
            raise WrongAnswer(f"{found[0].status}: {found[0].body[:200]!r}")


def _stream(port: int, frames: bytes, num_answers: int) -> None:
    """Send frames, and read as many."""
    with _sent(port, _HANDSHAKE + frames) as connection:
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            _read(connection, answer)
        answer = answer[end + 4 :]
        while num_answers > 0:
            found, rest = decode_frames(bytes(answer))
            num_answers -= len(found)
            answer = bytearray(rest)
            if num_answers > 0:
                _read(connection, answer)


@contextlib.contextmanager
def _sent(port: int, message: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        sending = threading.Thread(target=_send, args=(connection, message))
        sending.start()
        try:
            yield connection
        finally:
            sending.join()


def _send(connection: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # refused before its end
        connection.sendall(message)


def _read(connection: socket.socket, answer: bytearray) -> None:
    data = connection.recv(READ_BYTES)
    if not data:
        raise WrongAnswer("the service closed the connection")
    answer += data
