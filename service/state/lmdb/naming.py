"""Naming: a segment's file is on the disk, under its name, before the database says that the journal begins with it."""

from __future__ import annotations

import os
from pathlib import Path

from ostinato.service.state.lmdb.segment import begin_file, segment_path


class Naming:
    """The files of segments that are on the disk, as far as their beginning.

    To be named as long as nobody appends to it is cheap: later, all that it holds by then goes to the disk with it, and
    anyone who appends waits for that.

    Args:
        folder: of the journal.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}

    def name(self, number: int) -> None:
        """Have a segment's file on the disk; may be called in a thread.

        Raises:
            OSError: it is not.
        """
        path = segment_path(self._folder, number)
        if self._is_named(number, path):
            return
        self.forget(number, number)
        file = begin_file(path, number, is_new=True)
        try:
            os.fsync(file)
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            os.close(file)
            raise
        self._files[number] = file

    def forget(self, first: int, last: int) -> None:
        """Let go of the files of segments."""
        for number in [number for number in self._files if first <= number <= last]:
            os.close(self._files.pop(number))

    def _is_named(self, number: int, path: Path) -> bool:
        """Whether the file with that name is the one that was put on the disk: a process that opens the folder takes
        away what nobody has appended to.
        """
        file = self._files.get(number)
        try:
            return file is not None and os.path.samestat(os.fstat(file), path.stat())
        except FileNotFoundError:
            return False
