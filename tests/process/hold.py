"""A server whose work stays under way for as long as a test wants, however fast or slow the machine is."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server import ServerProcess

HELD_FILE = "OSTINATO_TEST_HELD_FILE"
"""The variable that names the file whose lock holds back ``tests.process.held_service``."""


class HeldServer(ServerProcess):
    """A server of which a test can hold the iterations back: what was admitted then stays under way.

    They run in a thread, so that the server reads and answers meanwhile.
    """

    def __init__(self, repository: Path, home: Path, **settings: Any) -> None:
        path = home / "held"
        self._file = path.open("w")
        target, environment = "tests.process.held_service:Ostinato", {HELD_FILE: str(path)}
        super().__init__(repository, home, target=target, environment=environment, inline_run_seconds=0, **settings)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, and until ``release``, no iteration begins to run."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the iterations run; again does nothing."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def stop(self) -> None:
        """See ``ServerProcess.stop``."""
        self.release()
        super().stop()
        self._file.close()
