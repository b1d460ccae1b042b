"""uvicorn's HTTP connection as far as it reads: what comes in very small parts is read a slice at a time."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

from ostinato.service.edge.answering_connection import AnsweringConnection
from ostinato.service.inputs.turns import TURN_SECONDS

SLICE_BYTES = 32_768
"""What is read in one go: as a body in the smallest chunks, or as the smallest requests, some milliseconds of work."""


class Reading(Enum):
    """What of a request is being read."""

    NONE = 0
    HEAD = 1
    BODY = 2


class ReadingConnection(AnsweringConnection):
    """One connection; the arguments are uvicorn's.

    Most of what is read at once is one part of one body, and is looked at in one turn of the event loop. A quarter of a
    megabyte of chunks of one byte would take a hundred times as long.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # What came and was not all looked at, up to where it was, and whether it is just now.
        self._unread = b""
        self._num_looked_at = 0
        self._is_slicing = False

    def read_in_slices(self, data: bytes) -> None:
        """Look at ``data``, or at the first of it: at the rest when others have had their turn."""
        if self._unread:
            self._unread += data
            self.transport.pause_reading()
        else:
            self._unread = data
            self._read_slices()

    def take_rest(self) -> bytes:
        """What came behind the slice that is looked at, which somebody else will look at."""
        rest = self._unread[self._num_looked_at :]
        if rest:
            self._forget_unread()
        return rest

    def _read_slices(self) -> None:
        ends_at = time.perf_counter() + TURN_SECONDS
        while self._unread and not self.transport.is_closing():
            start, self._num_looked_at = self._num_looked_at, self._num_looked_at + SLICE_BYTES
            data = self._unread[start : self._num_looked_at]
            if self._num_looked_at >= len(self._unread):
                # Before the last slice, which may have reasons of its own to read no more.
                self._forget_unread()
            self._is_slicing = True
            try:
                self.data_received(data)
            finally:
                self._is_slicing = False
            if self._unread and time.perf_counter() > ends_at:
                self.transport.pause_reading()
                self.loop.call_soon(self._read_slices)
                return
        self._unread, self._num_looked_at = b"", 0

    def _forget_unread(self) -> None:
        """All was looked at: read on, unless a body waits to be taken."""
        self._unread, self._num_looked_at = b"", 0
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
