"""A Bento that is served as its image serves it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.server import free_port

BENTOML = Path(sys.executable).with_name("bentoml")


@contextlib.contextmanager
def served_bento(bento: Path, environment: dict[str, str], folder: Path, *, state: str) -> Iterator[httpx2.Client]:
    """A client of ``bentoml serve``, started in a folder that is empty, far from the project."""
    port, log = free_port(), folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(BENTOML), "serve", str(bento)],
            cwd=folder,
            env=environment | {"OSTINATO_PORT": str(port), "OSTINATO_STATE": state},
            stdout=output,
            stderr=output,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            _wait_until_ready(client, server, log)
            yield client
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=40)


def _wait_until_ready(client: httpx2.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the Bento is not ready:\n{log.read_text()}")
