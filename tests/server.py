"""A real server process, started for a test on a free port and stopped by its pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx

CHECKOUT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerProcess:
    """``bentoml serve`` of this checkout, or of ``target``, with settings by environment."""

    def __init__(self, repository: Path, home: Path, *, target: str = "service.app:Ostinato", **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = home / f"server-{self.port}.log"
        self._log: IO[bytes] = self.log_path.open("wb")
        environment = {
            **os.environ,
            "OSTINATO_REPOSITORY": str(repository),
            "BENTOML_HOME": str(home / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "true",
            "HOME": str(home),
            **{f"OSTINATO_{name.upper()}": str(value) for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=self._log, stderr=subprocess.STDOUT
        )

    def log(self) -> str:
        """What the server has printed."""
        return self.log_path.read_text(errors="replace")

    def wait_until_ready(self, status: int = 200) -> httpx.Response:
        """Wait until ``/readyz`` answers with ``status`` and the models have been read; return that answer."""
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            if self.process.poll() is not None:
                raise AssertionError(f"the server exited with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(f"{self.url}/readyz", timeout=5)
                if answer.status_code == status and answer.json()["status"] != "starting":
                    return answer
            time.sleep(0.05)
        raise AssertionError(f"the server was not ready in {START_SECONDS:g} s:\n{self.log()}")

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it if it runs; kill it if it does not stop."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


@contextlib.contextmanager
def running_server(repository: Path, home: Path, **settings: Any) -> Iterator[ServerProcess]:
    """A server that is ready, for the length of a test."""
    server = ServerProcess(repository, home, **settings)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
