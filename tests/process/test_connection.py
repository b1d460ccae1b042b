"""Bytes on a connection of a real server, as no HTTP client would send them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
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
    content = reader.read(int(headers["content-length"]))
    assert content.endswith(b"}\n")  # and the next answer begins right behind
    return status, headers, json.loads(content)


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


def request(
    target: str | bytes, *headers: str, method: str = "POST", version: str = "HTTP/1.1", body: bytes = b""
) -> bytes:
    """Bytes of a request; its length is told unless the headers say how its body comes."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [
        method.encode() + b" " + path + b" " + version.encode(),
        b"host: x",
        *(line.encode("latin-1") for line in headers),
    ]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


TYPED = ("/predict", "/step", "/forecast", "/generate", "/generate_stream")
BENTOML = ("/", "/schema.json", "/docs.json", "/static_content/index.html", "/nothing")
VERSIONED = (
    "/v1", "/v1/models", "/v1/models/accumulator", "/v1/models/accumulator/predict", "/v1/models/accumulator/step",
    "/v1/models/accumulator/generate", "/v1/models/accumulator/score", "/v1/models/accumulator/sessions",
    "/v1/models/accumulator/stream", "/v1/sessions", "/v1/sessions/nobody", "/v1/sessions/nobody/reset",
    "/v1/sessions/nobody/fork", "/v1/sessions/nobody/state", "/v1/sessions/nobody/step", "/v1/sessions/nobody/forecast",
)  # fmt: skip
SYSTEM = ("/livez", "/healthz", "/readyz", "/metrics")
ROUTES = (*VERSIONED, *TYPED, *BENTOML, *SYSTEM)
MULTIPART = "content-type: multipart/form-data; boundary=b"
ODD: dict[str, Callable[[str], bytes]] = {
    "broken multipart": lambda path: request(path, MULTIPART, body=b"--b\r\ncontent-disposition: form-data; name="),
    "multipart without a boundary": lambda path: request(path, "content-type: multipart/form-data", body=b"--"),
    "a form": lambda path: request(path, "content-type: application/x-www-form-urlencoded", body=b"%zz=%&&=\xff"),
    "no UTF-8": lambda path: request(path, "content-type: application/json", body=b'{"\xff": "\xed\xa0\x80"}'),
    "an unknown charset": lambda path: request(path, "content-type: application/json; charset=nonsense", body=b"{}"),
    "UTF-16": lambda path: request(path, "content-type: application/json; charset=utf-16", body=b"\xff\xfe{\0}\0"),
    "another media type": lambda path: request(path, "content-type: ;;\xff/", body=b"{}"),
    "pickle": lambda path: request(path, "content-type: application/vnd.bentoml+pickle", body=b"\x80\x04N."),
    "a coding": lambda path: request(path, "content-encoding: br, gzip", body=b"\x00"),
    "a list": lambda path: request(path, "content-type: application/json", body=b"[1, 2]"),
    "a string": lambda path: request(path, "content-type: application/json", body=b'"\\ud800"'),
    "deep JSON": lambda path: request(path, "content-type: application/json", body=b"[" * 20_000),
    "a great number": lambda path: request(path, body=b'{"inputs": [[1' + b"0" * 5000 + b"]]}"),
    "an odd query": lambda path: request(f"{path}?%ff=%00&a=%&&&=;a[]=1&limit=-1&cursor=%ff", body=b"{}"),
    "a path with bytes": lambda path: request(f"{path}/%ff%c0%ae%00", body=b"{}"),
    "a path with slashes": lambda path: request(f"/{path}//%2e%2e/%2f", body=b"{}"),
    "an absolute target": lambda path: request(f"http://else:99999{path}", body=b"{}"),
    "an absolute target without a path": lambda _: request("http://else", body=b"{}"),
    "a star": lambda _: request("*", method="OPTIONS"),
    "CONNECT": lambda _: request("x:80", method="CONNECT"),
    "too large in chunks": lambda path: request(path, "transfer-encoding: chunked", body=b"30d41\r\n" + b"[" * 200_001),
    "too large by its word": lambda path: request(path, "content-length: 18000000"),
    "a length of 20 digits": lambda path: request(path, "content-length: 18446744073709551615"),
    "a range": lambda path: request(path, "range: bytes=-1", "if-match: *", "if-modified-since: x", method="GET"),
    **{method: lambda path, method=method: request(path, method=method, body=b"{}")  # type: ignore[misc]
       for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH")},
}  # fmt: skip
MALFORMED = {
    "two lengths": (request("/v1/models", "content-length: 1", "content-length: 1", body=b"1"), 400),
    "two other lengths": (request("/v1/models", "content-length: 1", "content-length: 2", body=b"12"), 400),
    "a list of lengths": (request("/v1/models", "content-length: 1, 1", body=b"1"), 400),
    "a length below 0": (request("/v1/models", "content-length: -1"), 400),
    "a length with a sign": (request("/v1/models", "content-length: +1", body=b"1"), 400),
    "a length and chunks": (request("/", "content-length: 3", "transfer-encoding: chunked", body=b"0\r\n\r\n"), 400),
    "chunks and a length": (request("/", "transfer-encoding: chunked", "content-length: 3", body=b"0\r\n\r\n"), 400),
    "chunked twice": (request("/", "transfer-encoding: chunked", "transfer-encoding: chunked", body=b"0\r\n\r\n"), 400),
    "chunked in HTTP/1.0": (request("/", "transfer-encoding: chunked", version="HTTP/1.0", body=b"0\r\n\r\n"), 400),
    "gzip in chunks": (request("/v1/models", "transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "gzip": (request("/v1/models", "transfer-encoding: gzip", body=b"0\r\n\r\n"), 400),
    "a chunk below 0": (request("/v1/models", "transfer-encoding: chunked", body=b"-1\r\n\r\n"), 400),
    "a folded header": (request("/v1/models", "a: b\r\n c"), 400),
    "a byte 0": (request("/v1/models", "a: b\0c"), 400),
    "a space before the colon": (request("/v1/models", "a : b"), 400),
    "lines without a return": (b"GET /v1/models HTTP/1.1\nhost: x\n\n", 400),
    "bytes in the target": (request(b"/v1/\xff"), 400),
    "a method that there is not": (request("/v1/models", method="BREW"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", 400),
    "HTTP/2.0": (request("/v1/models", method="GET", version="HTTP/2.0"), 400),
    "HTTP/3.0": (request("/v1/models", method="GET", version="HTTP/3.0"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "101 headers": (request("/v1/models", *["a: b"] * 99, method="GET"), 431),
    "a long header": (request("/v1/models", "a: " + "b" * 70_000, method="GET"), 431),
    "a long target": (request("/v1/models?" + "b" * 70_000, method="GET"), 431),
    "a long way of ours": (request("/v1/sessions/a/step", "a: " + "b" * 70_000), 431),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_no_route_takes_an_odd_request_for_a_fault_of_its_own(server: ServerProcess, name: str) -> None:
    found = {}
    for path in ROUTES:
        with connected(server) as (connection, reader):
            connection.sendall(ODD[name](path))
            if "large" in name or "20 digits" in name:
                connection.shutdown(socket.SHUT_WR)
            line = reader.readline()
        if (status := int(line.split()[1]) if line else 0) >= 500:
            found[path] = status
    assert found == {}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_may_be_read_in_two_ways_is_refused_behind_the_answer_to_what_came_before(
    server: ServerProcess, name: str
) -> None:
    junk, expected = MALFORMED[name]
    with connected(server) as (connection, reader):
        connection.sendall(post(open_session(server), {"inputs": [[4]]}) + junk)
        assert answer(reader)[2]["outputs"] == [[4.0]]
        status, headers, content = answer(reader)
        assert (status, headers["connection"], content["status"]) == (expected, "close", expected)
        assert reader.read() == b""
