"""Long work a slice at a time: whatever else the event loop has to do has its turn between two slices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")

SLICE_NUMBERS = 16_384
"""Numbers of Python's that become an array in one go, about half a millisecond; or are written as text."""

THREAD_BYTES = 1024 * 1024
"""What is larger is worth a thread, where that works without Python's lock."""

TURN_SECONDS = 0.003
"""How long something long may go on before others have their turn."""


class Pace:
    """The pace of something long, which is done piece by piece."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def rest(self) -> None:
        """Let others have their turn, where there was none for ``TURN_SECONDS``."""
        if time.perf_counter() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


async def in_turns(pieces: Iterable[object]) -> None:
    """Go through ``pieces``, each of which is some work that is done when it is asked for."""
    pace = Pace()
    for _ in pieces:
        await pace.rest()


async def to_numbers(rows: Any, least: int = SLICE_NUMBERS + 1) -> Any:
    """Rows as an array ``[n, F]`` of float64, NaN where a number is missing, which is what ``to_sequence`` reads as
    well; the rows themselves where they are fewer numbers than ``least``, or make no array, of which ``to_sequence``
    tells the place.
    """
    width = len(rows[0]) if len(rows) else 0
    if not width or len(rows) * width < least or not isinstance(rows, list):
        return rows
    array = np.empty((len(rows), width))
    num_rows = max(1, SLICE_NUMBERS // width)
    for start in range(0, len(rows), num_rows):
        part = rows[start : start + num_rows]
        try:
            # A row is written from a slice at a time, too: there are models with a million features.
            for first in range(0, width, SLICE_NUMBERS):
                end = min(first + SLICE_NUMBERS, width)
                array[start : start + num_rows, first:end] = (
                    part if end - first == width else [row[first:end] for row in part]
                )
                if array.size > SLICE_NUMBERS:
                    await asyncio.sleep(0)
        except (ValueError, OverflowError):
            return rows
        if any(len(row) != width for row in part):
            return rows
    return array


async def in_thread(num_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` gives; done in a thread where it is about many bytes."""
    if num_bytes <= THREAD_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
