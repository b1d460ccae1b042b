"""Processes of the demo: mosquitto and ``ostinato connect``, each started, killed and started again, and ended."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

from ostinato.errors import CommandError
from ostinato.tools.child_process import ChildProcess

PATIENCE_SECONDS = 60.0


def program_at(name: str) -> str | None:
    """Where a program is: on PATH, by this interpreter, or where Debian has servers; None = nowhere."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), "/usr/sbin"])
    return shutil.which(name, path=places)


def mosquitto(folder: Path, port: int) -> ChildProcess:
    """The broker, on this machine alone; it keeps sessions in memory.

    Raises:
        CommandError: it is not installed.
    """
    program = program_at("mosquitto")
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
