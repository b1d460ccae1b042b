"""A server of several worker processes: one ``/metrics`` for all, a worker that is killed, and the drain of each.

The workers here share no sessions, so the tests use none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import networks
from tests.process.hold import HeldServer
from tests.process.test_life import until_draining
from tests.process.test_metrics import read
from tests.server import ServerProcess, running, running_server
from tests.waiting import until

MODEL = frozenset({("model", "accumulator"), ("version", "1")})
STEPS = ("ostinato_steps_total", MODEL)
WORKERS = ("ostinato_workers", frozenset[tuple[str, str]]())
PREDICT = "/v1/models/accumulator/predict"
TARGET = "tests.process.many_workers:Ostinato"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers' shared folder goes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def sent() -> list[int]:
    """The steps that ``server`` was sent since its start, request by request."""
    return []


@pytest.fixture(scope="module")
def shared_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two workers whose models take a while to load; their shared folder goes into ``log_path.parent``."""
    home: Path = tmp_path_factory.mktemp("workers")
    options: dict[str, Any] = {"target": TARGET, "workers": 2, "state": f"lmdb://{home}/state"}
    with running_server(repository, home, environment={"TMPDIR": str(home)}, **options) as running:
        yield running


@pytest.fixture
def server(shared_server: ServerProcess, sent: list[int]) -> ServerProcess:
    """The same with both workers; started again where a test has ended it."""
    if shared_server.process.poll() is not None:
        shared_server.start()
        shared_server.wait_until_ready()
        sent.clear()
    until(lambda: read(shared_server).get(WORKERS) == 2)
    return shared_server


def send(server: ServerProcess, sent: list[int]) -> None:
    assert server.post(PREDICT, json={"sequences": [[[1]] * 10]}).status_code == 200
    sent.append(10)


def shared_folder(place: Path) -> list[Path]:
    return list(place.glob("ostinato-workers-*"))


def workers_of(place: Path) -> set[int]:
    """The pids of the workers that write."""
    (folder,) = shared_folder(place)
    return {int(path.stem.partition("-")[0]) for path in folder.glob("*-*.json")}


def test_whichever_worker_is_asked_metrics_speak_for_all(server: ServerProcess, sent: list[int]) -> None:
    assert len(workers_of(server.log_path.parent)) == 2
    seen = [read(server)[STEPS]]
    for _ in range(30):  # each on a connection of its own, so on either worker
        send(server, sent)
        seen.append(read(server)[STEPS])
    until(lambda: read(server)[STEPS] == sum(sent))
    assert seen == sorted(seen), "a counter fell"
    assert read(server)["ostinato_models_failed", frozenset()] == 0
    info = {("model", "accumulator"), ("version", "1"), ("task", "recurrent"), ("batch_invariant", "true")}
    assert read(server)["ostinato_model_info", frozenset(info)] == 1


def test_workers_share_connections_evenly(server: ServerProcess) -> None:
    shares: Counter[str] = Counter()
    with contextlib.ExitStack() as connections:

        def is_even() -> bool:
            connection = HTTPConnection("127.0.0.1", server.port)
            connections.callback(connection.close)
            connection.request("GET", "/livez")
            answer = connection.getresponse()
            answer.read()
            # A worker's requests are counted behind a word of its own.
            shares[str(answer.getheader("x-request-id"))[:8]] += 1
            return len(shares) == 2 and shares.total() > 40 and max(shares.values()) - min(shares.values()) <= 1

        until(is_even, f"an even share: {shares}")


def test_a_worker_that_is_killed_is_replaced_while_the_port_answers_and_no_counter_falls(
    server: ServerProcess, sent: list[int]
) -> None:
    place = server.log_path.parent
    for _ in range(20):
        send(server, sent)
    until(lambda: read(server)[STEPS] == sum(sent))
    before = workers_of(place)
    num_loaded = server.log().count("model versions are served")
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    seen: list[float] = []

    def is_replaced() -> bool:
        numbers = read(server)  # it answers: the other worker takes the connections
        seen.append(numbers[STEPS])
        assert server.get("/readyz").status_code == 200, "a worker took connections before its models"
        has_loaded = server.log().count("model versions are served") == num_loaded + 1
        return has_loaded and numbers[WORKERS] == 2 and victim not in workers_of(place)

    until(is_replaced)
    assert set(seen) == {sum(sent)}
    (folder,) = shared_folder(place)
    assert (folder / "past.json").is_file()
    assert read(server)["ostinato_worker_restarts_total", frozenset({("signal", "SIGKILL")})] == 1
    assert read(server)["ostinato_worker_restarts_total", frozenset({("signal", "SIGSEGV")})] == 0
    assert len(workers_of(place)) == 2
    assert workers_of(place) & before == before - {victim}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_worker_drains_and_the_server_ends_with_status_0(
    number: signal.Signals, repository: Path, tmp_path: Path, place: Path
) -> None:
    num_steps, num_requests = 20, 6
    settings = {"workers": 2, "max_iteration_steps": 1, "deadline_seconds": 0, "drain_seconds": 100}
    with running(HeldServer(repository, tmp_path, state=f"lmdb://{tmp_path}/state", **settings)) as server:
        await asyncio.to_thread(until, lambda: read(server).get(WORKERS) == 2)
        async with server.async_client() as http:
            body = {"sequences": [[[1]] * num_steps], "return_sequences": False}
            with server.held():
                in_flight = [asyncio.ensure_future(http.post(PREDICT, json=body)) for _ in range(num_requests)]
                # Rows that either worker has taken in.
                await asyncio.to_thread(
                    until, lambda: read(server).get(("ostinato_queue_depth", MODEL)) == num_requests
                )
                server.process.send_signal(number)
                readiness = await until_draining(http)
                await asyncio.to_thread(until, lambda: server.log().count(": draining") == 2)
                refused = await http.post(PREDICT, json=body)
            answers = await asyncio.gather(*in_flight)
        exit_code = await asyncio.to_thread(server.wait)
        log = server.log()
    assert readiness.json()["status"] == "draining"
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert [answer.json()["outputs"] for answer in answers] == [[[float(num_steps)]]] * num_requests
    assert exit_code == 0, log
    # BentoML's process passes either signal on as SIGTERM, once.
    assert log.count("received SIGTERM: draining") == log.count("drained, with 0 requests left") == 2
    assert shared_folder(place) == []


async def test_a_signal_to_the_whole_group_ends_each_worker_once(server: ServerProcess) -> None:
    place = server.log_path.parent
    for pid in (*workers_of(place), server.process.pid):
        os.kill(pid, signal.SIGINT)
    assert server.wait() == 0
    assert server.log().count(": draining") == 2
    assert shared_folder(place) == []


async def test_what_the_drain_has_no_time_for_is_refused(repository: Path, tmp_path: Path) -> None:
    settings = {"max_iteration_steps": 1, "deadline_seconds": 0, "drain_seconds": 0.1}
    with running(HeldServer(repository, tmp_path, **settings)) as server:
        async with server.async_client() as http:
            body = {"sequences": [[[1]] * 20], "return_sequences": False}
            with server.held():
                in_flight = asyncio.ensure_future(http.post(PREDICT, json=body))
                await asyncio.to_thread(until, lambda: read(server)["ostinato_queue_depth", MODEL] == 1)
                server.terminate()
                await asyncio.to_thread(until, lambda: "drained, with " in server.log())
            answer = await in_flight
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert await asyncio.to_thread(server.wait) == 0
        assert "drained, with 0 " not in server.log()


def test_a_client_that_does_not_read_its_answer_does_not_hold_the_server(tmp_path: Path) -> None:
    # 20 MB and more, which is more than the buffers of both ends hold.
    num_steps, num_outputs = 10_000, 100
    network = networks.lstm(num_features=1, num_outputs=num_outputs)
    network.write(tmp_path / "repository", np.ones((2, 5, 1), np.float32))
    body = json.dumps({"sequences": [[[1]] * num_steps]})
    head = f"POST /v1/models/lstm/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with (
        running_server(tmp_path / "repository", tmp_path, drain_seconds=0.5, deadline_seconds=0) as server,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall((head + body).encode())
        count = (
            "ostinato_request_seconds_count",
            frozenset({("route", "/v1/models/{name}/predict"), ("code_class", "2xx")}),
        )
        until(lambda: read(server).get(count) == 1)
        server.terminate()
        assert server.wait() == 0
