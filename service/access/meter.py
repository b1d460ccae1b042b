"""Meters: how many steps a second a key may ask for, over all workers of a server.

By the generic cell rate algorithm (ITU-T I.371): each key has a moment, ``even_at``, at which all that it has asked
for is even with its rate. What is asked for moves it on by that over the rate; while it is more than
``BURST_SECONDS`` ahead of now, the key waits. So a request of any size is let through when the key has waited for the
one before, and the rate is kept in the long run.

What is refused, or not run for another reason, is not counted.

The workers share these moments in memory that their parent made. Each is one number of eight bytes, read and written
whole and without a lock: of two workers that are asked within the same microsecond, one may not be counted.
"""

from __future__ import annotations

import math
import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.key import Key
from ostinato.service.errors import OstinatoError, RateLimited, RunFailed, StateStoreUnavailable

BURST_SECONDS = 1.0
NUM_ROWS = 4096
"""Keys with a rate that have a row of their own; further ones share theirs with others."""
MOST_STEPS = 2**32
"""More are not asked for in earnest, and a moment so far off would have no digits left for the next step."""
_ROW = np.dtype([("name", "<u8"), ("digest", "<u8"), ("rate", "<f8"), ("even_at", "<f8")])
NUM_BYTES = NUM_ROWS * _ROW.itemsize


def shared_memory() -> int:
    """The descriptor of memory for the meters, which processes that are started from here inherit."""
    descriptor = os.memfd_create("ostinato-meters")
    os.ftruncate(descriptor, NUM_BYTES)
    os.set_inheritable(descriptor, True)
    return descriptor


HAS_RUN = (RunFailed, StateStoreUnavailable)
"""Errors of what was run, though nothing came of it."""


class Meter:
    """What counts the steps that somebody asks for; this one counts none.

    Attributes:
        burst: steps that may come at once.
    """

    burst = 0

    def check(self) -> None:
        """Refuse what asks for more just now.

        Raises:
            RateLimited: too many steps were asked for lately; tells when to come back.
        """

    def take(self, num_steps: int) -> None:
        """Count steps before they are run; raises as ``check``."""
        self.check()
        self.count(num_steps)

    def count(self, num_steps: int) -> None:
        """Count steps that were run, whose number was not known before; fewer than none were counted before and not
        run.
        """

    def count_failed(self, num_steps: int, error: BaseException) -> None:
        """Steps that were counted have failed: those that were refused are not counted, and those that ran are."""
        if isinstance(error, OstinatoError) and not isinstance(error, HAS_RUN):
            self.count(-num_steps)

    @contextmanager
    def asked(self, num_steps: int) -> Iterator[None]:
        """``take``, for steps that are run within this; what is refused there is not counted."""
        self.take(num_steps)
        try:
            yield
        except BaseException as error:
            self.count_failed(num_steps, error)
            raise

    @contextmanager
    def making(self, most_steps: int, made: Callable[[], int]) -> Iterator[None]:
        """Steps are made within this of which only the most is known. Meanwhile they count as a burst at most, so that
        not many are begun at once; and then as what was ``made``, however it ended.
        """
        held = min(most_steps, self.burst)
        self.take(held)
        try:
            yield
        finally:
            self.count(made() - held)


UNMETERED = Meter()


class _KeyMeter(Meter):
    """The meter of a key with a rate; ``even_at`` [1] is the moment that the workers share."""

    def __init__(self, rate: float, even_at: NDArray[np.float64], clock: Callable[[], float]) -> None:
        self._rate = rate
        self.burst = math.ceil(rate * BURST_SECONDS)
        self._even_at = even_at
        self._clock = clock

    def check(self) -> None:
        """See ``Meter``."""
        ahead = float(self._even_at[0]) - self._clock()
        if ahead >= BURST_SECONDS:
            wait = math.floor(ahead - BURST_SECONDS) + 1
            raise RateLimited(
                f"this key may ask for {self._rate:g} steps a second, and has asked for more lately", wait
            )

    def count(self, num_steps: int) -> None:
        """See ``Meter``."""
        even_at, now = float(self._even_at[0]), self._clock()
        if num_steps > 0:
            self._even_at[0] = max(even_at, now) + min(num_steps, MOST_STEPS) / self._rate
        else:
            self._even_at[0] = even_at - min(-num_steps, MOST_STEPS) / self._rate


class Meters:
    """The moments of all keys.

    Args:
        descriptor: of the memory that the workers share; None = there is one worker.
        clock: seconds, the same for all processes of this machine.
    """

    def __init__(self, descriptor: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        memory = mmap.mmap(-1 if descriptor is None else descriptor, NUM_BYTES)
        self._rows = np.frombuffer(memory, _ROW)
        self._clock = clock
        self._places: dict[str, int] = {}

    def meter_of(self, key: Key) -> Meter:
        """The meter of a key."""
        if key.rate is None:
            return UNMETERED
        place = self._places.get(key.name)
        if place is None:
            place = self._places[key.name] = self._place_of(key.name)
        self._adapt(place, key)
        return _KeyMeter(key.rate, self._rows["even_at"][place : place + 1], self._clock)

    def _adapt(self, place: int, key: Key) -> None:
        """Have what a key has asked for count by its rate of today; of another key of this name, not at all."""
        assert key.rate is not None
        row = self._rows[place]
        digest = int.from_bytes(key.digest[:8], "little")
        if row["digest"] != digest:
            row["digest"], row["rate"], row["even_at"] = digest, key.rate, 0.0
        elif row["rate"] != key.rate:
            ahead = max(0.0, float(row["even_at"]) - self._clock())
            row["even_at"] = self._clock() + ahead * float(row["rate"]) / key.rate
            row["rate"] = key.rate

    def _place_of(self, name: str) -> int:
        """The row of a key: that which has its name, or the next free one."""
        encoded = name.encode()
        mark = zlib.crc32(encoded) << 32 | zlib.crc32(encoded[::-1]) | 1
        names = self._rows["name"]
        for number in range(NUM_ROWS):
            place = (mark + number) % NUM_ROWS
            if names[place] == 0:
                names[place] = mark
            if names[place] == mark:
                return place
        return mark % NUM_ROWS
