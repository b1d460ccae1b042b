from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.config import WS_PROTOCOLS, Config
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import SEND_EOF
from websockets.uri import parse_uri

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.websocket import connection as websocket
from ostinato.service.edge.websocket.connection import WebSocketConnection
from ostinato.service.edge.websocket.streams import STATE_KEY, Streams
from tests.service.puppet import House, column, until
from tests.waiting import PATIENCE_SECONDS, until_true

FRAME = b'{"session_id": "a", "inputs": [[1]]}'


class Wire(asyncio.Transport):
    """A transport whose other end is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self._reading = True
        self.at_eof = self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.at_eof = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True

    def reads(self) -> bool:
        return self._reading


class Client:
    """A client and its connection to a server, without a socket between them."""

    def __init__(self, house: House) -> None:
        async def step_columns(_model: str, message: bytes, _create_missing: bool, _when_placed: object) -> bytes:
            return message[::-1]

        self.house = house
        desk = Desk(house.metrics, house.settings)
        routes: Any = SimpleNamespace(
            sessions=house.sessions, ledger=house.ledger, columns=SimpleNamespace(answer_arrow=step_columns)
        )
        self.streams = Streams(house.catalogue, routes, desk, house.metrics, house.settings)
        self.server_state = SimpleNamespace(connections=set())
        self.wire = Wire()
        self.connection = self.connect()
        self.protocol = ClientProtocol(
            parse_uri("ws://server/v1/models/sum/stream"), extensions=[ClientPerMessageDeflateFactory()]
        )

    def connect(self) -> WebSocketConnection:
        """What uvicorn does with a handshake."""
        connection = WebSocketConnection(
            config=None, server_state=self.server_state, app_state={STATE_KEY: self.streams}
        )
        connection.connection_made(self.wire)
        return connection

    async def shake_hands(self, target: str = "/v1/models/sum/stream") -> Response:
        request = self.protocol.connect()
        request.path = target
        self.protocol.send_request(request)
        self.put(b"".join(self.protocol.data_to_send()))
        (response,) = await self.get()
        assert isinstance(response, Response)
        return response

    def put(self, data: bytes) -> None:
        """Have bytes arrive at the server."""
        self.connection.data_received(data)

    def say(self, *messages: bytes) -> None:
        """Have text messages arrive together."""
        for message in messages:
            self.protocol.send_text(message)
        self.flush()

    def flush(self) -> None:
        self.put(b"".join(data for data in self.protocol.data_to_send() if data != SEND_EOF))

    async def get(self, num_events: int = 1) -> list[Any]:
        """The next events that come back."""
        events: list[Any] = []

        def are_there() -> bool:
            for data in self.wire.written:
                if data:
                    self.protocol.receive_data(data)
            self.wire.written.clear()
            events.extend(self.protocol.events_received())
            return len(events) >= num_events

        await until_true(are_there, f"{num_events} events")
        assert len(events) == num_events, events
        return events

    async def gets_nothing(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        assert self.wire.written == []

    async def closed(self) -> tuple[int, str]:
        """The close frame that comes next: code and reason."""
        (frame,) = await self.get()
        assert frame.opcode is Opcode.CLOSE
        assert self.protocol.close_rcvd is not None
        return self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason


@asynccontextmanager
async def client_of(house: House) -> AsyncIterator[Client]:
    """A client of a house with session ``a``; at the end nothing may be left of its connection."""
    await house.sessions.open("sum", session_id="a")
    client = Client(house)
    try:
        yield client
    finally:
        house.runner.gate.set()
        client.connection.connection_lost(None)
        await until_true(lambda: not house.engine.num_rows)
        assert house.engine.num_rows == client.streams.num_frames == 0
        assert client.server_state.connections == set()
        assert house.value("ostinato_streams_live") == 0
        house.engine.close()


def timed_cuts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[asyncio.TimerHandle, Callable[[], object]]]:
    """The timers that would cut off clients who do not do their part, and what they would do; a test does it itself."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    cuts: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []

    def take_down(seconds: float, callback: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        timer = call_later(seconds, callback, *arguments, **options)
        if seconds == websocket.CLOSE_SECONDS:
            cuts.append((timer, callback))
        return timer

    monkeypatch.setattr(loop, "call_later", take_down)
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 1e6)
    return cuts


class TestHandshake:
    async def test_a_stream_opens_without_compression(self) -> None:
        house = House()
        async with client_of(house) as client:
            response = await client.shake_hands()
            assert response.status_code == 101
            assert "Sec-WebSocket-Extensions" not in response.headers
            assert house.value("ostinato_streams_live") == 1
            client.say(FRAME)
            (answer,) = await client.get()
        assert json.loads(answer.data)["outputs"] == [[1.0]]

    @pytest.mark.parametrize(
        ("target", "status", "code"),
        [
            ("/v1/models/none/stream", 404, "unknown_model"),
            ("/v1/models/sum/steam", 404, "unknown_route"),
            ("/v1/models/sum/stream/more", 404, "unknown_route"),
            ("/", 404, "unknown_route"),
            ("//[", 404, "unknown_route"),
            ("/v1/models/sum/stream?create_missing=perhaps", 422, "invalid_input"),
            ("/v1/models/sum/stream?create_missing=", 422, "invalid_input"),
            ("/v1/models/sum/stream?create-missing=true", 422, "invalid_input"),
        ],
    )
    async def test_one_that_opens_no_stream_is_refused(self, target: str, status: int, code: str) -> None:
        house = House()
        async with client_of(house) as client:
            response = await client.shake_hands(target)
            assert client.wire.closed
        check_problem(response, status, code)
        assert house.value(f'ostinato_rejected_total{{reason="{code}"}}') == 1

    async def test_models_that_are_still_being_checked(self) -> None:
        house = House()
        house.catalogue._engines.clear()
        house.catalogue.complete = False
        client = Client(house)
        response = await client.shake_hands()
        check_problem(response, 503, "starting")
        assert "Retry-After" in response.headers
        client.connection.connection_lost(None)
        house.engine.close()

    async def test_a_server_that_drains(self) -> None:
        async with client_of(House()) as client:
            client.streams.drain()
            check_problem(await client.shake_hands(), 503, "draining")

    @pytest.mark.parametrize(
        ("old", "new"),
        [("GET", "POST"), ("Version: 13", "Version: 12"), ("Sec-WebSocket-Key", "X-Key"), ("Key: ", "Key: x")],
    )
    async def test_one_that_is_no_handshake_is_told_what_it_takes(self, old: str, new: str) -> None:
        async with client_of(House()) as client:
            client.protocol.send_request(client.protocol.connect())
            request = b"".join(client.protocol.data_to_send()).replace(b"ws://server", b"")
            assert old.encode() in request
            client.put(request.replace(old.encode(), new.encode()))
            response = (await client.get())[0]
            assert client.wire.closed
        check_problem(response, 426, "upgrade_required")
        assert (response.headers["Upgrade"], response.headers["Sec-WebSocket-Version"]) == ("websocket", "13")

    @pytest.mark.parametrize(("query", "outputs"), [("true", [[1.0]]), ("1", [[1.0]]), ("0", None), ("false", None)])
    async def test_create_missing_is_in_the_query(self, query: str, outputs: list[list[float]] | None) -> None:
        async with client_of(House()) as client:
            await client.shake_hands(f"/v1/models/s%75m/stream?create_missing={query}")
            client.say(FRAME.replace(b'"a"', b'"new"'))
            (answer,) = await client.get()
        assert json.loads(answer.data).get("outputs") == outputs


def check_problem(response: Response, status: int, code: str) -> None:
    assert response.body is not None
    content = json.loads(response.body)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.status_code, content["status"], content["code"]) == (status, status, code)


async def test_a_message_may_come_in_parts_with_others_between_its_bytes_and_a_ping_between_its_parts() -> None:
    async with client_of(House()) as client:
        await client.shake_hands()
        protocol = client.protocol
        protocol.send_text(FRAME[:5], fin=False)
        protocol.send_continuation(b"", fin=False)
        protocol.send_ping(b"are you there")
        protocol.send_continuation(FRAME[5:], fin=True)
        protocol.send_binary(b"abc", fin=False)
        protocol.send_continuation(b"def", fin=True)
        for byte in b"".join(protocol.data_to_send()):
            client.put(bytes([byte]))
        pong, text, binary = await client.get(3)
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"are you there")
    assert (text.opcode, json.loads(text.data)["outputs"]) == (Opcode.TEXT, [[1.0]])
    assert (binary.opcode, bytes(binary.data)) == (Opcode.BINARY, b"fedcba")


async def test_answers_of_an_iteration_leave_in_one_write() -> None:
    house = House()
    for session_id in "bcdefgh":
        await house.sessions.open("sum", session_id=session_id)
    async with client_of(house) as client:
        await client.shake_hands()
        client.say(*(FRAME.replace(b'"a"', b'"%c"' % name) for name in b"abcdefgh"))
        while not client.wire.written:
            await asyncio.sleep(0)
        assert len(client.wire.written) == 1
        answers = await client.get(8)
    assert [json.loads(answer.data)["session_id"] for answer in answers] == list("abcdefgh")


class TestClose:
    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_a_message_over_the_limit_ends_the_connection(self, in_parts: bool) -> None:
        house = House(max_body_bytes=100)
        async with client_of(house) as client:
            await client.shake_hands()
            if in_parts:
                client.protocol.send_text(b" " * 60, fin=False)
                client.protocol.send_continuation(b" " * 60, fin=False)
            else:
                client.protocol.send_text(b" " * 101)
            client.flush()
            code, _ = await client.closed()
            assert code == 1009
            # What is still on its way is read and thrown away, or its sender's system would drop the close frame.
            assert client.wire.at_eof
            assert not client.wire.closed
            client.put(b" " * 200)
            assert house.value('ostinato_rejected_total{reason="too_large"}') == 1

    async def test_a_message_of_the_limit_is_taken(self) -> None:
        async with client_of(House(max_body_bytes=100)) as client:
            await client.shake_hands()
            client.say(FRAME.ljust(100))
            (answer,) = await client.get()
        assert json.loads(answer.data)["steps"] == 1

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\x81\x01a", 1002),  # not masked
            (b"\x83\x80\x00\x00\x00\x00", 1002),  # no such kind of frame
            (b"\xc1\x80\x00\x00\x00\x00", 1002),  # compressed, which was not agreed on
            (b"\x80\x80\x00\x00\x00\x00", 1002),  # goes on with nothing
            (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # text that is not UTF-8
            (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),  # a code that may not be sent
        ],
    )
    async def test_a_breach_of_the_protocol_ends_the_connection(self, data: bytes, code: int) -> None:
        async with client_of(House()) as client:
            await client.shake_hands()
            client.put(data)
            assert (await client.closed())[0] == code

    async def test_a_client_that_says_good_bye_is_answered_and_what_has_not_begun_is_dropped(self) -> None:
        house = House(in_thread=True)
        async with client_of(house) as client:
            await client.shake_hands()
            house.runner.gate.clear()
            client.say(FRAME, FRAME)
            await until(lambda: house.runner.is_held)
            client.protocol.send_close(1000, "bye")
            client.flush()
            assert await client.closed() == (1000, "bye")
            assert client.wire.closed
            house.runner.gate.set()
            await until_true(lambda: not house.engine.num_rows)
            session = house.sessions.use("a")
            assert session is not None
            assert session.steps == 1

    async def test_uvicorns_shutdown_closes_and_waits_for_the_client_only_so_long(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with client_of(House()) as client:
            cuts = timed_cuts(monkeypatch)
            await client.shake_hands()
            for connection in client.server_state.connections:
                connection.shutdown()
            assert await client.closed() == (1001, "the server is shutting down")
            assert (client.wire.closed, client.wire.aborted) == (False, False)
            [(_, cut)] = cuts
            cut()
            assert client.wire.aborted

    async def test_the_close_handshake_ends_with_the_clients_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        house = House(max_stream_frames=1, in_thread=True)
        async with client_of(house) as client:
            cuts = timed_cuts(monkeypatch)
            await client.shake_hands()
            house.runner.gate.clear()
            client.say(FRAME, FRAME)
            assert not client.wire.reads()
            client.streams.close()
            assert client.wire.reads(), "or the client's part would not be seen"
            await client.closed()
            client.flush()  # its answer to the close
            await until(lambda: client.wire.closed)
            client.connection.connection_lost(None)
            [(timer, _)] = cuts
            assert timer.cancelled()
            assert not client.wire.aborted


@pytest.fixture
def now() -> Callable[[float], float]:
    """Seconds from now, on the clock of the sweeps."""
    began_at = time.perf_counter()
    return lambda seconds: began_at + seconds


class TestSweep:
    async def test_a_client_that_gives_no_sign_of_life_is_closed(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_ping_seconds=20)) as client:
            await client.shake_hands()
            client.streams.sweep_once(now(19))
            client.streams.sweep_once(now(21))
            (ping,) = await client.get()
            assert ping.opcode is Opcode.PING
            client.flush()  # its pong
            client.streams.sweep_once(now(42))
            (again,) = await client.get()
            assert again.opcode is Opcode.PING
            client.streams.sweep_once(now(61))
            assert client.connection.num_frames == 0
            client.streams.sweep_once(now(63))
            assert await client.closed() == (1011, "no pong within 20 s")

    async def test_whatever_a_client_sends_is_a_sign_of_life(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_ping_seconds=20)) as client:
            await client.shake_hands()
            client.protocol.send_text(FRAME)
            (long_message,) = client.protocol.data_to_send()
            for number, seconds in enumerate((21, 42, 63)):
                client.streams.sweep_once(now(seconds))
                (ping,) = await client.get()
                assert ping.opcode is Opcode.PING
                client.protocol.data_to_send()  # its pong stands behind the message
                client.put(long_message[number : number + 1])
            client.put(long_message[3:])
            (answer,) = await client.get()
            assert answer.opcode is Opcode.TEXT

    async def test_a_client_whose_frames_wait_for_us_is_not_blamed_for_it(self, now: Callable[[float], float]) -> None:
        house = House(stream_ping_seconds=20, max_stream_frames=1, in_thread=True, deadline_seconds=0)
        async with client_of(house) as client:
            await client.shake_hands()
            house.runner.gate.clear()
            client.connection.pause_writing()
            client.say(FRAME, FRAME)
            client.streams.sweep_once(now(21))
            assert [event.opcode for event in await client.get()] == [Opcode.PING]
            client.connection.resume_writing()
            assert not client.wire.reads()  # nor is its pong read
            for seconds in (42, 63):
                client.streams.sweep_once(now(seconds))
            house.runner.gate.set()
            assert [event.opcode for event in await client.get(2)] == [Opcode.TEXT] * 2
            assert client.wire.reads()
            client.streams.sweep_once(now(84))
            assert [event.opcode for event in await client.get()] == [Opcode.PING]

    async def test_a_client_that_does_not_read_is_cut_off(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_ping_seconds=20)) as client:
            await client.shake_hands()
            client.connection.pause_writing()
            assert not client.wire.reads()
            client.streams.sweep_once(now(21))
            client.streams.sweep_once(now(42))
            assert client.wire.aborted

    async def test_a_client_that_reads_again_goes_on(self) -> None:
        async with client_of(House()) as client:
            await client.shake_hands()
            client.connection.pause_writing()
            client.say(FRAME)
            await asyncio.sleep(0.01)
            await client.gets_nothing()
            client.connection.resume_writing()
            assert client.wire.reads()
            await client.get()

    async def test_an_idle_stream_is_closed(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_idle_seconds=300, stream_ping_seconds=0)) as client:
            await client.shake_hands()
            client.streams.sweep_once(now(299))
            await client.gets_nothing()
            client.streams.sweep_once(now(301))
            assert await client.closed() == (1000, "no message for 300 s")

    async def test_a_message_begins_the_idle_time_anew(self) -> None:
        async with client_of(House(stream_idle_seconds=300, stream_ping_seconds=0)) as client:
            await client.shake_hands()
            await asyncio.sleep(0.01)
            before = time.perf_counter()
            client.say(FRAME)
            await client.get()
            client.streams.sweep_once(before + 300)
            await client.gets_nothing()
            client.streams.sweep_once(time.perf_counter() + 301)
            assert (await client.closed())[0] == 1000

    async def test_a_stream_whose_client_reads_nothing_is_idle(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_idle_seconds=300, stream_ping_seconds=0, deadline_seconds=0)) as client:
            await client.shake_hands()
            client.connection.pause_writing()
            client.say(FRAME)
            client.streams.sweep_once(now(301))
            assert (await client.closed())[0] == 1000

    async def test_a_stream_with_work_under_way_is_not_idle(self, now: Callable[[float], float]) -> None:
        house = House(stream_idle_seconds=300, stream_ping_seconds=0, deadline_seconds=0, in_thread=True)
        async with client_of(house) as client:
            await client.shake_hands()
            house.runner.gate.clear()
            client.say(FRAME)
            client.streams.sweep_once(now(1000))
            house.runner.gate.set()
            (answer,) = await client.get()
            assert answer.opcode is Opcode.TEXT

    async def test_0_is_never(self, now: Callable[[float], float]) -> None:
        async with client_of(House(stream_idle_seconds=0, stream_ping_seconds=0)) as client:
            await client.shake_hands()
            client.streams.sweep_once(now(1e9))
            await client.gets_nothing()

    async def test_deadlines_are_kept(self, now: Callable[[float], float]) -> None:
        house = House(in_thread=True)
        async with client_of(house) as client:
            await client.shake_hands()
            house.runner.gate.clear()
            client.say(FRAME)
            client.streams.sweep_once(now(31))
            answers = [json.loads(event.data) for event in await client.get(2) if event.opcode is Opcode.TEXT]
        assert [answer["error"]["code"] for answer in answers] == ["deadline_exceeded"]
        labels = 'code_class="5xx",route="/v1/models/{name}/stream"'
        assert house.value(f"ostinato_request_seconds_count{{{labels}}}") == 1
        assert house.value('ostinato_rejected_total{reason="deadline_exceeded"}') == 1


async def test_drain_closes_each_stream_when_it_has_answered() -> None:
    house = House(in_thread=True)
    async with client_of(house) as client:
        await client.shake_hands()
        house.runner.gate.clear()
        client.say(FRAME)
        client.streams.drain()
        assert client.streams.num_frames == 1
        house.runner.gate.set()
        answer, _close = await client.get(2)
        assert json.loads(answer.data)["outputs"] == [[1.0]]
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 1001
        assert client.streams.num_frames == 0


async def test_uvicorn_takes_the_class_from_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WS_PROTOCOLS, "auto", WS_PROTOCOLS["auto"])
    WebSocketConnection.install()
    config = Config(lambda: None, lifespan="off", log_config=None)
    config.load()
    assert config.ws_protocol_class is WebSocketConnection


async def test_a_lost_connection_drops_what_has_not_begun() -> None:
    house = House(in_thread=True)
    async with client_of(house) as client:
        await client.shake_hands()
        session = house.sessions.use("a")
        assert session is not None
        house.runner.gate.clear()
        first = house.ledger.step(session, column(1))
        await until(lambda: house.runner.is_held)
        client.say(FRAME)
        client.connection.connection_lost(ConnectionResetError())
        house.runner.gate.set()
        await first
        await until_true(lambda: not house.engine.num_rows)
        assert session.steps == 1
    assert house.value('ostinato_cancelled_total{model="sum",version="1"}') == 1


@pytest.mark.parametrize("frame", [FRAME, b'{"session_id": "a", "inputs": [[1]], "seq": 7}'])
async def test_a_client_that_hung_up_a_moment_ago_keeps_nobody_of_its_iteration_from_an_answer(frame: bytes) -> None:
    """Between the end of what it sends and that of its connection, its steps may be committed with others'."""
    house = House(in_thread=True)
    async with client_of(house) as client:
        await house.sessions.open("sum", session_id="b")
        await client.shake_hands()
        house.runner.gate.clear()
        held = house.ledger.step(await house.sessions.find("b"), column(5))
        await until(lambda: house.runner.is_held)
        client.say(frame)
        other = house.ledger.step(await house.sessions.find("b"), column(1))
        client.connection.eof_received()
        house.runner.gate.set()
        assert (await held).outputs.tolist() == [[5]]
        assert (await asyncio.wait_for(other, PATIENCE_SECONDS)).outputs.tolist() == [[6]]
        assert (await house.ledger.step(await house.sessions.find("a"), column(1))).steps == (
            2 if frame == FRAME else 1
        )
        assert not house.engine.arena.busy.any()
    house.engine.close()
