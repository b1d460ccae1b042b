"""A Redis of this machine, for as long as something is measured with it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ostinato.errors import ServiceUnreachable
from ostinato.tools.server_process import free_port

START_SECONDS = 20.0
POLL_SECONDS = 0.02


@contextlib.contextmanager
def redis_process(program: str, folder: Path) -> Iterator[str]:
    """The address of a Redis that logs its writes as one in production does, and is ended behind it.

    Raises:
        ServiceUnreachable: it does not answer.
    """
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--daemonize", "no"]
    command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        give_up_at = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise ServiceUnreachable(f"{program} does not answer")
            time.sleep(POLL_SECONDS)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
