"""A real server process, started for a test on a free port and stopped by its pid."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil

from ostinato.service.catalogue.trial import CHILD
from ostinato.tools.server_process import has_lost_port
from tests.waiting import PATIENCE_SECONDS

CHECKOUT = Path(__file__).resolve().parent.parent
START_SECONDS = 100.0
STOP_SECONDS = 60.0
PLAIN: dict[str, Any] = {"verify": False}
"""Of every client of a server here: none speaks TLS, and reading the system's certificates costs each 20 ms."""
LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=1.0)
"""A connection that was idle for longer is not used again: after 5 s the server closes it, perhaps just then."""
PORTS = range(10_000, 22_000)
"""Below the ports of outgoing connections, and so is each with 10,000 added, as a Redis cluster's node wants it."""
NUM_SHARES = 16


def _own_ports() -> Iterator[int]:
    """The share of the ports of this process among those that run tests, over and over, from one at random on."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % NUM_SHARES
    share = PORTS[number::NUM_SHARES]
    return itertools.islice(itertools.cycle(share), random.randrange(len(share)), None)


_ports = _own_ports()


def free_port(*offsets: int) -> int:
    """A TCP port that nobody listens on, as are those that lie ``offsets`` above it, and that no other process that
    runs tests is given. It stays free while the process that listens on it is killed and started again.

    It lies below those that the system gives to outgoing connections: clients that try again and again would
    otherwise, sooner or later, be connected from the very port that they try to reach.
    """
    return next(port for port in _ports if all(_is_free(port + offset) for offset in (0, *offsets)))


def _is_trial(process: psutil.Process) -> bool:
    """Whether it tries versions, as one does while a server starts."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return CHILD in process.cmdline()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


Server = TypeVar("Server", bound="ServerProcess")


class ServerProcess:
    """``bentoml serve`` of this checkout, or of ``target``, with settings by environment.

    It is a parent, which holds the port and starts a worker again that has died, and ``workers`` workers.

    Args:
        port: the port to listen on; None = any free one.
        environment: further variables.
        without: variables that it has not.

    Attributes:
        environment: all of them.
    """

    def __init__(
        self,
        repository: Path,
        home: Path,
        *,
        target: str = "ostinato.service.app:Ostinato",
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        without: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = home / f"server-{self.port}.log"
        self.environment = {
            **os.environ,
            "OSTINATO_REPOSITORY": str(repository),
            "OSTINATO_STATE": "memory://",
            # Tests send what nobody else does; tests/process/test_exposure.py is about the guard.
            "OSTINATO_OPEN": "true",
            "BENTOML_HOME": str(home / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "true",
            "HOME": str(home),
            **(environment or {}),
            **{f"OSTINATO_{name.upper()}": str(value) for name, value in settings.items()},
        }
        for name in without:
            self.environment.pop(name, None)
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        self._command = [sys.executable, "-m", "bentoml", "serve", target, *address]
        self.start()

    def start(self) -> None:
        """Start it, for the first time or again: on the same port, with the same settings."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=CHECKOUT, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self) -> str:
        """What the server has printed."""
        return self.log_path.read_text(errors="replace")

    def wait_until_ready(self, status: int = 200) -> httpx2.Response:
        """Wait until ``/readyz`` answers with ``status`` and the models have been read; return that answer."""
        give_up_at = time.monotonic() + START_SECONDS
        with httpx2.Client(timeout=5, trust_env=False, **PLAIN) as client:
            while time.monotonic() < give_up_at:
                if self.process.poll() is not None:
                    if has_lost_port(self.log_path):
                        self.start()
                        continue
                    raise AssertionError(f"the server exited with {self.process.returncode}:\n{self.log()}")
                with contextlib.suppress(httpx2.TransportError):
                    answer = client.get(f"{self.url}/readyz")
                    if answer.status_code == status and answer.json()["status"] != "starting":
                        return answer
                time.sleep(0.05)
        raise AssertionError(f"the server was not ready in {START_SECONDS:g} s:\n{self.log()}")

    def client(self) -> httpx2.Client:
        """A client that waits as long as a test may."""
        return httpx2.Client(base_url=self.url, timeout=PATIENCE_SECONDS, limits=LIMITS, **PLAIN)

    def async_client(self) -> httpx2.AsyncClient:
        """The same for an event loop."""
        return httpx2.AsyncClient(base_url=self.url, timeout=PATIENCE_SECONDS, limits=LIMITS, **PLAIN)

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The answer to a request on a connection of its own."""
        with self.client() as client:
            return client.request(method, path, **options)

    def get(self, path: str) -> httpx2.Response:
        """The same of a GET."""
        return self.request("GET", path)

    def post(self, path: str, json: object = None) -> httpx2.Response:
        """The same of a POST with a body of JSON, or without one."""
        return self.request("POST", path, json=json)

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(STOP_SECONDS)

    def workers(self) -> list[psutil.Process]:
        """The processes that serve; none where the server does not run."""
        return [process for process in self._children() if not _is_trial(process)]

    def _children(self) -> list[psutil.Process]:
        """The processes that it has started, and theirs."""
        try:
            return list(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Kill -9 every process of it at once: none is told, none can start another or go on alone."""
        if self.process.poll() is None:
            for process in self.pause():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()

    def pause(self) -> list[psutil.Process]:
        """Stop every process of it where it stands (SIGSTOP), the parent first; returns them."""
        self.process.send_signal(signal.SIGSTOP)
        stopped = [psutil.Process(self.process.pid), *self._children()]
        for worker in stopped[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.suspend()
        return stopped

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        for process in self._children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it if it runs; kill it if it does not stop."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, ready, for the length of a test."""
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def running_server(repository: Path, home: Path, **settings: Any) -> contextlib.AbstractContextManager[ServerProcess]:
    """A server of its own, ready, for the length of a test."""
    return running(ServerProcess(repository, home, **settings))
