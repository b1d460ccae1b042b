"""A server in a process of its own on the server's core: started, waited for, watched, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import SubjectFailed
from ostinato.tools.server_process import has_lost_port

SERVER_CORE = 0
LOAD_CORE = 1
MORE_CORE = 2 if (os.cpu_count() or 1) > 2 else LOAD_CORE
"""The second core of servers that have two; the load's, too, where there is no third."""
START_SECONDS = 120.0
STOP_SECONDS = 20.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Use(NamedTuple):
    """What a process and its children have used: processor seconds, and bytes of memory now."""

    cpu_seconds: float
    rss_bytes: int


class Process:
    """A pinned command, its output in a log.

    Args:
        is_ready: tells whether it answers; asked until it says so.
        cores: where it runs, as ``taskset`` takes them.
        environment: variables in addition to those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        is_ready: Callable[[], bool],
        *,
        cores: str = f"{SERVER_CORE}",
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.command = ["taskset", "-c", cores, *command]
        self.log = log
        self._is_ready = is_ready
        self._folder, self._environment = folder, {**os.environ, **(environment or {})}
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.started_at = time.perf_counter()
        with self.log.open("wb") as output:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environment,
            )

    @property
    def pid(self) -> int:
        """The process that was started; its children are its own affair."""
        return self._process.pid

    def wait_until_ready(self, poll_seconds: float = 0.01) -> float:
        """Wait until it answers; returns the seconds since its start.

        Raises:
            SubjectFailed: it ended, or took too long; tells its log's last lines.
        """
        while time.perf_counter() < self.started_at + START_SECONDS:
            if self._process.poll() is not None:
                if not has_lost_port(self.log):
                    break
                self._process = self._start()
            if self._is_ready():
                return time.perf_counter() - self.started_at
            time.sleep(poll_seconds)
        self.stop()
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        raise SubjectFailed("it did not become ready; its last words: " + " | ".join(lines))

    def use(self) -> Use:
        """What it and its children use now."""
        cpu_ticks = pages = 0
        for pid in self._family(self.pid):
            with contextlib.suppress(OSError):
                # The name in parentheses may hold spaces; the fields behind it are numbered from 3.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu_ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
        return Use(cpu_ticks / TICKS, pages * PAGE_BYTES)

    def stop(self) -> None:
        """Ask it to end; kill it and its children if it does not."""
        if self._process.poll() is None:
            family = self._family(self.pid)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(family)
        self._process.wait()

    def kill(self) -> None:
        """Kill it and its children, without a word."""
        _kill(self._family(self.pid))
        self._process.wait()

    def _family(self, pid: int) -> list[int]:
        found = [pid]
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in children.read_text().split():
                    found += self._family(int(child))
        return found


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
