"""A child process: started, waited for, told to stop, or killed and started again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ostinato.errors import CommandError

POLL_SECONDS = 0.05
KILL_POLL_SECONDS = 0.01


class ChildProcess:
    """A process whose output goes to a file. A context manager, which ends it.

    Args:
        log: the file that takes what it prints; it is emptied where the context begins.
        stop_seconds: how long it may take to end after SIGTERM; then it is killed.
    """

    def __init__(self, command: Sequence[str], log: Path, *, stop_seconds: float = 60.0) -> None:
        self._command = list(command)
        self._stop_seconds = stop_seconds
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.unlink(missing_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process that was started last; its children are its own affair."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        assert self._process is not None
        return self._process.poll() is not None

    def start(self) -> None:
        """Start it, for the first time or again, by the same command."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill -9 all its processes at once: none is told, none can start another or go on alone."""
        assert self._process is not None
        if self._process.poll() is None:
            # Stopped first, so that it starts no child that is not among those killed.
            self._process.send_signal(signal.SIGSTOP)
            children = psutil.Process(self._process.pid).children(recursive=True)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._process.kill()
            while any(map(_runs, children)):
                time.sleep(KILL_POLL_SECONDS)
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and wait; returns the exit status, negative where it had to be killed."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def wait_until(self, is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for an event while it runs.

        Raises:
            CommandError: it ended before, or it took too long; tells the last it said.
        """
        give_up_at = time.monotonic() + seconds
        while not is_so():
            if self.has_ended or time.monotonic() > give_up_at:
                waited = f"waited without success for {what}; last words:"
                raise CommandError("\n  ".join([waited, *self.last_words(10)]))
            time.sleep(POLL_SECONDS)

    def last_words(self, count: int) -> list[str]:
        """The last lines that it said."""
        return self.log.read_text(errors="replace").splitlines()[-count:]


def _runs(process: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has asked for yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
