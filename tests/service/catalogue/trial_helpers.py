"""Functions that a trial's child is asked, for tests."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys

from ostinato.export.errors import ExportError


def die(number: int) -> None:
    """Of a signal."""
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)
    signal.pause()


def die_saying(words: str) -> None:
    """As C++ does."""
    sys.stderr.write(words)
    sys.stderr.flush()
    os.abort()


def warn(words: str) -> str:
    """In the log of the package."""
    logging.getLogger("ostinato.tests").warning("%s", words)
    return "done"


def refuse() -> None:
    """With an error of the exporters."""
    raise ExportError("refused")


def have_no_descriptors() -> None:
    """Open a file where none may be."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    os.open("/", os.O_RDONLY)


def take(num_bytes: int) -> int:
    """Memory."""
    return len(bytearray(num_bytes))
