"""Admission: what a scheduler takes in and what it refuses, until when, and whether its runs have a thread.

Both schedulers, of recurrent models and of those that generate, are admissions. What a row is differs: a block of one
step or many of a sequence, or a lane of the decoder.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ostinato.service.errors import Draining, OstinatoError, Overloaded, TooLarge, UnknownModel


class Admission:
    """Rows that were accepted and not yet handed back, counted against the most that there may be.

    Args:
        max_queue_rows: inclusive.
        unit: what users call the rows, in the plural.
        in_thread: whether iterations run in a thread; False runs them on the event loop itself, which is faster for
            small graphs.

    Attributes:
        num_rows: rows accepted and not yet handed back.
    """

    def __init__(self, max_queue_rows: int, *, unit: str, in_thread: bool) -> None:
        self._max_queue_rows = max_queue_rows
        self._unit = unit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ostinato-run") if in_thread else None
        self._is_draining = self._is_closed = False
        self._retired = ""
        self.num_rows = 0

    def __repr__(self) -> str:
        draining = ", draining" if self._is_draining else ""
        return f"<{type(self).__name__} {self.num_rows} of {self._max_queue_rows} {self._unit}{draining}>"

    @property
    def saturation(self) -> float:
        """The share of the queue that is taken."""
        return self.num_rows / self._max_queue_rows

    def admit(self, num_rows: int) -> None:
        """Refuse what would not fit, before anything was queued or changed.

        Raises:
            TooLarge: ``num_rows`` alone exceed ``max_queue_rows``.
            Overloaded: ``num_rows`` more would exceed ``max_queue_rows``.
            Draining, UnknownModel: no new work is taken: of this server, or of a version that is unloaded.
        """
        self._catch_up()
        if self._is_draining:
            raise self.stopped("the server is shutting down; try another replica, or this one after its restart")
        self.check_rows(num_rows)
        if self.num_rows + num_rows > self._max_queue_rows:
            raise Overloaded(
                f"{self.num_rows} of at most {self._max_queue_rows} {self._unit} are waiting; try again later"
            )
        self.num_rows += num_rows

    def check_rows(self, num_rows: int) -> None:
        """Refuse what could never be admitted, before any of it is read.

        Raises:
            TooLarge: ``num_rows`` alone exceed ``max_queue_rows``.
        """
        if num_rows > self._max_queue_rows:
            raise TooLarge(f"{num_rows} {self._unit} in one request; the most is {self._max_queue_rows}")

    def _catch_up(self) -> None:
        """What is to be done before more is admitted: nothing, unless a scheduler says what."""

    def check_room(self) -> None:
        """Refuse what would not fit however small it is, before its numbers are even read.

        Raises:
            Overloaded, Draining, UnknownModel: as ``admit``.
        """
        if self._is_draining or self.num_rows >= self._max_queue_rows:
            self.admit(1)
            self.leave(1)

    def leave(self, num_rows: int) -> None:
        """Undo ``admit`` for rows that were answered, or were never submitted."""
        self.num_rows -= num_rows

    def drain(self) -> None:
        """Take no new work from now on; what was admitted is finished."""
        self._is_draining = True

    def retire(self, why: str) -> None:
        """Take no new work from now on, which is told why; what was admitted is finished."""
        self._is_draining, self._retired = True, why

    def stopped(self, detail: str) -> OstinatoError:
        """The error of what is not taken, or not finished: that the server stops, in these words; or where only this
        version does, why.
        """
        return UnknownModel(self._retired) if self._retired else Draining(detail)

    def close(self) -> None:
        """Take no new work and begin no other run; wait for the run under way in the thread, and end that."""
        self.drain()
        self._is_closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=True)
