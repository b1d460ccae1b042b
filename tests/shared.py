"""A folder for what all workers of one test run use and one of them builds."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable
from pathlib import Path


class Shared:
    """Folders that are built once in a test run, by the first worker that asks for them.

    Args:
        folder: the same for all workers of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def directory(self, name: str, build: Callable[[Path], object]) -> Path:
        """The folder that ``build`` has filled; it is only read. What fails to build is built anew by the next."""
        place = self._folder / name
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                begun = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._folder))
                build(begun)
                begun.rename(place)
        return place
