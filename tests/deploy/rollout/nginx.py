"""nginx with the configuration that we ship, in front of replicas of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import httpx2

from tests.deploy.rendering import DEPLOY
from tests.server import PLAIN, free_port

CONFIGURATION = DEPLOY / "nginx" / "nginx.conf"
START_SECONDS = 10.0
SERVER = re.compile(r"server ostinato-1:(\d+)(.*);\n(?:\s*server ostinato-\d:.*\n)+")
NOBODY = "127.0.0.1:1"
"""Where no replica is."""


def nginx_executable() -> str:
    """Where nginx is.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        raise FileNotFoundError("there is no nginx: install Debian's package nginx-light")
    return found


def configuration(folder: Path, port: int, grpc_port: int, replicas: Iterable[int], *, is_hashing: bool) -> str:
    """What we ship, with the ports of this machine; each replica has HTTP only."""
    text = CONFIGURATION.read_text()
    addresses = [f"127.0.0.1:{each}" for each in replicas] or [NOBODY]

    def servers(found: re.Match[str]) -> str:
        here = addresses if found[1] == "3000" else [NOBODY]
        return "".join(f"server {address}{found[2]};\n" for address in here)

    text, count = SERVER.subn(servers, text)
    assert count == 2, "the replicas stand otherwise in the configuration"
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace(
        "listen 8081", f"listen 127.0.0.1:{grpc_port}"
    )
    text = text.replace("/tmp/nginx", f"{folder}/nginx")
    return text if is_hashing else re.sub(r"\n\s*hash .*;", "", text)


class Nginx:
    """It, with the replicas that are its at the moment.

    Args:
        folder: for what it writes.
        is_hashing: whether a session's requests go to one replica, as far as there is a reason not to.
    """

    def __init__(self, folder: Path, *, is_hashing: bool) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        self._folder, self._is_hashing = folder, is_hashing
        self._file = folder / "nginx.conf"
        self.port, self._grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, replicas: Iterable[int]) -> None:
        """Start it, and wait until it answers."""
        self._write(replicas)
        with (self._folder / "nginx.log").open("ab") as log:
            command = [nginx_executable(), "-c", str(self._file), "-g", "daemon off;"]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                assert httpx2.get(self.url, trust_env=False, **PLAIN).status_code == 404
                return
            except httpx2.TransportError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < give_up_at, self.log()
                time.sleep(0.02)

    def lead_to(self, replicas: Iterable[int]) -> None:
        """Have it know of these replicas and no others; what is under way is answered by whom it was sent to."""
        self._write(replicas)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(START_SECONDS)

    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "nginx.log").read_text(errors="replace")

    def _write(self, replicas: Iterable[int]) -> None:
        ports = (self.port, self._grpc_port)
        self._file.write_text(configuration(self._folder, *ports, replicas, is_hashing=self._is_hashing))
