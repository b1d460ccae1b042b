"""The wire: requests and frames as bytes, and answers read strictly, since whatever is odd about one is a fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from tests.waiting import PATIENCE_SECONDS

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [ -~]*\r\n")
HEADER_LINE = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+): ?([\t -~\x80-\xff]*)\r\n")
NO_BODY = (204, 304)
HANDSHAKE = (
    b"GET /v1/models/%b/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Broken(Exception):
    """Something that the server must not do; ``content``: what it was sent."""

    def __init__(self, detail: str, content: bytes = b"") -> None:
        super().__init__(detail)
        self.content = content


class Answer(NamedTuple):
    """One answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ends_connection(self) -> bool:
        """Whether no other answer comes behind it."""
        return self.headers.get("connection") == "close"

    @property
    def code(self) -> str:
        """The problem's word; empty where it is none."""
        if "problem+json" not in self.headers.get("content-type", ""):
            return ""
        return str(json.loads(self.body)["code"])


def request(method: str, target: str, body: bytes = b"", media_type: str = "application/json") -> bytes:
    """A whole request."""
    head = f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    """The next answer, passing over those that are under way (1xx except 101); None = the connection has ended.

    Raises:
        Broken: it is no answer of HTTP/1.1, or only a part of one.
    """
    try:
        while (line := await reader.readline()) != b"":
            found = STATUS_LINE.fullmatch(line)
            if found is None:
                raise Broken(f"the answer begins with {line[:80]!r}")
            status, headers = int(found[1]), await _read_headers(reader)
            if status < 200 and status != 101:
                continue
            return Answer(status, headers, await _read_body(reader, status, headers))
    except asyncio.IncompleteReadError as error:
        raise Broken("an answer ended before its end") from error
    except ConnectionError:
        pass
    return None


async def _read_headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while (line := await reader.readline()) != b"\r\n":
        found = HEADER_LINE.fullmatch(line)
        if found is None:
            raise Broken(f"{line[:80]!r} is no header")
        headers[found[1].decode().lower()] = found[2].decode("latin-1").strip()
    return headers


async def _read_body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> bytes:
    if status == 101 or status in NO_BODY:
        return b""
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)
    if "content-length" not in headers:
        raise Broken(f"an answer with status {status} and no length")
    return await reader.readexactly(int(headers["content-length"]))


def frame(opcode: int, payload: bytes, *, is_last: bool = True) -> bytes:
    """A client's frame of a WebSocket, masked."""
    size = len(payload)
    first = (0x80 if is_last else 0) | opcode
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0x80 | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack(">Q", size)
    mask = b"\x01\x02\x03\x04"
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def read_message(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """The server's next frame, opcode and payload; None = the connection has ended.

    Raises:
        Broken: it is in parts, masked, or has an opcode that the server has no use for.
    """
    try:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        payload = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    opcode = first & 0x0F
    if first & 0xF0 != 0x80 or second & 0x80 or opcode not in (TEXT, BINARY, CLOSE, PING, PONG):
        raise Broken(f"a frame begins with {first:#x} {second:#x}")
    return opcode, payload


class Connection:
    """A connection to the server; ended at once, whatever is under way, when its context is left."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, content: bytes) -> None:
        """Write; a server that has ended the connection may have said why."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(content)
            await self.writer.drain()

    async def answer(self) -> Answer | None:
        """See ``read_answer``.

        Raises:
            Broken: there is none for as long as a test may wait, too.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await read_answer(self.reader)
        except TimeoutError as error:
            raise Broken("no answer came") from error

    async def message(self) -> tuple[int, bytes] | None:
        """See ``read_message`` and ``answer``."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await read_message(self.reader)
        except TimeoutError as error:
            raise Broken("no message came") from error

    async def open_stream(self, model: str) -> None:
        """Make it a WebSocket."""
        await self.send(HANDSHAKE % model.encode())
        answer = await self.answer()
        if answer is None or answer.status != 101:
            raise Broken(f"a handshake was answered with {answer}")

    def pause(self) -> None:
        """Read nothing more."""
        transport: Any = self.writer.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport.pause_reading()

    def cut(self) -> None:
        """End it at once."""
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[Connection]:
    """A connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24, **options)
    connection = Connection(reader, writer)
    try:
        yield connection
    finally:
        connection.cut()
