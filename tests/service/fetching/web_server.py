"""A small web server of files for the tests: what is asked, and what goes wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

RESET = 0
"""A status for which the connection is reset."""


class Reply(NamedTuple):
    """What is answered; ``length`` is what is claimed of the content, ``reason`` of the status; None = what is true."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    length: int | None = None
    reason: str | None = None


Answer = Callable[[str, dict[str, str]], Reply]
"""Path with what it asks, and headers in small letters -> reply."""

Server = TypeVar("Server", bound=ThreadingHTTPServer)


class WebServer(ThreadingHTTPServer):
    """Answers by a function, and keeps the paths that were asked."""

    daemon_threads = True

    def __init__(self, answer: Answer, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake is the thread's of the connection; here it would hold up all others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.answer, self.asked = answer, list[str]()

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.server_port}"


def files_of(root: Path) -> Answer:
    """The files of a folder."""

    def answer(path: str, _headers: dict[str, str]) -> Reply:
        file = root / unquote(urlsplit(path).path).lstrip("/")
        return Reply(200, file.read_bytes()) if file.is_file() else Reply(404)

    return answer


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server that answers in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def running_web(answer: Answer, tls: tuple[Path, Path] | None = None) -> Iterator[WebServer]:
    """A server for the length of a test; with a certificate and its key, over TLS."""
    with serving(WebServer(answer, tls)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        reply = self.server.answer(self.path, {name.lower(): value for name, value in self.headers.items()})
        if reply.status == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.rfile.close()
            return
        self.send_response(reply.status, reply.reason)
        self.send_header("Content-Length", str(len(reply.content) if reply.length is None else reply.length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    def log_message(self, *_: object) -> None:
        pass
