"""A client of many sessions on one WebSocket, whose frames are built beforehand."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence

from ostinato.errors import ServiceUnreachable
from ostinato.tools.connection import HostPort, PlainAnswer, Sender
from ostinato.tools.load import Load, Recorder

TEXT, BINARY = 1, 2
CLOSE, PING = 8, 9
READ_BYTES = 1 << 20
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0

# RFC 6455, section 4.1: any 16 bytes; the server must prove that it read them, which is no concern of a benchmark.
_HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class WebSocketRefused(ServiceUnreachable):
    """The service does not open a WebSocket at this address; ``status`` is what it answered."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(f"no WebSocket: {answer[:120]!r}")
        self.status = status


def encode_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame. Its mask is 0, which leaves the payload as it is: legal, and free.

    RFC 6455, section 5.2.
    """
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def decode_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Opcodes and payloads of the server's whole frames, and what is left of the last."""
    frames = []
    start, end = 0, len(data)
    while end - start >= 2:
        length, at = data[start + 1] & 0x7F, start + 2
        if length == 126:
            length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif length == 127:
            length, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        if at + length > end:
            break
        frames.append((data[start] & 0x0F, data[at : at + length]))
        start = at + length
    return frames, data[start:]


class WebSocket:
    """An open WebSocket. A context manager.

    Raises:
        WebSocketRefused: there is none at this target.
        ServiceUnreachable: nobody listens, or (by the methods) the service closed it.
    """

    def __init__(self, address: HostPort, target: str) -> None:
        try:
            self._socket = socket.create_connection(address, CONNECT_SECONDS)
        except OSError as error:
            raise ServiceUnreachable(f"no service answers at {address[0]}:{address[1]}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.sendall(_HANDSHAKE.format(target).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (data := self._socket.recv(READ_BYTES)):
                break
            answer += data
        if not answer.startswith(b"HTTP/1.1 101"):
            self._socket.close()
            raise WebSocketRefused(int(answer[9:12] or 0), answer)
        self._rest = answer.partition(b"\r\n\r\n")[2]

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frames: bytes) -> None:
        """Send one frame, or several behind each other."""
        self._socket.sendall(frames)

    def receive(self) -> list[bytes]:
        """The messages that have come; at least one."""
        messages: list[bytes] = []
        while not messages:
            try:
                data = self._socket.recv(READ_BYTES)
            except OSError as error:
                raise ServiceUnreachable(f"the WebSocket broke off: {error}") from error
            if not data:
                raise ServiceUnreachable("the service closed the WebSocket")
            frames, self._rest = decode_frames(self._rest + data)
            for opcode, payload in frames:
                if opcode == CLOSE:
                    raise ServiceUnreachable(f"the service closed the WebSocket: {payload[2:]!r}")
                if opcode == PING:
                    self.send(encode_frame(payload, 0xA))
                else:
                    messages.append(payload)
        return messages


def stream_loop(
    address: HostPort, target: str, frames: Mapping[int, Sequence[bytes]], key: re.Pattern[bytes], seconds: float
) -> Load:
    """Senders that share one WebSocket, each with one frame under way: its next in turn when the last is answered.

    Args:
        frames: by the sender's number.
        key: finds, in its first group, the number in an answer.

    Raises:
        ServiceUnreachable: the WebSocket could not be opened or broke, or an answer names no sender.
    """
    senders = {number: Sender() for number in frames}
    clock = time.perf_counter
    with WebSocket(address, target) as stream:
        recorder = Recorder()
        until = recorder.began_at + seconds
        for sender in senders.values():
            sender.sent_at = recorder.began_at
        stream.send(b"".join(plan[0] for plan in frames.values()))
        waiting = len(senders)
        while waiting:
            messages = stream.receive()
            now = clock()
            following = []
            for message in messages:
                found = key.search(message)
                if found is None or (number := int(found[1])) not in senders:
                    raise ServiceUnreachable(f"an answer that names no session of ours: {message[:200]!r}")
                sender, plan = senders[number], frames[number]
                recorder.take(sender, PlainAnswer(500 if b'"error":' in message else 200, message), now)
                if now >= until:
                    waiting -= 1
                    continue
                sender.turn = (sender.turn + 1) % len(plan)
                sender.sent_at = now
                following.append(plan[sender.turn])
            if following:
                stream.send(b"".join(following))
        return recorder.load(list(senders.values()), until=until)
