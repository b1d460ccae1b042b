"""The WebSocket stream of a real server, spoken to by a real client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from tests.networks import offline
from tests.process.hold import HeldServer
from tests.process.test_fold import cut
from tests.process.test_load import until, value
from tests.server import ServerProcess, running, running_server
from tests.waiting import until_true

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("stream")

NUM_STEPS = 40
"""At a step an iteration, a chunk of this length takes many."""


def stream(
    server: ServerProcess, model: str = "accumulator", query: str = "create_missing=true", **options: Any
) -> Any:
    """A client's connection, to be entered."""
    return connect(f"ws://127.0.0.1:{server.port}/v1/models/{model}/stream?{query}", max_size=None, **options)


async def ask(client: ClientConnection, frame: dict[str, Any]) -> Any:
    """Send a frame and take the next answer."""
    await client.send(json.dumps(frame))
    return json.loads(await client.recv())


class SlowReader:
    """A client that reads only when told to, and answers no ping."""

    def __init__(self, server: ServerProcess) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self.socket.connect(("127.0.0.1", server.port))
        uri = f"ws://127.0.0.1:{server.port}/v1/models/accumulator/stream?create_missing=1"
        self.protocol = ClientProtocol(parse_uri(uri), max_size=None)
        self.protocol.send_request(self.protocol.connect())
        self.socket.sendall(b"".join(self.protocol.data_to_send()))
        while not self.protocol.events_received():
            self.protocol.receive_data(self.socket.recv(65_536))
        self.socket.setblocking(False)

    async def flood(self, frame: bytes, *, most_bytes: int) -> tuple[int, bytes]:
        """Send a frame over and over until nothing more is taken; how many, and what is left of the last."""
        self.protocol.send_text(frame)
        (one,) = self.protocol.data_to_send()
        num_frames, rest, num_stalls, num_bytes = 0, b"", 0, 0
        while num_stalls < 30 and num_bytes < most_bytes:
            if not rest:
                num_frames, rest = num_frames + 1, one
            try:
                sent = self.socket.send(rest)
            except BlockingIOError:
                num_stalls += 1
                await asyncio.sleep(0.01)
            else:
                num_stalls, rest, num_bytes = 0, rest[sent:], num_bytes + sent
        assert num_stalls, f"{num_bytes} bytes were taken in with not one answer read"
        return num_frames, rest

    async def read(self, num_events: int) -> list[Frame]:
        """The next frames that come."""
        loop = asyncio.get_running_loop()
        events: list[Frame] = []
        while len(events) < num_events:
            data = await loop.sock_recv(self.socket, 1 << 20)
            assert data, f"the connection ended after {len(events)} of {num_events} frames"
            self.protocol.receive_data(data)
            events += [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        return events


async def until_gauge(http: httpx2.AsyncClient, series: str, wanted: float) -> None:
    """Wait until a series without labels shows a value."""

    async def shows_it() -> bool:
        return f"ostinato_{series} {wanted}" in (await http.get("/metrics")).text.splitlines()

    await until_true(shows_it, f"{series} of {wanted}", 0.01)


@pytest.mark.parametrize("seed", [20_263])
async def test_fold_of_64_sessions_over_4_connections_equals_one_offline_run_each(
    seed: int, server: ServerProcess, repository: Path
) -> None:
    generator = np.random.default_rng(seed)
    sequences = [generator.normal(size=(int(generator.integers(1, 400)), 3)).astype(np.float32) for _ in range(64)]
    outputs: dict[int, list[NDArray[Any]]] = defaultdict(list)
    bad_frames = ["no JSON", '{"session_id": "stream-0"}', '{"session_id": "stream-0", "inputs": [[1]]}', "[]"]

    async def play(numbers: list[int]) -> None:
        """Send the chunks of some sessions in random order, all of them before their answers are asked for, with
        frames between them that cannot be applied.
        """
        chunks = {number: list(cut(generator, len(sequences[number]))) for number in numbers}
        frames: list[str] = []
        while chunks:
            number = int(generator.choice(list(chunks)))
            start, stop = chunks[number].pop(0)
            frame = {
                "session_id": f"stream-{number}",
                "inputs": sequences[number][start:stop].tolist(),
                "seq": start,
                "id": f"{number}:{stop}",
            }
            frames.append(json.dumps(frame))
            if not chunks[number]:
                del chunks[number]
            if generator.random() < 0.1:
                frames.append(str(generator.choice(bad_frames)))

        async with stream(server, "lstm") as client:

            async def send() -> None:
                for frame in frames:
                    await client.send(frame)

            sending = asyncio.ensure_future(send())
            refused = 0
            for _ in frames:
                answer = json.loads(await client.recv())
                if "error" in answer:
                    assert answer["error"]["code"] == "invalid_input"
                    refused += 1
                    continue
                number, _, stop = answer["id"].partition(":")
                assert (answer["session_id"], answer["steps"]) == (f"stream-{number}", int(stop))
                outputs[int(number)].append(np.array(answer["outputs"], np.float32))
            await sending
            assert refused == sum(frame in bad_frames for frame in frames)

    await asyncio.gather(*(play(list(range(first, 64, 4))) for first in range(4)))
    for number, sequence in enumerate(sequences):
        expected = offline(repository / "lstm" / "1", sequence)
        assert np.concatenate(outputs[number]).tobytes() == expected.tobytes(), f"{seed=}, {number=}"
    async with server.async_client() as http:
        for number in range(64):
            assert (await http.delete(f"/v1/sessions/stream-{number}")).status_code == 204


class TestContract:
    async def test_a_session_may_be_used_over_both_http_and_a_stream(self, server: ServerProcess) -> None:
        async with (
            server.async_client() as http,
            stream(server, query="") as client,
        ):
            session_id = (await http.post("/v1/models/accumulator/sessions")).json()["session_id"]
            first = await ask(client, {"session_id": session_id, "inputs": [[1]], "seq": 0, "id": 1})
            assert first == {"session_id": session_id, "seq": 0, "steps": 1, "outputs": [[1.0]], "id": 1}
            second = await http.post(f"/v1/sessions/{session_id}/step", json={"inputs": [[2]], "seq": 1})
            assert second.json()["outputs"] == [[3.0]]
            conflict = await ask(client, {"session_id": session_id, "inputs": [[4]], "seq": 1})
            assert (conflict["error"]["code"], conflict["error"]["expected_seq"]) == ("seq_conflict", 2)
            unknown = await ask(client, {"session_id": "never", "inputs": [[4]]})
            assert (unknown["session_id"], unknown["error"]["code"]) == ("never", "unknown_session")
            await http.delete(f"/v1/sessions/{session_id}")
            closed = await ask(client, {"session_id": session_id, "inputs": [[4]]})
            assert closed["error"]["code"] == "session_closed"

    async def test_a_session_of_another_model_is_refused(self, server: ServerProcess) -> None:
        async with (
            server.async_client() as http,
            stream(server, "lstm") as client,
        ):
            session_id = (await http.post("/v1/models/accumulator/sessions")).json()["session_id"]
            refused = await ask(client, {"session_id": session_id, "inputs": [[1]]})
        assert (refused["error"]["code"], refused["error"]["field"]) == ("invalid_input", "session_id")

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/v1/models/none/stream", 404, "unknown_model"),
            ("/v1/models/lstm/steam", 404, "unknown_route"),
            ("/predict", 404, "unknown_route"),
            ("/v1/models/lstm/stream?create_missing=x", 422, "invalid_input"),
        ],
    )
    async def test_a_handshake_that_opens_no_stream_is_refused_with_a_problem(
        self, path: str, status: int, code: str, server: ServerProcess
    ) -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{server.port}{path}"):
                pass
        response = caught.value.response
        assert response.body is not None
        content = json.loads(response.body)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert (response.status_code, content["status"], content["code"]) == (status, status, code)

    async def test_a_request_that_is_no_handshake_is_told_so(self, server: ServerProcess) -> None:
        async with server.async_client() as http:
            answer = await http.get("/v1/models/lstm/stream")
        assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
        assert answer.headers["upgrade"] == "websocket"

    async def test_a_message_over_the_limit_closes_the_connection_with_1009(self, server: ServerProcess) -> None:
        async with stream(server) as client:
            await client.send(" " * 200_001)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.close_code == 1009

    async def test_compression_is_declined_and_fragments_and_pings_are_served(self, server: ServerProcess) -> None:
        async with stream(server) as client:
            assert client.response is not None
            assert "Sec-WebSocket-Extensions" not in client.response.headers
            await client.send(['{"session_id": "in-par', 'ts", "inputs"', ": [[1], [2]]}"])
            assert json.loads(await client.recv())["outputs"] == [[1.0], [3.0]]
            await (await client.ping())

    async def test_a_binary_message_that_is_no_arrow_gets_an_error_frame(self, server: ServerProcess) -> None:
        async with stream(server) as client:
            await client.send(b"no arrow")
            refused = json.loads(await client.recv())
            assert (refused["session_id"], refused["id"]) == (None, None)
            assert refused["error"]["status"] in (415, 422)
            assert (await ask(client, {"session_id": "after", "inputs": [[1]]}))["outputs"] == [[1.0]]

    async def test_frames_and_streams_are_counted(self, server: ServerProcess) -> None:
        async with server.async_client() as http:
            await until_gauge(http, "streams_live", 0.0)
            async with stream(server) as client:
                await until_gauge(http, "streams_live", 1.0)
                await ask(client, {"session_id": "counted", "inputs": [[1]]})
                await ask(client, {"session_id": "counted"})
            await until_gauge(http, "streams_live", 0.0)
            metrics = (await http.get("/metrics")).text
        for code_class in ("2xx", "4xx"):
            assert f'request_seconds_count{{code_class="{code_class}",route="/v1/models/{{name}}/stream"}}' in metrics
        assert "counted" not in metrics


async def test_a_client_that_does_not_read_is_read_no_further_and_disturbs_nobody(server: ServerProcess) -> None:
    reader = SlowReader(server)
    with reader.socket:
        frame = json.dumps({"session_id": "unread", "inputs": [[1]] * 100}).encode()
        num_frames, rest = await reader.flood(frame, most_bytes=64 << 20)
        async with stream(server) as other:
            assert (await ask(other, {"session_id": "other", "inputs": [[1]]}))["outputs"] == [[1.0]]
        # Nothing was lost, nothing was applied twice: all is answered, in order, when it reads at last.
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(reader.socket, rest))
        answers = [json.loads(bytes(event.data)) for event in await reader.read(num_frames)]
        await sending
    assert [answer["steps"] for answer in answers] == list(range(100, 100 * num_frames + 1, 100))
    assert answers[-1]["outputs"][-1] == [float(100 * num_frames)]


@pytest.fixture(scope="module")
def impatient_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    limits = {"stream_ping_seconds": 0.3, "stream_idle_seconds": 0}
    with running_server(repository, tmp_path_factory.mktemp("impatient"), **limits) as running:
        yield running


class TestLiveness:
    async def test_an_idle_stream_is_closed_with_1000(self, repository: Path, tmp_path: Path) -> None:
        # The client's library answers the ping, which is no use of the stream; were it slow, it would be blamed at 4 s.
        limits = {"stream_ping_seconds": 2, "stream_idle_seconds": 3}
        with running_server(repository, tmp_path, **limits) as server:
            async with stream(server) as client:
                with pytest.raises(ConnectionClosed):
                    await client.recv()
        assert (client.close_code, client.close_reason) == (1000, "no message for 3 s")

    async def test_a_client_that_answers_no_ping_is_closed_with_1011(self, impatient_server: ServerProcess) -> None:
        reader = SlowReader(impatient_server)
        with reader.socket:
            ping, close = await reader.read(2)
        assert (ping.opcode, close.opcode) == (Opcode.PING, Opcode.CLOSE)
        assert reader.protocol.close_rcvd is not None
        assert (reader.protocol.close_rcvd.code, reader.protocol.close_rcvd.reason) == (1011, "no pong within 0.3 s")

    async def test_a_client_that_does_not_read_is_cut_off(self, impatient_server: ServerProcess) -> None:
        reader = SlowReader(impatient_server)
        async with impatient_server.async_client() as http:
            with reader.socket:
                frame = json.dumps({"session_id": "stuck", "inputs": [[1]] * 100}).encode()
                # It may be cut off while it still sends.
                with contextlib.suppress(ConnectionError):
                    await reader.flood(frame, most_bytes=64 << 20)
                await until_gauge(http, "streams_live", 0.0)
            assert (await http.get("/v1/sessions/stuck")).json()["steps"] > 0


@pytest.fixture(scope="module")
def slow_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldServer]:
    """A server that takes three rows at once and runs one step of each at a time, when it is let."""
    limits = {"max_queue_rows": 3, "max_iteration_steps": 1, "max_chunk_steps": NUM_STEPS, "deadline_seconds": 0}
    with running(HeldServer(repository, tmp_path_factory.mktemp("slow-stream"), **limits)) as server:
        yield server


def long_frame(session_id: str) -> str:
    return json.dumps({"session_id": session_id, "inputs": [[1]] * NUM_STEPS, "seq": 0, "id": session_id})


async def test_a_full_queue_is_refused_by_an_error_frame(slow_server: HeldServer) -> None:
    async with stream(slow_server) as client:
        with slow_server.held():
            for session_id in "abc":
                await client.send(long_frame(session_id))
            refused = await ask(client, {"session_id": "d", "inputs": [[1]], "id": "d"})
        assert (refused["id"], refused["error"]["code"]) == ("d", "overloaded")
        assert refused["error"]["retry_after_seconds"] >= 1
        answers = [json.loads(await client.recv()) for _ in range(3)]
    assert sorted(answer["id"] for answer in answers) == ["a", "b", "c"]
    assert [answer["outputs"][-1] for answer in answers] == [[float(NUM_STEPS)]] * 3


async def test_a_client_that_hangs_up_leaves_nothing_behind(slow_server: HeldServer) -> None:
    async with (
        slow_server.async_client() as http,
        stream(slow_server) as stayer,
    ):
        dropped_before = await value(http, "cancelled_total")
        with slow_server.held():
            async with stream(slow_server) as leaver:
                await leaver.send(long_frame("leaver"))
                await until(http, "queue_depth", 1)
                await leaver.send(json.dumps({"session_id": "leaver", "inputs": [[100]]}))
                await until(http, "queue_depth", 2)
                leaver.transport.abort()
            await until_gauge(http, "streams_live", 1.0)
        await until(http, "cancelled_total", dropped_before + 1)
        mate = await ask(stayer, {"session_id": "mate", "inputs": [[1], [2]]})
        assert mate["outputs"] == [[1.0], [3.0]]
        # What had begun is applied, although nobody waited for it; what had not is dropped.
        after = await ask(stayer, {"session_id": "leaver", "inputs": [[1]], "seq": NUM_STEPS})
        assert after["outputs"] == [[float(NUM_STEPS + 1)]]
        assert await value(http, "queue_depth") == 0


async def test_a_frame_past_its_deadline_is_told_so_and_may_be_sent_again(repository: Path, tmp_path: Path) -> None:
    limits = {"deadline_seconds": 0.2, "max_iteration_steps": 1, "max_chunk_steps": NUM_STEPS}
    with running(HeldServer(repository, tmp_path, **limits)) as server:
        async with server.async_client() as http, stream(server) as client:
            with server.held():
                await client.send(long_frame("a"))
                late = json.loads(await client.recv())
            assert (late["id"], late["error"]["code"]) == ("a", "deadline_exceeded")
            # It had begun, so it is applied, once: sent again, it finds its answer kept.
            await until(http, "steps_total", NUM_STEPS)
            again = await ask(client, json.loads(long_frame("a")))
            while again.get("error", {}).get("code") == "deadline_exceeded":  # a busy machine may take long
                again = await ask(client, json.loads(long_frame("a")))
            assert again["steps"] == NUM_STEPS
            assert await value(http, "duplicates_total") >= 1
            assert await value(http, "steps_total") == NUM_STEPS


async def test_sigterm_answers_what_is_in_flight_and_closes_with_1001(repository: Path, tmp_path: Path) -> None:
    limits = {"max_iteration_steps": 1, "deadline_seconds": 0, "drain_seconds": 100}
    with running(HeldServer(repository, tmp_path, **limits)) as server:
        async with (
            server.async_client() as http,
            stream(server) as idle,
            stream(server) as busy,
        ):
            with server.held():
                await busy.send(long_frame("a"))
                await until(http, "queue_depth", 1)
                server.process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed):
                    await idle.recv()
                refused = await ask(busy, {"session_id": "a", "inputs": [[1]], "id": "late"})
                with pytest.raises(InvalidStatus) as caught:
                    async with stream(server):
                        pass
            answer = json.loads(await busy.recv())
            with pytest.raises(ConnectionClosed):
                await busy.recv()
        exit_code = await asyncio.to_thread(server.wait)
    assert (idle.close_code, idle.close_reason) == (1001, "the server is shutting down")
    assert (refused["id"], refused["error"]["code"]) == ("late", "draining")
    assert caught.value.response.status_code == 503
    assert (answer["steps"], answer["outputs"][-1]) == (NUM_STEPS, [float(NUM_STEPS)])
    assert busy.close_code == 1001
    assert exit_code == 0, server.log()
    assert "drained, with 0 requests left" in server.log()
