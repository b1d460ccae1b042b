"""More work than a server can take, and clients that go away, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.process.hold import HeldServer
from tests.server import ServerProcess, running
from tests.waiting import until_true

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("load")

NUM_STEPS = 40
"""At a step an iteration, a chunk of this length takes many."""
LABELS = '{model="accumulator",version="1"}'


@pytest.fixture(scope="module")
def slow_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldServer]:
    """A server that takes three rows at once and runs one step of each at a time, when it is let."""
    limits = {"max_queue_rows": 3, "max_iteration_steps": 1, "max_chunk_steps": NUM_STEPS, "deadline_seconds": 0}
    with running(HeldServer(repository, tmp_path_factory.mktemp("slow"), **limits)) as server:
        yield server


@asynccontextmanager
async def client(server: ServerProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.async_client() as http:
        yield http


async def open_session(http: httpx2.AsyncClient) -> str:
    """The path of a new session."""
    opened = await http.post("/v1/models/accumulator/sessions")
    return f"/v1/sessions/{opened.json()['session_id']}"


async def value(http: httpx2.AsyncClient, series: str) -> float:
    """What a series of the accumulator shows."""
    for line in (await http.get("/metrics")).text.splitlines():
        if line.startswith(f"ostinato_{series}{LABELS} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no series {series}")


async def until(http: httpx2.AsyncClient, series: str, at_least: float) -> None:
    """Wait for a series."""

    async def is_there() -> bool:
        return await value(http, series) >= at_least

    await until_true(is_there, f"{series} of {at_least}", 0.01)


async def until_read(http: httpx2.AsyncClient) -> None:
    """Wait until the server has read all that reached it before, the end of a connection, too.

    What is ready together is read in one turn of its event loop, in any order; so the second answer is behind all.
    """
    for _ in range(2):
        await http.get("/livez")


async def test_a_full_queue_is_refused_at_once_and_says_when_to_come_back(slow_server: HeldServer) -> None:
    body = {"inputs": [[1]] * NUM_STEPS, "seq": 0, "return_sequences": False}
    async with client(slow_server) as http:
        paths = [await open_session(http) for _ in range(4)]
        with slow_server.held():
            accepted = [asyncio.ensure_future(http.post(f"{path}/step", json=body)) for path in paths[:3]]
            await until(http, "queue_depth", 3)
            refused = await http.post(f"{paths[3]}/step", json={"inputs": [[1]], "seq": 0})
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert [answer.json()["outputs"] for answer in await asyncio.gather(*accepted)] == [[[float(NUM_STEPS)]]] * 3
        again = await http.post(f"{paths[3]}/step", json={"inputs": [[1]], "seq": 0})
        assert again.json()["outputs"] == [[1.0]]
        assert await value(http, "queue_depth") == 0


async def test_a_client_that_hangs_up_disturbs_nobody(slow_server: HeldServer) -> None:
    async with client(slow_server) as http:
        leaver, stayer = await open_session(http), await open_session(http)
        dropped_before = await value(http, "cancelled_total")
        long = {"inputs": [[1]] * NUM_STEPS, "seq": 0, "return_sequences": False}
        with slow_server.held():
            first = await send_and_keep_open(slow_server, leaver, long)
            await until(http, "queue_depth", 1)
            behind = await send_and_keep_open(slow_server, leaver, {"inputs": [[100]], "seq": NUM_STEPS})
            await until(http, "queue_depth", 2)
            for connection in (behind, first):
                connection.close()
                await connection.wait_closed()
            await until_read(http)
        mate = await http.post(f"{stayer}/step", json={"inputs": [[1], [2]], "seq": 0})
        assert mate.json()["outputs"] == [[1.0], [3.0]]
        # What had begun is applied, although nobody waited for it; what had not is dropped.
        await until(http, "cancelled_total", dropped_before + 1)
        session = (await http.get(leaver)).json()
        assert session["steps"] == NUM_STEPS
        after = await http.post(f"{leaver}/step", json={"inputs": [[1]], "seq": NUM_STEPS})
        assert after.json()["outputs"] == [[float(NUM_STEPS + 1)]]
        assert await value(http, "queue_depth") == 0


async def test_a_request_past_its_deadline_is_told_so_and_may_be_sent_again(repository: Path, tmp_path: Path) -> None:
    limits = {"deadline_seconds": 0.2, "max_iteration_steps": 1, "max_chunk_steps": NUM_STEPS}
    body = {"inputs": [[1]] * NUM_STEPS, "seq": 0, "return_sequences": False}
    with running(HeldServer(repository, tmp_path, **limits)) as server:
        async with client(server) as http:
            path = await open_session(http)
            with server.held():
                late = await http.post(f"{path}/step", json=body)
            assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
            # It had begun, so it is applied, once: sent again, it finds its answer kept.
            await until(http, "steps_total", NUM_STEPS)
            again = await http.post(f"{path}/step", json=body)
            while again.status_code == 504:  # a busy machine may take longer for anything
                again = await http.post(f"{path}/step", json=body)
            assert again.json()["outputs"] == [[float(NUM_STEPS)]]
            assert (await http.get(path)).json()["steps"] == NUM_STEPS
            assert await value(http, "duplicates_total") >= 1
            assert await value(http, "steps_total") == NUM_STEPS


async def send_and_keep_open(server: ServerProcess, path: str, body: object) -> asyncio.StreamWriter:
    """Send a step on a connection of its own, and leave without its answer when the connection is closed."""
    content = json.dumps(body).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST {path}/step HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    writer.write(head.encode() + b"\r\n\r\n" + content)
    await writer.drain()
    return writer
