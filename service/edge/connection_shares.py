"""Connection shares: how many connections each worker of a server has, in memory that the workers share."""

from __future__ import annotations

import fcntl
import mmap
import os

CELL_BYTES = 8


def shared_memory(num_workers: int) -> int:
    """The descriptor of memory for the shares, which processes that are started from here inherit."""
    descriptor = os.memfd_create("ostinato-shares")
    os.ftruncate(descriptor, num_workers * CELL_BYTES)
    os.set_inheritable(descriptor, True)
    return descriptor


class ConnectionShares:
    """The connections of this worker, next to those of the others.

    A worker has a cell that no other living process holds. The number in it is one more than the worker's connections,
    and 0 where it takes none; what a worker that was killed left there stays until its successor has the cell.

    Args:
        descriptor: of the memory; this worker lets go of its cell when that is closed, or this object thrown away.
            None = there are no others.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._cells = memoryview(bytearray()).cast("q")
        self._place: int | None = None
        if descriptor is not None:
            size = os.fstat(descriptor).st_size
            self._cells = memoryview(mmap.mmap(descriptor, size)).cast("q")
            self._place = next((place for place in range(len(self._cells)) if _has_taken(descriptor, place)), None)
        self.leave()

    def tell(self, num_connections: int) -> None:
        """Tell the others how many connections this worker has, and that it takes more."""
        if self._place is not None:
            self._cells[self._place] = num_connections + 1

    def leave(self) -> None:
        """Tell the others that this worker takes no more."""
        self.tell(-1)

    def is_another_due(self, num_connections: int) -> bool:
        """Whether another worker, which takes connections, has fewer than ``num_connections``."""
        cells = enumerate(self._cells)
        return any(0 < number <= num_connections for place, number in cells if place != self._place)


def _has_taken(descriptor: int, place: int) -> bool:
    """Whether this process holds the cell from now on, of which the kernel lets go when the process ends."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, CELL_BYTES, place * CELL_BYTES)
    except OSError:
        return False
    return True
