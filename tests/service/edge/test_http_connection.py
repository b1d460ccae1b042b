"""The short way from uvicorn's connection to the routes, against the way through ASGI, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from uvicorn.server import ServerState

from ostinato.service.edge.arrow.ipc import write_columns
from ostinato.service.edge.asgi import STATE_KEY, Edge
from ostinato.service.edge.http_connection import LONG_BYTES, MAX_HELD_BYTES, HttpConnection
from ostinato.service.edge.message import Response
from ostinato.service.edge.v1.steps import step_content
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY
from ostinato.service.edge.websocket.streams import Streams
from tests.connections import abort, uvicorn_config
from tests.service.edge.test_asgi import edge_over
from tests.service.puppet import House, column
from tests.waiting import PATIENCE_SECONDS, until_true

pytestmark = pytest.mark.usefixtures("one_request_id")

STEP = "/v1/sessions/a/step"
NUM_UNREAD = 30
KEEP_ALIVE = 5
JSON_TYPE = "content-type: application/json"


class Loop:
    """The event loop as connections see it: its clock stands still until a test turns it on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time()
        self._timers: list[asyncio.TimerHandle] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self._now + seconds, callback, (), self._loop)
        self._timers.append(timer)
        return timer

    def turn(self, seconds: float) -> None:
        self._now += seconds
        due = [timer for timer in self._timers if timer.when() <= self._now]
        self._timers = [timer for timer in self._timers if timer.when() > self._now]
        for timer in due:
            if not timer.cancelled():
                timer._run()


class Server:
    """Connections over the edge of a house, accepted in the test's own loop; ``direct`` is the short way.

    Where its time ``stands_still``, a test turns it: ``loop.turn``.
    """

    def __init__(
        self, edge: Edge, streams: Streams, *, direct: bool, stands_still: bool = False, **options: Any
    ) -> None:
        self.edge = edge
        self.state = ServerState()
        self.app_state = {STATE_KEY: edge, STREAMS_KEY: streams} if direct else {STREAMS_KEY: streams}
        self._config = uvicorn_config(edge, **options)
        self.loop: Any = Loop() if stands_still else asyncio.get_running_loop()
        self._listener: asyncio.Server | None = None

    def connect(self) -> HttpConnection:
        """A connection without a transport yet."""
        return HttpConnection(config=self._config, server_state=self.state, app_state=self.app_state, _loop=self.loop)

    async def listen(self) -> None:
        self._listener = await asyncio.get_running_loop().create_server(self.connect, "127.0.0.1", 0)

    @property
    def listener(self) -> asyncio.Server:
        assert self._listener is not None
        return self._listener

    @property
    def port(self) -> int:
        return int(self.listener.sockets[0].getsockname()[1])

    @property
    def connections(self) -> list[Any]:
        return list(self.state.connections)

    async def close(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for connection in self.connections:
            abort(connection)
        await until(lambda: not self.state.connections)


@asynccontextmanager
async def serving(house: House, *, direct: bool = True, **options: Any) -> AsyncIterator[Server]:
    async with edge_over(house) as edge:
        server = Server(edge, edge._streams, direct=direct, **options)
        await server.listen()
        try:
            yield server
        finally:
            await server.close()


class Client:
    """A socket, and answers read from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def to(cls, server: Server) -> AsyncIterator[Client]:
        client = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        try:
            yield client
        finally:
            await client.leave()

    async def send(self, *parts: bytes) -> None:
        """Send parts, each a read of its own at the other end as far as anyone can tell."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await turns()

    async def answer(self) -> tuple[int, list[tuple[str, str]], Any]:
        """Status, headers and body of the next answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = int(dict(headers).get("content-length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_SECONDS)
        is_json = body[:1] in (b"{", b"[") and "inference-header-content-length" not in dict(headers)
        return int(first.split()[1]), headers, json.loads(body) if is_json else body

    async def ends(self) -> bytes:
        """What comes before the other side closes."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE_SECONDS)

    async def leave(self) -> None:
        self.writer.transport.abort()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def post(path: str, body: bytes | str = b"", *headers: str, version: str = "1.1") -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"POST {path} HTTP/{version}", "host: x", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def step(*values: float, seq: int | None = None, path: str = STEP) -> bytes:
    content: dict[str, Any] = {"inputs": [[value] for value in values]}
    if seq is not None:
        content["seq"] = seq
    return post(path, json.dumps(content))


async def turns(count: int = 5) -> None:
    """Let the event loop read and write."""
    for _ in range(count):
        await asyncio.sleep(0.001)


async def until(holds: Callable[[], object]) -> None:
    await until_true(holds)


async def house_with_a(**settings: Any) -> House:
    house = House(**settings)
    await house.sessions.open("sum", session_id="a")
    return house


def arrow_rows(*values: float) -> bytes:
    inputs = pa.FixedSizeListArray.from_arrays(pa.array(np.array(values, np.float32)), 1)
    return write_columns({"session_id": pa.array(["a"] * len(values)), "inputs": inputs})


ARROW = "content-type: application/vnd.apache.arrow.stream"
REQUESTS = {
    "a step": step(4),
    "a chunk": step(1, 2, 3),
    "a step with seq": step(4, seq=0),
    "a step with a wrong seq": step(4, seq=3),
    "the last output alone": post(STEP, '{"inputs": [[1], [2]], "return_sequences": false}'),
    "with its media type": post(STEP, '{"inputs": [[1]]}', JSON_TYPE),
    "with a charset": post(STEP, '{"inputs": [[1]]}', "Content-Type: Application/JSON; charset=utf-8"),
    "another media type": post(STEP, "1", "content-type: text/csv"),
    "two media types": post(STEP, '{"inputs": [[1]]}', JSON_TYPE, "content-type: text/csv"),
    "compressed": post(STEP, "1", "content-encoding: gzip"),
    "as it is": post(STEP, '{"inputs": [[1]]}', "content-encoding: identity"),
    "without a body": post(STEP),
    "without a length": b"POST /v1/sessions/a/step HTTP/1.1\r\nhost: x\r\n\r\n",
    "not JSON": post(STEP, "{"),
    "not UTF-8": post(STEP, b'{"inputs": [[1]], "\xff": 1}'),
    "NaN": post(STEP, '{"inputs": [[NaN]]}'),
    "null": post(STEP, '{"inputs": [[null]]}'),
    "too large a number": post(STEP, '{"inputs": [[1e39]]}'),
    "no step": post(STEP, '{"inputs": []}'),
    "too many features": post(STEP, '{"inputs": [[1, 2]]}'),
    "a misspelt member": post(STEP, '{"inputs": [[1]], "sequence": 1}'),
    "nested deeply": post(STEP, "[" * 5000),
    "a chunk that is too long": post(STEP, json.dumps({"inputs": [[0]] * 21})),
    "an error that quotes the request": post(STEP, '{"a\\r\\nset-cookie: b": 1}'),
    "an unknown session": step(4, path="/v1/sessions/nobody/step"),
    "an unknown session without a body": post("/v1/sessions/nobody/step"),
    "an unknown route": post("/v1/nothing"),
    "an action that there is not": post("/v1/sessions/a/fly"),
    "a slash too many": step(4, path="/v1/sessions/a/step/"),
    "an empty name": step(4, path="/v1/sessions//step"),
    "a query": step(4, path=f"{STEP}?x=1"),
    "an empty query": step(4, path=f"{STEP}?"),
    "a fragment": step(4, path=f"{STEP}#part"),
    "a fragment behind a query": step(4, path=f"{STEP}?x=1#part"),
    "percent-encoded": step(4, path="/v1/sessions/%61/step"),
    "absolute": step(4, path=f"http://elsewhere{STEP}"),
    "with quotes": step(4, path='/v1/sessions/"a"/step'),
    "a method that there is not": post("/v1/sessions"),
    "the stream's path": post("/v1/models/sum/stream"),
    "another model's step": post("/v1/models/nothing/step", '{"session_ids": ["a"], "inputs": [[1]]}'),
    "columns": post("/v1/models/sum/step", '{"session_ids": ["a", "b"], "inputs": [[1], [2]]}'),
    "columns in Arrow": post("/v1/models/sum/step?create_missing=true", arrow_rows(1, 2), ARROW),
    "broken Arrow": post("/v1/models/sum/step", b"ARROW", ARROW),
    "a flag that is none": post("/v1/models/sum/step?create_missing=maybe", arrow_rows(1), ARROW),
    "predict": post("/v1/models/sum/predict", '{"sequences": [[[1], [2]], [[5]]]}'),
    "forecast": post("/v1/sessions/a/forecast", '{"horizon": 2}'),
    "open": post("/v1/models/sum/sessions", '{"session_id": "new", "ttl_seconds": 0}'),
    "open what is open": post("/v1/models/sum/sessions", '{"session_id": "a"}'),
    "open with no id": post("/v1/models/sum/sessions", '{"session_id": "a\\r\\nb"}'),
    "reset": post("/v1/sessions/a/reset"),
    "reset with a body": post("/v1/sessions/a/reset", "{}", JSON_TYPE),
    "reset with a member": post("/v1/sessions/a/reset", '{"steps": 1}'),
    "reset of nobody": post("/v1/sessions/nobody/reset"),
    "fork": post("/v1/sessions/a/fork", '{"session_id": "b", "ttl_seconds": 0}'),
    "fork to what is open": post("/v1/sessions/a/fork", '{"session_id": "a"}'),
    "fork of nobody": post("/v1/sessions/nobody/fork"),
    "posting a state": post("/v1/sessions/a/state"),
    "in chunks": post(STEP, b'4\r\n{"in\r\nd\r\nputs": [[1]]}\r\n0\r\n\r\n', "transfer-encoding: chunked"),
    "in chunks with a trailer": post(
        STEP, b'11\r\n{"inputs": [[1]]}\r\n0\r\nx-sum: 1\r\n\r\n', "transfer-encoding: chunked"
    ),
    "too large by its word": post(STEP, b"[" * 10_001),
    "too large in chunks": post(STEP, b"2711\r\n" + b"[" * 10_001 + b"\r\n0\r\n\r\n", "transfer-encoding: chunked"),
    "HTTP/1.0": step(4).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0, kept alive": post(STEP, '{"inputs": [[1]]}', "connection: keep-alive", version="1.0"),
    "close": post(STEP, '{"inputs": [[1]]}', "connection: close"),
    "close, of an error": post("/v1/nothing", "", "Connection: Close"),
    "an upgrade to what there is not": post(STEP, '{"inputs": [[1]]}', "connection: upgrade", "upgrade: h2c"),
    "a length that is none": post(STEP, "1", "content-length: x"),
    "a header that is none": post(STEP, "1", "x y: z"),
    "chunks that are none": post(STEP, b"zz\r\n", "transfer-encoding: chunked"),
    "GET": b"GET /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n",
    "HEAD": b"HEAD /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n",
    "DELETE": b"DELETE /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n",
    "PUT": b"PUT /v1/sessions/a/step HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1",
    "what is BentoML's": b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}


UNREADABLE = {
    "a length that is none",
    "a header that is none",
    "chunks that are none",
    "an upgrade to what there is not",
}
"""They are answered before their end, and the rest may then be refused by a reset."""

COUNTED = re.compile(
    r"ostinato_(?:request_seconds_count|rejected_total|duplicates_total|cancelled_total)\{.*", re.ASCII
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT[^\\\"']*")


async def replies(name: str, *, direct: bool, whole: bool) -> list[Any]:
    """All that a request and one behind it are answered with, and what was counted."""
    request = REQUESTS[name]
    house = await house_with_a(max_chunk_steps=20, max_body_bytes=10_000)
    found: list[Any] = []
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        cut = len(request) if whole else min(294, len(request))
        await client.send(*[request[start : start + 7] for start in range(0, cut, 7)] if not whole else [request])
        await client.send(request[cut:])
        if name == "HEAD":
            found.append(await client.reader.readuntil(b"\r\n\r\n"))
        elif name == "what is BentoML's":
            found.append(await client.ends())
        else:
            found.append(await client.answer())
            if ("connection", "close") in found[0][1]:
                found.append(await client.ends())
            else:
                await client.send(step(0))
                found.append(await client.answer())
        found.append(sorted(COUNTED.findall(house.metrics.render().decode())))
    return [TIME.sub("then", repr(each)) for each in found]


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_answer_and_count_alike(name: str, whole: bool) -> None:
    whole = whole or name in UNREADABLE
    assert await replies(name, direct=True, whole=whole) == await replies(name, direct=False, whole=whole)


async def test_plain_requests_take_the_short_way_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        through_asgi: list[str] = []
        inner = Edge.__call__

        async def seen(edge: Edge, scope: Any, receive: Any, send: Any) -> None:
            through_asgi.append(scope["path"])
            await inner(edge, scope, receive, send)

        monkeypatch.setattr(Edge, "__call__", seen)
        await client.send(step(1))
        assert (await client.answer())[0] == 200
        assert through_asgi == []
        await client.send(b"GET /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.answer())[0] == 200
        await client.send(step(2))
        assert (await client.answer())[2]["outputs"] == [[3.0]]
        assert through_asgi == ["/v1/sessions/a"]
        assert server.state.total_requests == 3


async def test_requests_that_arrive_together_are_answered_in_their_order() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        await client.send(b"".join(step(1, seq=seq) for seq in range(20)))
        answers = [await client.answer() for _ in range(20)]
    assert [answer[2]["steps"] for answer in answers] == list(range(1, 21))


async def test_a_request_behind_one_that_runs_waits_for_its_answer() -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as client:
        await client.send(step(1), step(2), b"GET /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n")
        assert len(server.edge.desk.under_way) == 1
        house.runner.gate.set()
        answers = [await client.answer() for _ in range(3)]
        await client.send(step(4))
        answers.append(await client.answer())
    assert [answer[2]["steps"] for answer in answers] == [1, 2, 2, 3]


async def test_a_request_that_comes_while_another_connection_holds_its_session_waits() -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as first, Client.to(server) as second:
        await first.send(step(1))
        await until(lambda: house.engine.arena.busy.any())
        await second.send(step(2))
        house.runner.gate.set()
        assert (await second.answer())[2]["outputs"] == [[3.0]]
        assert (await first.answer())[2]["outputs"] == [[1.0]]


@pytest.mark.parametrize("size", [MAX_HELD_BYTES, MAX_HELD_BYTES + 1, 3 * MAX_HELD_BYTES])
async def test_a_body_of_any_size_is_read_whole(size: int) -> None:
    house = await house_with_a()
    body = b'{"inputs": [[4]]}'
    async with serving(house) as server, Client.to(server) as client:
        for number in (1, 2):  # on a connection that has done it before, too
            await client.send(post(STEP, b" " * (size - len(body)) + body))
            assert (await client.answer())[2]["outputs"] == [[4.0 * number]]
            await client.send(step(0))
            assert (await client.answer())[2]["outputs"] == [[4.0 * number]]


async def test_a_body_is_refused_as_soon_as_it_is_too_large_and_not_held_until_its_end() -> None:
    async with serving(House(max_body_bytes=1000)) as server, Client.to(server) as client:
        await client.send(post(STEP, b"", JSON_TYPE, "transfer-encoding: chunked"))
        # 1,001 bytes in three parts, none of which is too large, and no end.
        for num_bytes in (400, 400, 201):
            await client.send(b"%x\r\n%b\r\n" % (num_bytes, b" " * num_bytes))
        status, _, problem = await client.answer()
        assert (status, problem["code"]) == (413, "too_large")


async def test_a_client_that_asks_first_whether_to_send_its_body_is_told_to() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        request = post(STEP, b"", "content-length: 17", "expect: 100-continue")
        await client.send(request)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b'{"inputs": [[4]]}')
        assert (await client.answer())[0] == 200


async def test_a_body_that_never_ends_is_not_applied_and_leaves_nothing() -> None:
    house = await house_with_a()
    async with serving(house) as server:
        async with Client.to(server) as client:
            await client.send(step(4)[:-1])
        await until(lambda: not server.state.connections)
        assert house.engine.arena.steps[0] == 0


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("limits", [{"deadline_seconds": 0.2}, {"deadline_seconds": 0, "head_seconds": 0.01}])
async def test_a_body_that_does_not_come_in_time_is_not_waited_for(direct: bool, limits: dict[str, float]) -> None:
    house = await house_with_a(**limits)
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(step(4)[:-1])
        status, _, content = await client.answer()
        assert (status, content["code"]) == (408, "request_timeout")
        await client.send(b"}")
        await turns()
        assert house.engine.arena.steps[0] == 0


async def test_a_drain_waits_for_a_request_whose_body_is_under_way() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        await client.send(step(4)[:-1])
        assert len(server.edge.desk.under_way) == 1
        for connection in server.connections:
            connection.shutdown()
        await client.send(b"}")
        status, headers, _ = await client.answer()
        assert (status, ("connection", "close") in headers) == (200, True)


async def test_a_client_that_hangs_up_while_it_waits_for_its_session_takes_its_chunk_back() -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as stayer:
        await stayer.send(step(1))
        async with Client.to(server) as leaver:
            await leaver.send(step(2))
            await until(lambda: len(server.edge.desk.under_way) == 2)
        await until(lambda: len(server.edge.desk.under_way) == 1)
        house.runner.gate.set()
        assert (await stayer.answer())[2]["outputs"] == [[1.0]]
        await stayer.send(step(4))
        assert (await stayer.answer())[2]["outputs"] == [[5.0]]
    assert house.value('ostinato_cancelled_total{model="sum",version="1"}') == 1


async def test_a_client_that_hangs_up_while_its_chunk_runs_has_it_applied() -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with serving(house) as server:
        async with Client.to(server) as leaver:
            await leaver.send(step(1, seq=0))
            await until(lambda: house.engine.arena.busy.any() and house.runner.iterations)
        await until(lambda: not server.edge.desk.under_way)
        house.runner.gate.set()
        async with Client.to(server) as client:
            await client.send(step(1, seq=0))
            assert (await client.answer())[2] == {"session_id": "a", "seq": 0, "steps": 1, "outputs": [[1.0]]}
    assert house.value('ostinato_duplicates_total{model="sum",version="1"}') == 1


async def test_a_client_that_hangs_up_during_a_forecast_lets_its_session_go() -> None:
    house = await house_with_a(in_thread=True)
    async with serving(house) as server, Client.to(server) as stayer:
        await stayer.send(step(1))
        await stayer.answer()
        house.runner.gate.clear()
        async with Client.to(server) as leaver:
            await leaver.send(post("/v1/sessions/a/forecast", '{"horizon": 3}'))
            await until(lambda: len(server.edge.desk.under_way) == 1)
        await until(lambda: len(server.edge.desk.under_way) == 0)
        house.runner.gate.set()
        await stayer.send(step(1))
        assert (await stayer.answer())[2]["outputs"] == [[2.0]]
        await until(lambda: not house.engine.num_rows)
        assert house.engine.arena.num_used == 1


@pytest.mark.parametrize("path", [STEP, "/v1/sessions/a/forecast"])
async def test_a_request_past_its_deadline_is_answered_and_the_connection_goes_on(path: str) -> None:
    house = await house_with_a(in_thread=True, deadline_seconds=0.3)
    await house.ledger.step(await house.sessions.find("a"), column(1))
    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        await busy.send(step(1))
        await client.send(post(path, '{"inputs": [[1]]}' if path == STEP else '{"horizon": 2}'))
        for late in (busy, client):
            status, _, content = await late.answer()
            assert (status, content["code"]) == (504, "deadline_exceeded")
        house.runner.gate.set()
        await client.send(step(1))
        # The chunk that had begun was applied; the one that waited was not.
        assert (await client.answer())[2]["outputs"] == [[3.0]]
        await busy.send(b"GET /v1/sessions/a HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await busy.answer())[2]["steps"] == 3
    assert house.value('ostinato_rejected_total{reason="deadline_exceeded"}') == 2


async def test_what_a_request_past_its_deadline_asked_for_is_not_run_to_its_end() -> None:
    house = House(in_thread=True, deadline_seconds=0.3)
    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as client:
        await client.send(post("/v1/models/sum/predict", json.dumps({"sequences": [[[1]] * 400]}), JSON_TYPE))
        status, _, content = await client.answer()
        assert (status, content["code"]) == (504, "deadline_exceeded")
        house.runner.gate.set()
        await until(lambda: house.engine.num_rows == 0)
        # The run that was under way ended, and no other followed.
        assert len(house.runner.iterations) == 1


async def test_a_shutdown_closes_idle_connections_and_lets_others_answer_first() -> None:
    house = await house_with_a(in_thread=True)
    async with serving(house) as server, Client.to(server) as idle, Client.to(server) as busy:
        await idle.send(step(1))
        await idle.answer()
        house.runner.gate.clear()
        await busy.send(step(2))
        for connection in server.connections:
            connection.shutdown()
        assert await idle.ends() == b""
        house.runner.gate.set()
        status, headers, content = await busy.answer()
        assert (status, content["outputs"]) == (200, [[3.0]])
        assert headers.count(("connection", "close")) == 1
        assert await busy.ends() == b""


async def test_a_server_that_drains_refuses_and_closes() -> None:
    house = await house_with_a()
    house.engine.drain()
    async with serving(house) as server, Client.to(server) as client:
        await client.send(step(1))
        status, headers, content = await client.answer()
        assert (status, content["code"]) == (503, "draining")
        assert headers.count(("connection", "close")) == 1
        assert await client.ends() == b""


async def test_a_client_that_reads_nothing_is_not_answered_without_end() -> None:
    house = await house_with_a()
    chunk = step(*[0.5] * 10_000, seq=0)
    async with serving(house) as server, Client.to(server) as client:
        await client.send(chunk)
        first = await client.answer()
        transport = cast(asyncio.Transport, client.writer.transport)
        # The system takes little of what nobody reads, in place of some megabytes.
        for each in (transport, *(connection.transport for connection in server.connections)):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 131_072)
        transport.pause_reading()
        for _ in range(NUM_UNREAD):
            client.writer.write(chunk)
        await until(lambda: any(connection.flow.write_paused for connection in server.connections))
        await turns(50)
        assert server.state.total_requests < NUM_UNREAD
        async with Client.to(server) as other:
            await other.send(post("/v1/nothing"))
            assert (await other.answer())[0] == 404
        transport.resume_reading()
        for _ in range(NUM_UNREAD):
            assert await client.answer() == first
        assert house.engine.arena.steps[0] == 10_000


async def test_a_request_behind_one_that_was_answered_at_once_is_no_idle_connection() -> None:
    house = await house_with_a(in_thread=True)
    house.runner.gate.clear()
    async with (
        serving(house, timeout_keep_alive=KEEP_ALIVE, stands_still=True) as server,
        Client.to(server) as slow,
        Client.to(server) as witness,
    ):
        await slow.send(post("/v1/nothing") + step(1))
        assert (await slow.answer())[0] == 404
        await witness.send(post("/v1/nothing"))
        assert (await witness.answer())[0] == 404
        server.loop.turn(KEEP_ALIVE)
        assert await witness.ends() == b""
        house.runner.gate.set()
        assert (await slow.answer())[0] == 200


async def test_a_connection_is_closed_when_it_was_idle_for_its_time() -> None:
    house = await house_with_a()
    async with serving(house, timeout_keep_alive=KEEP_ALIVE, stands_still=True) as server, Client.to(server) as client:
        for _ in range(3):
            await client.send(step(1))
            assert (await client.answer())[0] == 200
            server.loop.turn(KEEP_ALIVE - 1)
        server.loop.turn(1)
        assert await client.ends() == b""


async def test_a_request_on_its_way_is_no_idle_connection() -> None:
    house = await house_with_a()
    async with (
        serving(house, timeout_keep_alive=KEEP_ALIVE, stands_still=True) as server,
        Client.to(server) as slow,
        Client.to(server) as witness,
    ):
        for client in (slow, witness):
            await client.send(step(1))
            assert (await client.answer())[0] == 200
        await slow.send(step(2)[:-1])
        server.loop.turn(KEEP_ALIVE)
        assert await witness.ends() == b""
        await slow.send(step(2)[-1:])
        assert (await slow.answer())[0] == 200
        server.loop.turn(KEEP_ALIVE)
        assert await slow.ends() == b""


async def test_a_connection_that_became_a_websocket_is_none_of_the_timer() -> None:
    house = await house_with_a()
    async with (
        serving(house, timeout_keep_alive=KEEP_ALIVE, stands_still=True) as server,
        Client.to(server) as socket,
        Client.to(server) as idle,
    ):
        for client in (socket, idle):
            await client.send(step(1))
            assert (await client.answer())[0] == 200
        handshake = (
            "GET /v1/models/sum/stream HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await socket.send(handshake.encode())
        assert (await socket.answer())[0] == 101
        server.loop.turn(KEEP_ALIVE)
        assert await idle.ends() == b""
        text = b'{"session_id": "a", "inputs": [[1]]}'
        await socket.send(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        assert (await socket.reader.readexactly(2))[0] == 0x81


async def test_the_date_is_that_of_the_answer() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        for date in (b"now", b"then"):
            server.state.default_headers = [(b"date", date)]
            await client.send(step(1))
            assert ("date", date.decode()) in (await client.answer())[1]


async def test_an_answer_that_cannot_be_written_ends_its_connection_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await house_with_a(in_thread=True)
    await house.sessions.open("sum", session_id="b")
    house.runner.gate.clear()
    respond = HttpConnection.respond

    def broken(self: HttpConnection, response: Response, keep_alive: bool, request_id: bytes) -> None:
        if b'"a"' in response.body:
            raise OSError("told to fail")
        respond(self, response, keep_alive, request_id)

    monkeypatch.setattr(HttpConnection, "respond", broken)
    async with serving(house) as server, Client.to(server) as first, Client.to(server) as second:
        await first.send(step(1))
        await second.send(step(2, path="/v1/sessions/b/step"))
        house.runner.gate.set()
        assert (await second.answer())[2]["outputs"] == [[2.0]]
        with pytest.raises((OSError, EOFError)) as end:
            await first.answer()
        assert not isinstance(end.value, TimeoutError)  # it was told, and need not have waited
        assert "told to fail" in caplog.text
        assert len(server.edge.desk.under_way) == 0
        assert not house.engine.arena.busy.any()


async def test_an_answer_that_cannot_be_worded_is_an_error_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await house_with_a(in_thread=True)
    await house.sessions.open("sum", session_id="b")
    house.runner.gate.clear()

    def broken(answer: Any, body: Any) -> Any:
        if answer.session_id == "a":
            raise ValueError("told to fail")
        return step_content(answer, body)

    monkeypatch.setattr("ostinato.service.edge.v1.steps.step_content", broken)
    async with serving(house) as server, Client.to(server) as first, Client.to(server) as second:
        await first.send(step(1))
        await second.send(step(2, path="/v1/sessions/b/step"))
        house.runner.gate.set()
        assert (await second.answer())[2]["outputs"] == [[2.0]]
        status, _, content = await first.answer()
        assert (status, content["code"]) == (500, "internal")
        assert "told to fail" in caplog.text
        assert not house.engine.arena.busy.any()


async def test_a_run_that_fails_is_told_to_each_and_leaves_the_session_as_it_was() -> None:
    house = await house_with_a()
    async with serving(house) as server, Client.to(server) as client:
        house.runner.fails = lambda _: True
        await client.send(step(1, seq=0))
        status, _, content = await client.answer()
        assert (status, content["code"]) == (500, "run_failed")
        house.runner.fails = lambda _: False
        await client.send(step(1, seq=0))
        assert (await client.answer())[2]["outputs"] == [[1.0]]


async def test_nothing_is_left_of_connections_that_ended() -> None:
    house = await house_with_a()
    async with serving(house) as server:
        for number in range(20):
            async with Client.to(server) as client:
                await client.send(step(1), step(1)[: -1 if number % 2 else None])
        await until(lambda: not server.state.connections)
        assert len(server.edge.desk.under_way) == 0
        gc.collect()
        # By type: isinstance asks each object for its class, and some modules in memory answer with a warning.
        assert [found for found in gc.get_objects() if type(found) is HttpConnection] == []


PREDICT = "/v1/models/sum/predict"


def sequences(num_steps: int) -> bytes:
    """A request of one sequence of ones."""
    return post(PREDICT, json.dumps({"sequences": [[[1.0]] * num_steps]}), JSON_TYPE)


@pytest.mark.parametrize("path", ["/v1/models/sum/step", "/v2/models/sum/infer"])
async def test_whatever_takes_much_at_once_is_refused_before_its_body_is_there(path: str) -> None:
    house = House(max_queue_rows=1, in_thread=True)
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        house.runner.gate.clear()
        await busy.send(sequences(3))
        await until(lambda: house.runner.is_held)
        whole = post(path, b" " * 3 * LONG_BYTES, JSON_TYPE)
        await client.send(whole[:-1])
        status, _, problem = await client.answer()
        house.runner.gate.set()
        assert (await busy.answer())[0] == 200
        assert status == 429
        assert "waiting; try again later" in (problem["error"] if path.startswith("/v2") else problem["detail"])
    house.engine.close()


async def test_sequences_for_which_there_is_no_room_are_refused_before_their_body_is_there() -> None:
    house = House(max_queue_rows=1, in_thread=True)
    long = sequences(2_000)
    assert len(long) > 3 * LONG_BYTES
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        house.runner.gate.clear()
        await busy.send(sequences(3))
        await until(lambda: house.runner.is_held)
        await client.send(long[: 2 * LONG_BYTES])
        status, headers, problem = await client.answer()
        assert (status, problem["code"], dict(headers)["retry-after"]) == (429, "overloaded", "1")
        assert "connection" not in dict(headers)
        # The rest of the body is read and nobody's; what comes behind it is a request like any other.
        await client.send(long[2 * LONG_BYTES :], post("/v1/models/nothing/predict", b"{}", JSON_TYPE))
        status, _, problem = await client.answer()
        assert (status, problem["code"]) == (404, "unknown_model")
        house.runner.gate.set()
        assert (await busy.answer())[0] == 200
        await client.send(long)
        status, _, body = await client.answer()
        assert (status, body["outputs"][0][-1]) == (200, [2_000.0])
    house.engine.close()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (PREDICT + "?nothing=1", (422, "invalid_input")),
        ("/v1/models/nothing/predict", (404, "unknown_model")),
        ("/v1/nothing", (404, "unknown_route")),
    ],
)
async def test_what_else_is_wrong_with_a_long_body_is_found_when_it_is_there(path: str, told: tuple[int, str]) -> None:
    house = House(max_queue_rows=1, in_thread=True)
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        house.runner.gate.clear()
        await busy.send(sequences(3))
        await until(lambda: house.runner.is_held)
        body = json.dumps({"sequences": [[[1.0]] * 4_000]})
        whole = post(path, body, JSON_TYPE)
        await client.send(whole[:-1])
        await turns()
        assert not client.reader._buffer  # type: ignore[attr-defined]
        await client.send(whole[-1:])
        status, _, problem = await client.answer()
        house.runner.gate.set()
        assert (await busy.answer())[0] == 200
        assert (status, problem["code"]) == told
    house.engine.close()


@pytest.mark.parametrize("old", [False, True], ids=["told to close", "old"])
async def test_a_client_whose_connection_ends_with_the_answer_is_refused_when_its_body_is_there(old: bool) -> None:
    """One that is still sending then might never read it."""
    house = House(max_queue_rows=1, in_thread=True, connection_seconds=1e-9 if old else 0)
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        house.runner.gate.clear()
        await busy.send(sequences(3))
        await until(lambda: house.runner.is_held)
        whole = post(PREDICT, b" " * 3 * LONG_BYTES, JSON_TYPE, *([] if old else ["connection: close"]))
        await client.send(whole[:-1])
        await turns()
        assert not client.reader._buffer  # type: ignore[attr-defined]
        await client.send(whole[-1:])
        status, headers, _ = await client.answer()
        house.runner.gate.set()
        assert (await busy.answer())[0] == 200
        assert status in (422, 429)
        assert dict(headers)["connection"] == "close"
        assert await client.ends() == b""
    house.engine.close()


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ((JSON_TYPE, "content-encoding: rot13"), 415),
        (("content-type: text/plain", "origin: http://elsewhere.example"), 403),
    ],
)
async def test_what_its_head_says_wrong_is_told_before_that_there_is_no_room(
    headers: tuple[str, ...], told: int
) -> None:
    house = House(max_queue_rows=1, in_thread=True)
    async with serving(house) as server, Client.to(server) as busy, Client.to(server) as client:
        house.runner.gate.clear()
        await busy.send(sequences(3))
        await until(lambda: house.runner.is_held)
        await client.send(post(PREDICT, b" " * 3 * LONG_BYTES, *headers))
        status, _, _ = await client.answer()
        house.runner.gate.set()
        assert (await busy.answer())[0] == 200
        assert status == told
    house.engine.close()


@pytest.mark.parametrize("direct", [True, False], ids=["past ASGI", "through ASGI"])
@pytest.mark.parametrize(
    "behind",
    [
        post("/v1/models/sum/sessions", b'{"session_id": "b"}', JSON_TYPE),
        step(1),
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\0junk\r\n\r\n",
    ],
    ids=["open", "step", "get", "junk"],
)
async def test_what_comes_behind_the_last_answer_of_a_connection_is_not_carried_out(
    direct: bool, behind: bytes
) -> None:
    house = await house_with_a(connection_seconds=1e-9)
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        await client.send(post("/v1/nothing", b"{}", JSON_TYPE) + behind * 2)
        status, headers, _ = await client.answer()
        assert (status, dict(headers)["connection"]) == (404, "close")
        assert await client.ends() == b""
        await turns()
        assert house.sessions.use("b") is None
        session = house.sessions.use("a")
        assert session is not None
        assert session.steps == 0


async def test_a_client_whose_answer_cannot_be_handed_on_keeps_nobody_of_its_iteration_from_theirs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever an answer's way out may be, it is taken within the commit of all."""
    house = House(in_thread=True)
    for session_id in ("a", "b", "c"):
        await house.sessions.open("sum", session_id=session_id)

    def broken(*_: Any) -> None:
        raise OSError("told to fail")

    house.runner.gate.clear()
    async with serving(house) as server, Client.to(server) as first, Client.to(server) as second:
        await second.send(step(1, path="/v1/sessions/c/step"))
        await until(lambda: house.runner.is_held)
        await first.send(step(1))
        other = house.ledger.step(await house.sessions.find("b"), column(2))
        await until(lambda: len(server.edge.desk.under_way) == 2)
        with monkeypatch.context() as patch:
            patch.setattr(server.edge.desk, "observe", broken)
            house.runner.gate.set()
            assert (await other).outputs.tolist() == [[2]]
        assert "an answer of session a could not be handed on" in caplog.text
        assert not house.engine.arena.busy.any()
    house.engine.close()
