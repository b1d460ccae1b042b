"""Load over plain sockets: requests are bytes built beforehand, and one thread drives every connection.

A client that builds requests and reads answers with a library is slower than the service that it is to measure.
"""

from __future__ import annotations

import select
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ServiceUnreachable
from ostinato.tools.connection import HostPort, PlainAnswer, PlainConnection, Sender

Seconds = NDArray[np.float64]

LAST_ANSWERS_SECONDS = 30.0
"""How long answers are waited for after the last request was sent."""
WATCH_SECONDS = 0.05


class Load(NamedTuple):
    """What came of some load.

    Attributes:
        seconds: from the first request to the last answer that counts.
        statuses: how many answers had each status.
        sent_at, answered_at: of each answer, seconds since the first request, in the order of the answers. In an
            open loop ``sent_at`` is when the request was due.
        ok: whether each answer was a 2xx.
        num_steps: answers 2xx of each connection, in its order.
        last: each connection's last answer.
        cpu_fraction: of one core, used by this client; near 1, it was the bottleneck.
        turns: which request each connection sent last.
        num_unsent: requests of an open loop that found no free connection.
    """

    seconds: float
    statuses: Counter[int]
    sent_at: Seconds
    answered_at: Seconds
    ok: NDArray[np.bool_]
    num_steps: list[int]
    last: list[PlainAnswer]
    turns: list[int]
    cpu_fraction: float
    num_unsent: int = 0

    @property
    def num_ok(self) -> int:
        """Answers 2xx."""
        return int(np.count_nonzero(self.ok))

    @property
    def rate(self) -> float:
        """Answers 2xx a second."""
        return self.num_ok / self.seconds if self.seconds else 0.0

    @property
    def num_failed(self) -> int:
        """Answers other than 2xx."""
        return len(self.ok) - self.num_ok

    @property
    def longest_pause(self) -> float:
        """The longest time, in seconds, in which nothing was answered although requests were waiting."""
        if not len(self.answered_at):
            return self.seconds
        return float(np.diff(self.answered_at, prepend=0.0, append=self.seconds).max())

    def percentile(self, percent: float, *, ok: bool = True) -> float:
        """Seconds within which ``percent`` % of the answers 2xx (or of the others) came; NaN where there are none."""
        taken = (self.answered_at - self.sent_at)[self.ok == ok]
        return float(np.percentile(taken, percent)) if len(taken) else float("nan")


class Poller:
    """Connections that wait for answers, or for room to send. A context manager, which closes them."""

    def __init__(self, address: HostPort, num_connections: int) -> None:
        self._epoll = select.epoll()
        self.connections: list[PlainConnection] = []
        self._by_number: dict[int, PlainConnection] = {}
        self._address, self._num_connections = address, num_connections

    def __enter__(self) -> Poller:
        for _ in range(self._num_connections):
            self.connections.append(PlainConnection(self._address))
            self._register(self.connections[-1])
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.socket.close()
        self._epoll.close()

    def send(self, connection: PlainConnection, request: bytes, sent_at: float) -> None:
        """Send a request whose time counts from ``sent_at``."""
        connection.sent_at = sent_at
        connection.is_waiting = True
        if not connection.send(request):
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def answers(self, timeout: float) -> Iterator[tuple[PlainConnection, PlainAnswer]]:
        """The answers that came within ``timeout`` seconds; at most one of each connection."""
        for number, event in self._epoll.poll(timeout):
            connection = self._by_number[number]
            if event & select.EPOLLOUT and connection.send_rest():
                self._epoll.modify(connection.socket, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            try:
                answer = connection.receive()
            except ServiceUnreachable:
                if connection.is_waiting:
                    raise
                # A server may hang up on a connection that was idle for a while.
                del self._by_number[number]
                connection.open(self._address)
                self._register(connection)
                continue
            if answer is not None:
                connection.is_waiting = False
                yield connection, answer

    def _register(self, connection: PlainConnection) -> None:
        connection.socket.setblocking(False)
        self._by_number[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)


class Recorder:
    """Takes down answers as they come."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []
        self.answered_at: list[float] = []
        self.statuses: list[int] = []
        self.last: dict[Sender, PlainAnswer] = {}
        self._cpu_before = time.process_time()
        self.began_at = time.perf_counter()

    def take(self, sender: Sender, answer: PlainAnswer, now: float) -> None:
        """Count an answer that came ``now``."""
        self.sent_at.append(sender.sent_at)
        self.answered_at.append(now)
        self.statuses.append(answer.status)
        sender.num_steps += 200 <= answer.status < 300
        self.last[sender] = answer

    def load(self, senders: Sequence[Sender], *, until: float, num_unsent: int = 0) -> Load:
        """What was taken down; answers that came later than ``until`` are in ``num_steps`` and ``last`` only."""
        wall = time.perf_counter() - self.began_at
        cpu = time.process_time() - self._cpu_before
        sent_at, answered_at = np.array(self.sent_at), np.array(self.answered_at)
        statuses = np.array(self.statuses, np.int64)
        in_time = answered_at <= until
        return Load(
            seconds=until - self.began_at,
            statuses=Counter(statuses[in_time].tolist()),
            sent_at=sent_at[in_time] - self.began_at,
            answered_at=answered_at[in_time] - self.began_at,
            ok=(statuses[in_time] // 100) == 2,
            num_steps=[sender.num_steps for sender in senders],
            last=[self.last.get(sender, PlainAnswer(0, b"")) for sender in senders],
            turns=[sender.turn for sender in senders],
            cpu_fraction=cpu / wall if wall else 0.0,
            num_unsent=num_unsent,
        )


def closed_loop(address: HostPort, requests: Sequence[Sequence[bytes]], seconds: float) -> Load:
    """Each connection sends its requests in turn, over and over, each when the one before is answered.

    When the time is up nothing more is sent, and what is under way is waited for.

    Raises:
        ServiceUnreachable: a connection could not be made, or broke.
    """
    with Poller(address, len(requests)) as poller:
        plans = dict(zip(poller.connections, requests, strict=True))
        recorder = Recorder()
        until = recorder.began_at + seconds
        for connection, plan in plans.items():
            poller.send(connection, plan[0], time.perf_counter())
        waiting = len(plans)
        clock = time.perf_counter
        while waiting:
            if clock() > until + LAST_ANSWERS_SECONDS:
                raise ServiceUnreachable(f"{waiting} requests were not answered in {LAST_ANSWERS_SECONDS:g} s")
            for connection, answer in poller.answers(1.0):
                now = clock()
                recorder.take(connection, answer, now)
                if now >= until:
                    waiting -= 1
                    continue
                plan = plans[connection]
                connection.turn = (connection.turn + 1) % len(plan)
                poller.send(connection, plan[connection.turn], now)
        return recorder.load(poller.connections, until=until)


def open_loop(
    address: HostPort,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    *,
    num_connections: int,
    seed: int = 0,
    watch: Callable[[], object] = lambda: None,
) -> Load:
    """Requests that arrive as a Poisson process whatever the service does, ``rate`` of them a second on average.

    A request that finds no free connection is not sent, and counted: a client has no more than ``num_connections``
    requests under way.

    Args:
        requests: sent in turn.
        watch: called now and then, about every 50 ms.
    """
    generator = np.random.default_rng(seed)
    due = deque(np.cumsum(generator.exponential(1 / rate, int(rate * seconds * 1.2) + 100)).tolist())
    with Poller(address, num_connections) as poller:
        free = list(poller.connections)
        recorder = Recorder()
        until = recorder.began_at + seconds
        clock = time.perf_counter
        turn = num_unsent = 0
        watched_at = 0.0
        while (now := clock()) < until or (len(free) < num_connections and now < until + LAST_ANSWERS_SECONDS):
            while due and recorder.began_at + due[0] <= now < until:
                due_at = recorder.began_at + due.popleft()
                if free:
                    connection = free.pop()
                    connection.turn = turn = (turn + 1) % len(requests)
                    poller.send(connection, requests[turn], due_at)
                else:
                    num_unsent += 1
            if now - watched_at > WATCH_SECONDS:
                watch()
                watched_at = now
            next_due = recorder.began_at + due[0] if due else until
            for connection, answer in poller.answers(min(max(next_due - now, 0.0), 0.02)):
                recorder.take(connection, answer, clock())
                free.append(connection)
        return recorder.load(poller.connections, until=until, num_unsent=num_unsent)
