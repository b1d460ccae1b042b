"""Processes of the demo: mosquitto and ``ostinato connect``, each started, killed and started again, and ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ostinato.errors import CommandError

PATIENCE_SECONDS = 60.0


class ChildProcess:
    """A process whose output goes to a file. A context manager, which ends it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ChildProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, for the first time or again."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and wait; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(PATIENCE_SECONDS)
            self._process.kill()
        return self._process.wait()

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for an event while it runs.

        Raises:
            CommandError: it ended before, or it took too long; tells the last it said.
        """
        assert self._process is not None
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                words = self.log.read_text(errors="replace").splitlines()[-10:]
                raise CommandError("\n  ".join([f"waited in vain for {what}; last words:", *words]))
            time.sleep(0.05)


def mosquitto(folder: Path, port: int) -> ChildProcess:
    """The broker, on this machine alone; it keeps sessions in memory.

    Raises:
        CommandError: it is not installed.
    """
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), "/usr/sbin"])
    program = shutil.which("mosquitto", path=places)
    if program is None:
        raise CommandError(
            "the MQTT broker mosquitto is not on PATH: install it, on Debian and Ubuntu by `apt-get install mosquitto`"
        )
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\nmax_inflight_messages 0\n"
    )
    return ChildProcess([program, "-c", str(config)], folder / "mosquitto.log")


def connector(config: Path) -> ChildProcess:
    """``ostinato connect``."""
    return ChildProcess([sys.executable, "-m", "ostinato.cli", "connect", str(config)], config.with_suffix(".log"))


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
