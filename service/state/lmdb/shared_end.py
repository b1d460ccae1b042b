"""The shared end: where the journal's entries end, for the processes of a folder to compare with what they see of them.

It is never synced, so it holds for the run of the machine in which it was written, and tells nothing after another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ostinato.service.state.lmdb.entries import BOOT
from ostinato.service.state.lmdb.segment import Segment

LOCK_FILE = "journal.lock"
_END = struct.Struct("<QQQ")
"""A segment's number, where its last entry ends, and the run of the machine in which that was so."""


class SharedEnd:
    """The end that anyone who appends moves, with the lock of the folder held.

    Args:
        lock: the file that is locked; it holds the end, too.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def put(self, segment: Segment) -> None:
        """It is where this segment ends."""
        with contextlib.suppress(OSError):  # what was appended is there, whether this is known or not
            os.pwrite(self._lock, _END.pack(segment.number, segment.end, BOOT), 0)

    def get(self) -> tuple[int, int]:
        """Number of a segment, and its end; both at once only while the lock is held. (0, 0) = it is not known."""
        number, end, boot = _END.unpack(os.pread(self._lock, _END.size, 0).ljust(_END.size, b"\0"))
        return (number, end) if BOOT and boot == BOOT else (0, 0)

    def is_behind(self, segment: Segment) -> bool:
        """Whether there is more than what is read of a segment, which is the last."""
        return self.get() > (segment.number, segment.end)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from opening the folder, and from appending, meanwhile."""
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
