"""The supervisor: BentoML's parent process, made to look after its workers.

BentoML starts the workers and holds their port. This adds what an operator counts on: a worker that ended is told of in
one line and replaced at once; while none serves, the port refuses connections, where it would let them wait; a version
at which workers die is set aside; workers that cannot start end the server with a sentence; all end with their parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from bentoml._internal.utils import circus
from circus.exc import ConflictError

from ostinato.service.metrics.workers import tell_restarts
from ostinato.service.tether import (
    FAULTS,
    MAX_MESSAGE_BYTES,
    NO_SIGNAL,
    VARIABLE,
    Notice,
    Orders,
    Release,
    SetAside,
    describe_end,
    keep_port,
    share_port,
    signal_name,
)

logger = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3
"""In a row, where none has ever served: then another would not start, either. Those that have may again when a disk has
room.
"""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
"""Between a start that failed and the next; it doubles."""
POLL_SECONDS = 0.05
FREE_ENDPOINT = "tcp://127.0.0.1:*"
"""Where circus takes commands and tells what happens: at whatever port is free when it binds it."""

MAX_KILLS = 2
"""SIGKILL comes from outside: the kernel's when memory is short, or a person's. One is no proof, and two are."""


class WorkerRecord:
    """What the parent knows of one worker.

    Attributes:
        loading: what it loads now, and since when (monotonic).
        is_up: it has started: it takes connections, or is about to.
        failure: why it said that it cannot start.
    """

    def __init__(self) -> None:
        self.loading: tuple[Release, float] | None = None
        self.is_up = False
        self.failure = ""


class Casualties:
    """The releases at which workers died, and those of them that are not loaded again."""

    def __init__(self) -> None:
        self.set_aside: list[SetAside] = []
        self._kills: dict[Release, tuple[int, float]] = {}
        """How many, and when the last was counted."""

    def acquit(self, release: Release) -> None:
        """It was loaded after all."""
        self._kills.pop(release, None)

    def judge(self, release: Release, began_at: float, exit_code: int) -> bool:
        """Whether a release is set aside, a worker having died while it loaded it.

        Workers that are killed together while they load it, as by a memory that is short of it twice, are one kill.

        Args:
            began_at: when that load began (monotonic).
            exit_code: as Popen's.
        """
        if any(aside.release == release for aside in self.set_aside):
            return True  # another worker was at it, too
        name = signal_name(exit_code)
        if name == "SIGKILL":
            number, counted_at = self._kills.get(release, (0, -math.inf))
            if began_at > counted_at:
                number += 1
                self._kills[release] = number, time.monotonic()
            if number < MAX_KILLS:
                return False
        elif name not in FAULTS and exit_code <= 0:
            return False  # told to end
        times = f"{MAX_KILLS} workers were" if name == "SIGKILL" else "a worker was" if name else "a worker"
        reason = (
            f"{times} {describe_end(exit_code)} while loading it; it is not loaded again until its files change "
            "(touch one, or replace the version) or the whole service is started again"
        )
        self.set_aside.append(SetAside(release, reason))
        return True


class Supervisor(circus.Arbiter):
    """BentoML's arbiter with a tether to each worker.

    Args:
        on_listening: called once, when the first worker takes connections, with where: ``host:port``.
        verdicts: see ``Orders``.
        grpc_port: the port for gRPC, which is kept as long as there is a server; None = none.
        meters, shares: see ``Orders``.
        check_host: raises where a server must not listen at an address; nobody listens there yet.
    """

    def __init__(
        self,
        *args: Any,
        on_listening: Callable[[str], object] = lambda _: None,
        verdicts: int | None = None,
        grpc_port: socket.socket | None = None,
        meters: int | None = None,
        shares: int | None = None,
        check_host: Callable[[str], object] = lambda _: None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        for each in self.sockets.values():
            check_host(each.host)
        if not options.get("plugins"):  # nobody else asks there, and what was free a while ago may be taken by now
            self.pubsub_endpoint = self.ctrl.endpoint = FREE_ENDPOINT
        self._verdicts = verdicts
        self._grpc_port, self._meters, self._shares = grpc_port, meters, shares
        self._on_listening: Callable[[str], object] | None = on_listening
        # Its other end is the workers'; this one no child inherits.
        self._end, self._workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end.setblocking(False)
        self._workers_end.set_inheritable(True)
        self._records: dict[int, WorkerRecord] = {}
        self._casualties = Casualties()
        self._restarts: dict[str, int] = {}
        self._num_failed_starts = 0
        self._not_before = 0.0
        self._last_words = ""
        self._has_served = self._has_failed = False
        # BentoML's plugins are processes of the arbiter's, too.
        self._services = [watcher for watcher in self.watchers if watcher.name == "service"]
        for watcher in self._services:
            watcher.respawn = True  # in a container, too
            watcher.hooks["after_reap"] = self._note_end
            watcher.hooks["after_spawn"] = self._note_begin
        self._brief()

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Serve until told to end.

        Raises:
            SystemExit: it could not, as the log says.
        """
        super().start(cb)
        if self._has_failed:
            raise SystemExit(1)

    def initialize(self) -> None:
        """Take the port, and let nobody wait at it until a worker is there."""
        super().initialize()
        self._close_port()
        loop = asyncio.get_event_loop_policy().get_event_loop() if self.loop is None else self.loop.asyncio_loop
        loop.add_reader(self._end, self._read)
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: BentoML looks every few seconds
            loop.add_signal_handler(signal.SIGCHLD, self._look)
        self.loop.call_later(POLL_SECONDS, self._announce)

    def manage_watchers(self) -> Any:
        """Reap, and start workers in the place of those that ended; later, where starts have failed."""
        if not self._stopping and self._services:
            self.reap_processes()
            if self._has_failed:
                return self.stop()
            wait_seconds = self._not_before - time.monotonic()
            if wait_seconds > 0:
                self.loop.call_later(wait_seconds + POLL_SECONDS, self._look)
                return None
        try:
            return super().manage_watchers()
        except ConflictError:  # something else is being done to the workers
            self.loop.call_later(POLL_SECONDS, self._look)
            return None

    def stop(self) -> Any:
        """End, behind what is being done to the workers just now: to be told so then must not be for nothing."""
        try:
            return None if self._stopping else super().stop()
        except ConflictError:
            self.loop.call_later(POLL_SECONDS, self.stop)
            return None

    def _look(self) -> None:
        done = self.manage_watchers()
        if done is not None:
            self.loop.add_future(done, lambda future: future.result())

    def _brief(self) -> None:
        """Write down what the next worker is told."""
        ports = [each.fileno() for each in self.sockets.values()]
        set_aside = self._casualties.set_aside
        grpc_port = None if self._grpc_port is None else self._grpc_port.getsockname()[1]
        memories = self._meters, self._shares
        orders = Orders(
            self._workers_end.fileno(), ports, self._restarts, set_aside, self._verdicts, grpc_port, *memories
        )
        for watcher in self._services:
            watcher.env[VARIABLE] = orders.encode()

    def _note_begin(self, pid: int, **_: Any) -> bool:
        self._records[pid] = WorkerRecord()
        return True

    def _read(self) -> None:
        while True:
            try:
                text = self._end.recv(MAX_MESSAGE_BYTES)
            except OSError:
                return
            try:
                message = msgspec.json.decode(text, type=Notice)
            except msgspec.DecodeError:
                continue
            record = self._records.setdefault(message.pid, WorkerRecord())
            if message.event == "started":
                record.is_up, self._num_failed_starts, self._has_served = True, 0, True
            elif message.event == "failed":
                record.failure = message.reason
            elif message.event == "loading":
                record.loading = message.release and (message.release, time.monotonic())
            elif message.release is not None:
                self._casualties.acquit(message.release)
                record.loading = None

    def _note_end(self, process_pid: int, exit_code: int | None, **_: Any) -> None:
        self._read()
        record = self._records.pop(process_pid, WorkerRecord())
        if self._stopping or self._has_failed:
            return
        if not self._is_any_up():
            self._close_port()
        exit_code = exit_code or 0
        where = "while it served" if record.is_up else "before it could serve"
        outcome = "another is started"
        is_set_aside = False
        if record.loading is not None:
            release, began_at = record.loading
            where = f"while it loaded {release.model}/{release.version}"
            is_set_aside = self._casualties.judge(release, began_at, exit_code)
            if is_set_aside:
                outcome += ", which will not load that version"
        if not (record.is_up or record.loading):
            self._num_failed_starts += 1
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._num_failed_starts - 1), MAX_PAUSE_SECONDS)
            self._not_before = time.monotonic() + pause
            outcome = f"another is started in {pause:g} s"
            self._last_words = record.failure or self._last_words
            if self._num_failed_starts >= MAX_FAILED_STARTS and not (self._records or self._has_served):
                self._has_failed, outcome = True, "no other is started"
        was = "was " if exit_code < 0 else ""
        said = f" ({record.failure})" if record.failure else ""
        logger.error("worker %d %s%s %s%s: %s", process_pid, was, describe_end(exit_code), where, said, outcome)
        if self._has_failed:
            logger.critical(
                "no worker could be started, %d times in a row: %s",
                self._num_failed_starts,
                self._last_words or "the lines above say why",
            )
        name = signal_name(exit_code) or NO_SIGNAL
        self._restarts[name] = self._restarts.get(name, 0) + 1
        if sum(watcher.numprocesses for watcher in self._services) > 1:
            tell_restarts(Path(tempfile.gettempdir()), self._restarts)  # the others live on, and are asked for metrics
        self._brief()

    def _is_any_up(self) -> bool:
        return any(record.is_up for record in self._records.values())

    def _close_port(self) -> None:
        """Refuse connections until a worker listens again: it does so itself, when it is ready to."""
        for each in self.sockets.values():
            with contextlib.suppress(OSError):  # it refuses already
                each.shutdown(socket.SHUT_RD)
            keep_port(each)
        self._read()
        if self._is_any_up():  # one listened just before, which says so first
            for each in self.sockets.values():
                share_port(each)
                each.listen(each.backlog)

    def _announce(self) -> None:
        if self._on_listening is None or self._stopping:
            return
        if all(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in self.sockets.values()):
            self._on_listening(", ".join(each.location for each in self.sockets.values()))
            self._on_listening = None
        else:
            self.loop.call_later(POLL_SECONDS, self._announce)


def supervise(
    on_listening: Callable[[str], object],
    verdicts: int | None = None,
    grpc_port: socket.socket | None = None,
    meters: int | None = None,
    shares: int | None = None,
    check_host: Callable[[str], object] = lambda _: None,
) -> None:
    """Have BentoML, which is about to start the workers of this process, look after them like that."""

    class Parent(Supervisor):
        def __init__(self, *args: Any, **options: Any) -> None:
            own: dict[str, Any] = {"on_listening": on_listening, "verdicts": verdicts, "grpc_port": grpc_port}
            super().__init__(*args, **own, meters=meters, shares=shares, check_host=check_host, **options)

    circus.Arbiter = Parent  # type: ignore[misc]  # the class that it makes the arbiter of
