"""A WebSocket in front of the small service, and a wire that is cut on the way to a real one."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx2
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.ostinato.fake_service import FakeService

Fault = str | dict[str, Any] | Callable[[dict[str, Any]], list[dict[str, Any]]]


class FakeStreams:
    """Streams of a service, on a port of their own.

    Attributes:
        faults: for each frame, what becomes of it: "" = it is answered; "before" and "after" = the connection is cut
            before or after it is applied; "away" and "big" = it is closed with 1001 or 1009; "silent" = it is
            applied and not answered; "garbage" = something else comes; an object = an error frame in its place; a
            function = the messages that it makes of the answer are sent, and it may wait.
        refusals: for each handshake, a refusal; none = it is welcome.
    """

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.faults: Iterator[Fault] = iter(())
        self.refusals: Iterator[dict[str, Any]] = iter(())
        self.num_connections = 0
        self.url = ""
        self._turn = threading.Lock()

    def answer(self, connection: ServerConnection) -> None:
        """Serve a connection to its end."""
        self.num_connections += 1
        with contextlib.suppress(ConnectionError):
            for message in connection:
                with self._turn:
                    if not self._frame(connection, json.loads(message)):
                        return

    def refuse(self, _: ServerConnection, __: Request) -> Response | None:
        """The answer to a handshake; None = it is welcome."""
        refusal: dict[str, Any] | None = next(self.refusals, None)
        if refusal is None:
            return None
        headers = Headers({"content-type": "application/problem+json", "retry-after": "2"})
        return Response(refusal["status"], "no", headers, json.dumps(refusal).encode())

    def _frame(self, connection: ServerConnection, frame: dict[str, Any]) -> bool:
        """Deal with a frame; False ends the connection."""
        fault = next(self.faults, "")
        if fault == "before":
            return self._cut(connection)
        if fault in ("away", "big"):
            connection.close(1001 if fault == "away" else 1009)
            return False
        if isinstance(fault, dict):
            answer: Any = {"session_id": frame["session_id"], "id": frame["id"], "error": fault}
        else:
            answer = self._apply(frame)
        if fault == "after":
            return self._cut(connection)
        if callable(fault):
            for message in fault(answer):
                connection.send(json.dumps(message))
        elif fault != "silent":
            connection.send("[]" if fault == "garbage" else json.dumps(answer))
        return True

    def _cut(self, connection: ServerConnection) -> bool:
        cut(connection.socket)
        return False

    def _apply(self, frame: dict[str, Any]) -> dict[str, Any]:
        name = frame["session_id"]
        if name not in self.service.sessions and name not in self.service.ended:
            self.service.answer(_request("POST", "/v1/models/half/sessions", {"session_id": name}))
        step = {"inputs": frame["inputs"], "seq": frame["seq"], "return_sequences": True}
        answer = self.service.answer(_request("POST", f"/v1/sessions/{name}/step", step))
        if answer.status_code == 200:
            return {**answer.json(), "id": frame["id"]}
        return {"session_id": name, "id": frame["id"], "error": {**answer.json(), "status": answer.status_code}}


@contextlib.contextmanager
def fake_streams(service: FakeService) -> Iterator[FakeStreams]:
    """Streams that are served for the length of a test."""
    streams = FakeStreams(service)
    with serve(streams.answer, "127.0.0.1", 0, process_request=streams.refuse, compression=None) as server:
        streams.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield streams
        finally:
            server.shutdown()
            thread.join()


def _request(method: str, path: str, body: object) -> httpx2.Request:
    return httpx2.Request(method, f"http://service{path}", json=body)


def cut(connection: socket.socket) -> None:
    """End a connection as a network that fails does: with a reset, and without goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class CutWire:
    """Carries bytes between clients and a service; ``cuts`` says, for each piece that the service sends, whether the
    connection is cut in its place.
    """

    def __init__(self, port: int, cuts: Iterable[bool]) -> None:
        self.num_cuts = 0
        self._port = port
        self._cuts = iter(cuts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CutWire:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            service = socket.create_connection(("127.0.0.1", self._port))
            for source, sink in ((client, service), (service, client)):
                self._threads.append(threading.Thread(target=self._pump, args=(source, sink, source is service)))
                self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_from_service: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                if is_from_service and not piece.startswith(b"HTTP/1.1") and next(self._cuts, False):
                    self.num_cuts += 1
                    break
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                cut(end)
