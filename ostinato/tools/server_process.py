"""The service as a child process: started, waited for, told to stop, or killed and started again."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from ostinato.errors import ServiceUnreachable
from ostinato.tools.child_process import ChildProcess

POLL_SECONDS = 0.1
LOST_PORT = "zmq.error.ZMQError: Address already in use"


class ServerProcess(ChildProcess):
    """``ostinato serve`` in a process of its own, on a free port of this machine. A context manager.

    Args:
        repository: the models that it serves.
        log: the file that takes what it prints.
        settings: further settings by their names in ``ostinato.service.config``.
        start_seconds: how long it may take until it is ready; a busy machine checks some models for minutes.
        stop_seconds: how long it may take to end after SIGTERM; then it is killed.
    """

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        settings: Mapping[str, object] | None = None,
        start_seconds: float = 300.0,
        stop_seconds: float = 60.0,
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "ostinato.cli", "serve", "--repository", str(repository)]
        for name, value in {"host": "127.0.0.1", "port": port, **(settings or {})}.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        super().__init__(command, log, stop_seconds=stop_seconds)
        self._start_seconds = start_seconds

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait for ``/readyz``; returns what it says.

        Raises:
            ServiceUnreachable: the server ended, found no sound model, or took too long; tells its log's last lines.
        """
        give_up_at = time.monotonic() + self._start_seconds
        with httpx2.Client(trust_env=False, verify=False, timeout=5.0) as http:
            while time.monotonic() < give_up_at:
                if self.has_ended:
                    if not has_lost_port(self.log):
                        break
                    self.start()
                with contextlib.suppress(httpx2.TransportError, ValueError):
                    answer: dict[str, Any] = http.get(f"{self.url}/readyz").json()
                    if answer["status"] == "ready":
                        return answer
                    if answer["status"] == "failed":
                        break
                time.sleep(POLL_SECONDS)
        lines = self.last_words(15)
        raise ServiceUnreachable("the service did not become ready; its last words:\n  " + "\n  ".join(lines))


def has_lost_port(log: Path) -> bool:
    """Whether a server has ended because of a port that BentoML picked for itself and another process took before
    BentoML listened there: it starts if it is started again.
    """
    lines = log.read_text(errors="replace").splitlines()
    return bool(lines) and lines[-1].startswith(LOST_PORT)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
