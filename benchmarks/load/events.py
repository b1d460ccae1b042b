"""Load by requests whose answers come as server-sent events, and when the first event of each came."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.errors import WrongAnswer
from ostinato.tools.connection import CONNECT_SECONDS, READ_BYTES, HostPort

STEP, DONE = b"event: step\n", b"event: done\n"
END = b"0\r\n\r\n"
"""The last chunk of a body whose length was not known when it began."""
LAST_ANSWERS_SECONDS = 30.0


class EventLoad(NamedTuple):
    """What came of it.

    Attributes:
        seconds: from the first request to the last answer.
        num_steps: events ``step`` of all answers.
        first_after: of each answer, seconds from its request to its first step.
        last: of each connection which request it sent last, and the ``data`` of that answer's event ``done``.
        cpu_fraction: of one core, used by this client.
    """

    seconds: float
    num_steps: int
    first_after: list[float]
    last: list[tuple[int, bytes]]
    cpu_fraction: float


class _Stream:
    """A connection with one request under way."""

    def __init__(self, address: HostPort) -> None:
        self.socket = socket.create_connection(address, CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.turn = 0
        self.sent_at = 0.0
        self.has_begun = False
        self.read = bytearray()

    def ask(self, turn: int, request: bytes) -> None:
        self.turn = turn
        self.read = bytearray()
        self.has_begun = False
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Read what has come; the seconds until the first step, if that is in it."""
        data = self.socket.recv(READ_BYTES)
        now = time.perf_counter()
        if not data:
            raise WrongAnswer("the service closed a connection with a stream under way")
        self.read += data
        if not self.has_begun and STEP in self.read:
            self.has_begun = True
            return now - self.sent_at
        return None

    @property
    def is_done(self) -> bool:
        return self.read.endswith(END)


def closed_loop(address: HostPort, requests: Sequence[bytes], num_connections: int, seconds: float) -> EventLoad:
    """Connections that send the requests in turn, each the next one when its last answer has come to its end.

    When the time is up nothing more is sent, and what is under way is waited for.

    Raises:
        WrongAnswer: an answer is a refusal, has no step, ends without ``done``, or breaks off.
    """
    streams = {stream.socket.fileno(): stream for stream in (_Stream(address) for _ in range(num_connections))}
    epoll = select.epoll()
    cpu_before, began_at = time.process_time(), time.perf_counter()
    until = began_at + seconds
    num_steps = turn = 0
    first_after: list[float] = []
    try:
        for number, stream in streams.items():
            epoll.register(number, select.EPOLLIN)
            stream.ask(turn, requests[turn % len(requests)])
            turn += 1
        waiting = num_connections
        while waiting:
            if time.perf_counter() > until + LAST_ANSWERS_SECONDS:
                raise WrongAnswer(f"{waiting} streams did not end in {LAST_ANSWERS_SECONDS:g} s")
            for number, _ in epoll.poll(1.0):
                stream = streams[number]
                if (after := stream.receive()) is not None:
                    first_after.append(after)
                if not stream.is_done:
                    continue
                num_steps += count_steps(stream.read)
                if time.perf_counter() < until:
                    stream.ask(turn, requests[turn % len(requests)])
                    turn += 1
                else:
                    waiting -= 1
        wall = time.perf_counter() - began_at
        last = [(stream.turn % len(requests), done_data(stream.read)) for stream in streams.values()]
        return EventLoad(wall, num_steps, first_after, last, (time.process_time() - cpu_before) / wall)
    finally:
        epoll.close()
        for stream in streams.values():
            stream.socket.close()


def count_steps(answer: bytes | bytearray) -> int:
    """The events ``step`` of a whole answer.

    Raises:
        WrongAnswer: it is a refusal, has none, or ends without ``done``.
    """
    number = answer.count(STEP)
    if not answer.startswith(b"HTTP/1.1 200 ") or not number or answer.count(DONE) != 1:
        raise WrongAnswer(f"no stream of steps: {bytes(answer[:300])!r}")
    return number


def done_data(answer: bytes | bytearray) -> bytes:
    """The ``data`` of the event ``done``, which is one chunk of the body."""
    return bytes(answer.partition(DONE)[2].partition(b"data: ")[2].partition(b"\n")[0])
