"""The small service behind real sockets, whose answers a test may hold, replace, or say nothing of."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

from tests.ostinato.fake_service import FakeService

Answered = Callable[[httpx2.Request, httpx2.Response], httpx2.Response]


class FakeServer:
    """A service on a port of its own.

    Attributes:
        change: what becomes of each answer; it is called in the connection's thread, and may wait.
        num_connections, num_ended: that clients made, and that they ended.
    """

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.change: Answered = lambda _, answer: answer
        self.num_connections = 0
        self.num_ended = 0
        self.url = ""
        self.turn = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Of the connections."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def setup(self) -> None:
                super().setup()
                with server.turn:
                    server.num_connections += 1

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                with server.turn:
                    server.num_ended += 1

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                request = httpx2.Request(self.command, f"{server.url}{self.path}", content=body)
                with server.turn:
                    made = server.service.answer(request)
                made = server.change(request, made)
                self.send_response(made.status_code)
                for name in ("content-type", "retry-after"):
                    if name in made.headers:
                        self.send_header(name, made.headers[name])
                if made.headers.get("content-type") == "text/event-stream":
                    self.send_header("connection", "close")
                    self.end_headers()
                    assert isinstance(made.stream, httpx2.SyncByteStream)
                    for piece in made.stream:
                        self.wfile.write(piece)
                        self.wfile.flush()
                    return
                self.send_header("content-length", str(len(made.content)))
                self.end_headers()
                self.wfile.write(made.content)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        return Handler


@contextlib.contextmanager
def fake_server(service: FakeService) -> Iterator[FakeServer]:
    """A server for the length of a test."""
    fake = FakeServer(service)
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
