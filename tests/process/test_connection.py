"""Bytes on a connection of a real server, as no HTTP client would send them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.server import ServerProcess, running_server

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("server")


@contextmanager
def connected(server: ServerProcess) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    """A socket, and what is read from it."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as reader:
            yield connection, reader


def open_session(server: ServerProcess) -> str:
    """The path of a new session's steps."""
    opened = server.post("/v1/models/accumulator/sessions")
    return f"/v1/sessions/{opened.json()['session_id']}/step"


def post(path: str, content: object, *headers: str, version: str = "1.1") -> bytes:
    body = json.dumps(content).encode()
    lines = [f"POST {path} HTTP/{version}", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(reader: IO[bytes]) -> tuple[int, dict[str, str], Any]:
    """Status, headers and content of the next answer."""
    status = int(reader.readline().split()[1])
    headers: dict[str, str] = {}
    while line := reader.readline().rstrip(b"\r\n"):
        name, _, value = line.decode().partition(": ")
        headers[name] = value
    return status, headers, json.loads(reader.read(int(headers["content-length"])))


def test_requests_sent_together_are_answered_in_their_order(server: ServerProcess) -> None:
    path = open_session(server)
    requests = [post(path, {"inputs": [[1]], "seq": seq}) for seq in range(50)]
    with connected(server) as (connection, reader):
        connection.sendall(b"".join(requests))
        assert [answer(reader)[2]["outputs"] for _ in requests] == [[[float(seq + 1)]] for seq in range(50)]


def test_a_request_may_come_byte_by_byte(server: ServerProcess) -> None:
    path = open_session(server)
    with connected(server) as (connection, reader):
        for number in (1, 2):
            for byte in post(path, {"inputs": [[4]]}):
                connection.sendall(bytes([byte]))
            assert answer(reader)[2]["outputs"] == [[4.0 * number]]


def test_every_answer_has_a_date_and_says_whether_the_connection_goes_on(server: ServerProcess) -> None:
    path = open_session(server)
    with connected(server) as (connection, reader):
        connection.sendall(post(path, {"inputs": [[1]]}))
        _, headers, _ = answer(reader)
        assert "date" in headers
        assert "connection" not in headers
        connection.sendall(post(path, {"inputs": [[1]]}, "connection: close"))
        _, headers, content = answer(reader)
        assert (headers["connection"], content["steps"]) == ("close", 2)
        assert reader.read() == b""


def test_an_old_client_is_answered_and_left(server: ServerProcess) -> None:
    with connected(server) as (connection, reader):
        connection.sendall(post(open_session(server), {"inputs": [[1]]}, version="1.0"))
        status, headers, _ = answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert reader.read() == b""


def test_a_body_that_is_cut_off_is_not_applied(server: ServerProcess) -> None:
    path = open_session(server)
    with connected(server) as (connection, reader):
        connection.sendall(post(path, {"inputs": [[1]]})[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert reader.read() == b""
    assert server.get(path.removesuffix("/step")).json()["steps"] == 0


def test_a_server_that_stops_answers_a_request_whose_body_was_on_its_way(repository: Path, tmp_path: Path) -> None:
    with running_server(repository, tmp_path) as server, connected(server) as (connection, reader):
        path = open_session(server)
        request = post(path, {"inputs": [[1]]})
        connection.sendall(post(path, {"inputs": [[1]]}) + request[:-1])
        assert answer(reader)[0] == 200  # so the next one's beginning has been read, too
        server.terminate()
        server.wait_until_ready(503)
        connection.sendall(request[-1:])
        status, headers, content = answer(reader)
        assert (status, content["code"], headers["connection"]) == (503, "draining", "close")
        assert reader.read() == b""
        assert server.wait() == 0
