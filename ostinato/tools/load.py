"""Load over plain sockets: requests are bytes built beforehand, and one thread drives every connection.

A client that builds requests and reads answers with a library is slower than the service that it is to measure.
"""

from __future__ import annotations

import select
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import CommandError, ServiceUnreachable
from ostinato.tools.connection import HostPort, PlainAnswer, PlainConnection, Sender

Seconds = NDArray[np.float64]

NUM_REFUSALS = 100
"""Different refusals that are counted each by itself."""
LAST_ANSWERS_SECONDS = 30.0
"""How long answers are waited for after the last request was sent."""
WATCH_SECONDS = 0.05


class Script(NamedTuple):
    """Requests of one connection: each once, in turn, then from some place on again, over and over.

    Attributes:
        requests: as they go over the wire.
        steps: how many steps each of them is, where that is not one each; 0 = it only opens something, or closes it.
        again_from: where it goes on behind the last.
        start: where it begins.
    """

    requests: Sequence[bytes]
    steps: Sequence[int] = ()
    again_from: int = 0
    start: int = 0

    def steps_of(self, turn: int) -> int:
        """How many steps a request is."""
        return self.steps[turn] if self.steps else 1

    def turns(self) -> Iterator[int]:
        """The places of its requests, one after the other, without an end."""
        yield from range(self.start, len(self.requests))
        while True:
            yield from range(self.again_from, len(self.requests))


class Load(NamedTuple):
    """What came of some load.

    Attributes:
        seconds: from the first request to the last answer that counts.
        statuses: how many answers had each status.
        sent_at, answered_at: of each answer, seconds since the first request, in the order of the answers. In an
            open loop ``sent_at`` is when the request was due.
        ok: whether each answer was a 2xx.
        steps: how many steps each of them is an answer to.
        num_steps: steps of each connection, in its order, that were answered by 2xx.
        last: each connection's last answer.
        cpu_fraction: of one core, used by this client; near 1, it was the bottleneck.
        turns: which request each connection sent last.
        num_unsent: requests of an open loop that found no free connection.
        first: each connection's first answers, as many as were to be kept.
        refusals: how many answers were a refusal of these words.
    """

    seconds: float
    statuses: Counter[int]
    sent_at: Seconds
    answered_at: Seconds
    ok: NDArray[np.bool_]
    steps: NDArray[np.int64]
    num_steps: list[int]
    last: list[PlainAnswer]
    turns: list[int]
    cpu_fraction: float
    num_unsent: int = 0
    first: Sequence[list[PlainAnswer]] = ()
    refusals: Mapping[PlainAnswer, int] = MappingProxyType({})

    @property
    def num_ok(self) -> int:
        """Answers 2xx."""
        return int(np.count_nonzero(self.ok))

    @property
    def rate(self) -> float:
        """Steps a second that were answered by 2xx."""
        return float(self.steps[self.ok].sum()) / self.seconds if self.seconds else 0.0

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
        """Seconds within which ``percent`` % of the answers 2xx to steps came, or of refusals; NaN where are none."""
        taken = (self.answered_at - self.sent_at)[(self.ok == ok) & ((self.steps > 0) | (not ok))]
        return float(np.percentile(taken, percent)) if len(taken) else float("nan")


class Poller:
    """Connections that wait for answers, or for room to send. A context manager, which closes them.

    Raises:
        CommandError: this system has no ``epoll``, which Linux has.
    """

    def __init__(self, address: HostPort, num_connections: int) -> None:
        if not hasattr(select, "epoll"):
            raise CommandError(f"load is made on Linux, and this is {sys.platform!r}: measure from a Linux machine")
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
    """Takes down answers as they come.

    Args:
        keep: how many answers of each connection are kept, beside its last.
    """

    def __init__(self, keep: int = 0) -> None:
        self._keep = keep
        self._first: dict[Sender, list[PlainAnswer]] = {}
        self._refusals: dict[PlainAnswer, list[float]] = {}
        self.steps: list[int] = []
        self.sent_at: list[float] = []
        self.answered_at: list[float] = []
        self.statuses: list[int] = []
        self.last: dict[Sender, PlainAnswer] = {}
        self._cpu_before = time.process_time()
        self.began_at = time.perf_counter()

    def take(self, sender: Sender, answer: PlainAnswer, now: float, steps: int = 1) -> None:
        """Count an answer to ``steps`` steps that came ``now``."""
        self.sent_at.append(sender.sent_at)
        self.answered_at.append(now)
        self.statuses.append(answer.status)
        self.steps.append(steps)
        if 200 <= answer.status < 300:
            sender.num_steps += steps
        elif answer in self._refusals or len(self._refusals) < NUM_REFUSALS:
            self._refusals.setdefault(answer, []).append(now)
        self.last[sender] = answer
        if self._keep and len(kept := self._first.setdefault(sender, [])) < self._keep:
            kept.append(answer)

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
            steps=np.array(self.steps, np.int64)[in_time],
            num_steps=[sender.num_steps for sender in senders],
            last=[self.last.get(sender, PlainAnswer(0, b"")) for sender in senders],
            turns=[sender.turn for sender in senders],
            cpu_fraction=cpu / wall if wall else 0.0,
            num_unsent=num_unsent,
            first=[self._first.get(sender, []) for sender in senders],
            refusals={
                refusal: num for refusal, at in self._refusals.items() if (num := sum(each <= until for each in at))
            },
        )


def closed_loop(address: HostPort, scripts: Sequence[Script], seconds: float, *, keep: int = 0) -> Load:
    """Each connection follows its script, and sends each request when the one before is answered.

    When the time is up nothing more is sent, and what is under way is waited for.

    Args:
        keep: how many answers of each connection are kept.

    Raises:
        ServiceUnreachable: a connection could not be made, or broke.
    """
    with Poller(address, len(scripts)) as poller:
        script_of = dict(zip(poller.connections, scripts, strict=True))
        turns = {connection: script.turns() for connection, script in script_of.items()}
        recorder = Recorder(keep)
        until = recorder.began_at + seconds
        for connection, script in script_of.items():
            connection.turn = next(turns[connection])
            poller.send(connection, script.requests[connection.turn], time.perf_counter())
        waiting = len(scripts)
        clock = time.perf_counter
        while waiting:
            if clock() > until + LAST_ANSWERS_SECONDS:
                raise ServiceUnreachable(f"{waiting} requests were not answered in {LAST_ANSWERS_SECONDS:g} s")
            for connection, answer in poller.answers(1.0):
                now = clock()
                script = script_of[connection]
                recorder.take(connection, answer, now, script.steps_of(connection.turn))
                if now >= until:
                    waiting -= 1
                    continue
                connection.turn = next(turns[connection])
                poller.send(connection, script.requests[connection.turn], now)
        return recorder.load(poller.connections, until=until)


def open_loop(
    address: HostPort,
    scripts: Sequence[Script],
    rate: float,
    seconds: float,
    *,
    keep: int = 0,
    seed: int = 0,
    watch: Callable[[], object] = lambda: None,
) -> Load:
    """Requests that arrive as a Poisson process whatever the service does, ``rate`` of them a second on average. Each
    is the next of the script whose connection has been free for longest.

    A request that finds no free connection is not sent, and counted: a client has no more requests under way than
    there are scripts.

    Args:
        keep: how many answers of each connection are kept.
        watch: called now and then, about every 50 ms.
    """
    generator = np.random.default_rng(seed)
    due = deque(np.cumsum(generator.exponential(1 / rate, int(rate * seconds * 1.2) + 100)).tolist())
    with Poller(address, len(scripts)) as poller:
        script_of = dict(zip(poller.connections, scripts, strict=True))
        turns = {connection: script.turns() for connection, script in script_of.items()}
        free = deque(poller.connections)
        recorder = Recorder(keep)
        until = recorder.began_at + seconds
        clock = time.perf_counter
        num_unsent = 0
        watched_at = 0.0
        while (now := clock()) < until or (len(free) < len(scripts) and now < until + LAST_ANSWERS_SECONDS):
            while due and recorder.began_at + due[0] <= now < until:
                due_at = recorder.began_at + due.popleft()
                if free:
                    connection = free.popleft()
                    connection.turn = next(turns[connection])
                    poller.send(connection, script_of[connection].requests[connection.turn], due_at)
                else:
                    num_unsent += 1
            if now - watched_at > WATCH_SECONDS:
                watch()
                watched_at = now
            next_due = recorder.began_at + due[0] if due else until
            for connection, answer in poller.answers(min(max(next_due - now, 0.0), 0.02)):
                recorder.take(connection, answer, clock(), script_of[connection].steps_of(connection.turn))
                free.append(connection)
        return recorder.load(poller.connections, until=until, num_unsent=num_unsent)
