"""A client that asks for a long answer in events and then reads nothing."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import generation_networks as networks
from tests.conftest import PutNetworks
from tests.server import ServerProcess, running_server
from tests.waiting import until

# More in all than the buffers of both ends hold: 4 MiB and a few KiB, and an event has some 80 bytes.
NUM_INPUTS, NUM_STEPS = 100, 1000
DEADLINE_SECONDS = 1


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Path:
    directory = tmp_path_factory.mktemp("repository")
    put_networks(directory, networks.export_hours_ahead)
    return directory


@pytest.mark.parametrize("way", ["directly", "through ASGI"])
def test_a_client_that_reads_nothing_is_cut_off_and_others_are_served(
    repository: Path, tmp_path: Path, way: str
) -> None:
    body = {"inputs": [[[0.5, 0.5]] * 3] * NUM_INPUTS, "max_steps": NUM_STEPS, "stream": True}
    content = json.dumps(body).encode()
    # A header that only the way through ASGI takes.
    expect = "expect: 100-continue\r\n" * (way != "directly")
    head = f"POST /v1/models/hours-ahead/generate HTTP/1.1\r\nhost: stalled\r\n{expect}content-length: {len(content)}"
    with (
        running_server(repository, tmp_path, deadline_seconds=DEADLINE_SECONDS) as server,
        socket.socket() as stalled,
    ):
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = urlsplit(server.url)
        stalled.connect((address.hostname, address.port))
        stalled.sendall(f"{head}\r\n\r\n".encode() + content)
        until(lambda: _total(server, "generation_lanes") > 0, "the first lane")
        until(lambda: _total(server, "generation_lanes") == 0, "the end of all lanes")
        if way == "directly":
            until(lambda: not _is_connected(server, stalled), "the end of the connection")
        else:
            time.sleep(2 * DEADLINE_SECONDS)  # nothing tells from outside that it has passed
        other = server.post("/v1/models/hours-ahead/generate", json={"inputs": [[[0.5, 0.5]]]})
        assert other.json()["finish_reasons"] == ["length"]
        received = _rest_of(stalled)
        assert b"event: step" in received
        assert b"event: done" not in received


def _total(server: ServerProcess, series: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"ostinato_{series}{{"))


def _is_connected(server: ServerProcess, client: socket.socket) -> bool:
    """Whether the server still has its end; the client cannot see it before it has read what the kernel holds."""
    port = client.getsockname()[1]
    return any(
        end.raddr and end.raddr.port == port for worker in server.workers() for end in worker.net_connections("tcp")
    )


def _rest_of(connection: socket.socket) -> bytes:
    """What has come and comes until the other end closes."""
    connection.settimeout(30)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
