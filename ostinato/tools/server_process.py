"""The service as a child process: started, waited for, told to stop, or killed and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import psutil

from ostinato.errors import ServiceUnreachable

POLL_SECONDS = 0.1
KILL_POLL_SECONDS = 0.01
LOST_PORT = "zmq.error.ZMQError: Address already in use"


class ServerProcess:
    """``ostinato serve`` in a process of its own, on a free port of this machine. A context manager.

    Args:
        repository: the models that it serves.
        log: the file that takes what it prints.
        settings: further settings by their names in ``ostinato.service.config``.
        start_seconds: how long it may take until it is ready.
        stop_seconds: how long it may take to end after SIGTERM; then it is killed.
    """

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        settings: Mapping[str, object] | None = None,
        start_seconds: float = 60.0,
        stop_seconds: float = 60.0,
    ) -> None:
        self._start_seconds, self._stop_seconds = start_seconds, stop_seconds
        self.log = log
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "ostinato.cli", "serve", "--repository", str(repository)]
        for name, value in {"host": "127.0.0.1", "port": port, **(settings or {})}.items():
            self._command += [f"--{name.replace('_', '-')}", str(value)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        self.log.unlink(missing_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, for the first time or again: on the same port, with the same settings."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill -9 all its processes at once: none is told, none can start another or go on alone."""
        assert self._process is not None
        if self._process.poll() is None:
            # Stopped first, so that it starts no worker that is not among those killed.
            self._process.send_signal(signal.SIGSTOP)
            workers = psutil.Process(self._process.pid).children(recursive=True)
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            self._process.kill()
            while any(map(_runs, workers)):
                time.sleep(KILL_POLL_SECONDS)
        self._process.wait()

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait for ``/readyz``; returns what it says.

        Raises:
            ServiceUnreachable: the server ended, found no sound model, or took too long; tells its log's last lines.
        """
        assert self._process is not None
        give_up_at = time.monotonic() + self._start_seconds
        with httpx2.Client(trust_env=False, verify=False, timeout=5.0) as http:
            while time.monotonic() < give_up_at:
                if self._process.poll() is not None:
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
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        raise ServiceUnreachable("the service did not become ready; its last words:\n  " + "\n  ".join(lines))

    def stop(self) -> int:
        """Tell it to drain and wait for its end; returns the exit status, negative where it had to be killed."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()


def _runs(process: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has asked for yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


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
