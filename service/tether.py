"""The tether: what ties a worker process to the parent that started it, so that it ends with it, and is explained.

It is one pair of sockets for all workers of a server. The parent alone has the one end, so the other is at its end as
soon as the parent is, however that came. Workers write to it what they load, which is still there to be read when the
kernel has killed the worker that wrote it. No disk is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

VARIABLE = "_OSTINATO_TETHER"
"""The variable by which the parent tells its workers of their end; for nobody to set."""
FAULTS = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP"})
"""Signals that a process brings upon itself."""
NO_SIGNAL = "none"
MAX_MESSAGE_BYTES = 16 * 1024
PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)


def keep_port(bound: socket.socket) -> None:
    """Let no other socket be bound to the port of one that does not listen."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def share_port(bound: socket.socket) -> None:
    """The other way round, before it listens: its connections are bound to the port, too, and the kernel remembers them
    for a minute, in which the next server could not have it.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def end_with_parent() -> None:
    """Have the kernel, where it can, kill this process when the thread that forked it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def signal_name(exit_code: int) -> str:
    """The name of the signal that ended a process; empty where none did."""
    if exit_code >= 0:
        return ""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def describe_end(exit_code: int) -> str:
    """How a process ended, as in "a worker was ..."; ``exit_code`` as Popen's."""
    name = signal_name(exit_code)
    hint = " (by the kernel, if memory was short)" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}" if name else f"ended with exit code {exit_code}"


class Release(NamedTuple):
    """One version of a model, as its files are.

    Attributes:
        mark: tells its files from others in the same place; another one, another version to try.
    """

    model: str
    version: str
    mark: str


class SetAside(NamedTuple):
    """A release that is not loaded again, and why."""

    release: Release
    reason: str


class Notice(msgspec.Struct):
    """What a worker tells its parent: that it loads a release or has, that it is about to listen, or why it cannot."""

    pid: int
    event: Literal["loading", "loaded", "started", "failed"]
    release: Release | None = None
    reason: str = ""


class Orders(msgspec.Struct):
    """What a parent hands to a worker at its start, besides the settings.

    Attributes:
        descriptor: of the worker's end.
        ports: descriptors of the sockets at which workers listen.
        restarts: how often a worker of this server was started in the place of one that ended, by the signal that ended
            it; ``NO_SIGNAL`` where none did.
        set_aside: releases at which workers died.
        verdicts: descriptor of what trials of releases found; None = each worker tries them itself.
        grpc_port: that the parent holds for gRPC; None = none.
        meters: descriptor of the memory in which workers count what keys ask for; None = there is none.
        shares: descriptor of that in which they tell how many connections they have; None = there is one worker.
    """

    descriptor: int
    ports: list[int] = []
    restarts: dict[str, int] = {}
    set_aside: list[SetAside] = []
    verdicts: int | None = None
    grpc_port: int | None = None
    meters: int | None = None
    shares: int | None = None

    def encode(self) -> str:
        """The value of ``VARIABLE``."""
        return msgspec.json.encode(self).decode()


class Tether:
    """A worker's end; one without a parent of ours has none, and is tied to nobody.

    Attributes:
        restarts, verdicts, grpc_port, meters, shares: see ``Orders``.
    """

    def __init__(self, orders: Orders | None = None) -> None:
        self._end: socket.socket | None = None
        self._ports = orders.ports if orders else []
        self.restarts = orders.restarts if orders else {}
        self.verdicts = orders.verdicts if orders else None
        self.grpc_port = orders.grpc_port if orders else None
        self.meters = orders.meters if orders else None
        self.shares = orders.shares if orders else None
        self._reasons = {aside.release: aside.reason for aside in orders.set_aside} if orders else {}
        if orders:
            with contextlib.suppress(OSError):  # no descriptor of ours: the variable was inherited from far above
                self._end = socket.socket(fileno=orders.descriptor)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Tether:
        """The end that the parent's variable names."""
        text = environment.get(VARIABLE)
        return cls(msgspec.json.decode(text, type=Orders) if text else None)

    def hold(self) -> None:
        """End this process as soon as its parent has ended, from now on, and at once where it has."""
        if self._end is None:
            return
        end_with_parent()  # whatever this process is busy with
        threading.Thread(target=self._end_with_parent, name="ostinato-tether", daemon=True).start()

    def why_set_aside(self, release: Release) -> str | None:
        """Why a release is not to be loaded; None = it may be."""
        return self._reasons.get(release)

    def tell(self, event: Literal["loading", "loaded"], release: Release) -> None:
        """Tell the parent; nothing is waited for."""
        self._send(Notice(os.getpid(), event, release))

    def tell_started(self) -> None:
        """Tell the parent, too, just before this worker listens."""
        for descriptor in self._ports:
            with socket.socket(fileno=os.dup(descriptor)) as port:
                share_port(port)
        self._send(Notice(os.getpid(), "started"))

    def fail(self, reason: str) -> None:
        """Tell the parent why this worker cannot start."""
        self._send(Notice(os.getpid(), "failed", reason=reason[: MAX_MESSAGE_BYTES // 8]))

    def _send(self, message: Notice) -> None:
        if self._end is not None:
            # A parent that is gone or does not read: the worker's work does not depend on it.
            with contextlib.suppress(OSError):
                self._end.send(msgspec.json.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _end_with_parent(self) -> None:
        assert self._end is not None
        while True:
            try:
                if self._end.recv(1):
                    continue
            except InterruptedError:
                continue
            except OSError:
                return
            os.kill(os.getpid(), signal.SIGKILL)
