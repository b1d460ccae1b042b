"""HTTP/1.1 over a plain socket, as far as a client of prebuilt requests needs it."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ostinato.client.keys import headers_of, own_key
from ostinato.errors import ServiceUnreachable

HostPort = tuple[str, int]

CONNECT_SECONDS = 10.0
READ_BYTES = 1 << 18

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class PlainAnswer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


def http_request(
    method: str,
    target: str,
    body: bytes = b"",
    content_type: str = "application/json",
    host: str = "localhost",
    *,
    headers: Mapping[str, object] = MappingProxyType({}),
) -> bytes:
    """An HTTP/1.1 request as it goes over the wire, with the environment's key."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in {**headers_of(own_key()), **headers}.items())
    if body or method == "POST":
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def parse_answer(data: bytes | bytearray) -> tuple[PlainAnswer, int] | None:
    """The answer at the front of what was read, and where it ends; None = it is not all there yet.

    Raises:
        ServiceUnreachable: it is not HTTP with a length.
    """
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    try:
        status = int(data[9:12])
    except ValueError:
        raise ServiceUnreachable(f"not an answer in HTTP: {bytes(data[:80])!r}") from None
    found = _LENGTH.search(data, 0, head_end)
    if found is None and status not in (204, 304):
        raise ServiceUnreachable(f"an answer without a length: {bytes(data[:head_end])!r}")
    end = head_end + 4 + (int(found[1]) if found else 0)
    if len(data) < end:
        return None
    return PlainAnswer(status, bytes(data[head_end + 4 : end])), end


class Sender:
    """A sender that waits for the answer to each request before the next.

    Attributes:
        sent_at: when its time began to count.
        turn: which of its requests that was.
        num_steps: answers 2xx that it got.
    """

    __slots__ = ("num_steps", "sent_at", "turn")

    def __init__(self) -> None:
        self.sent_at = 0.0
        self.turn = 0
        self.num_steps = 0


class PlainConnection(Sender):
    """A connection with at most one request under way, which ``is_waiting`` tells.

    Raises:
        ServiceUnreachable: nobody listens at the address, or (by the methods) the other side hung up.
    """

    __slots__ = ("_read", "_unsent", "is_waiting", "socket")

    def __init__(self, address: HostPort) -> None:
        super().__init__()
        self.socket = socket.socket()
        self.open(address)

    def open(self, address: HostPort) -> None:
        """Connect, anew if it was connected."""
        self.socket.close()
        self.is_waiting = False
        try:
            self.socket = socket.create_connection(address, CONNECT_SECONDS)
        except OSError as error:
            raise ServiceUnreachable(f"no service answers at {address[0]}:{address[1]} ({error.strerror})") from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""
        self._unsent = memoryview(b"")

    def ask(self, request: bytes) -> PlainAnswer:
        """Send a request and wait for its answer."""
        self.socket.sendall(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def send(self, request: bytes) -> bool:
        """Send a request, or as much of it as goes at once; whether that was all."""
        try:
            sent = self.socket.send(request)
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            self._unsent = memoryview(request)[sent:]
            return False
        return True

    def send_rest(self) -> bool:
        """Send more of a request; whether that was the end of it."""
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        return not self._unsent

    def receive(self) -> PlainAnswer | None:
        """Read what has come; the answer if it is whole."""
        try:
            data = self.socket.recv(READ_BYTES)
        except OSError as error:
            raise ServiceUnreachable(f"the service broke a connection off: {error}") from error
        if not data:
            raise ServiceUnreachable("the service closed a connection")
        if self._read:
            data = self._read + data
        parsed = parse_answer(data)
        if parsed is None:
            self._read = data
            return None
        answer, end = parsed
        self._read = data[end:]
        return answer
