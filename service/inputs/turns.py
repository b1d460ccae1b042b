"""Long work a slice at a time: whatever else the event loop has to do has its turn between two slices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.service.inputs.integers import cast_whole, exact_array, has_wide

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


async def to_numbers(rows: Any, least: int = SLICE_NUMBERS + 1, dtype: str = "float32") -> Any:
    """Rows as an array ``[n, F]`` that holds each number as it is (see ``exact_array``), which is what ``to_sequence``
    reads as well; the rows themselves where they are fewer numbers than ``least``, or make no array, of which
    ``to_sequence`` tells the place.

    Args:
        dtype: of the model's input; empty = it is not known. For floats each number becomes one, of 64 bits.
    """
    width = len(rows[0]) if len(rows) else 0
    if not width or len(rows) * width < least or not isinstance(rows, list):
        return rows
    array, is_wide = np.empty((len(rows), width)), False
    try:
        for place, part in _slices(rows, width):
            array[place] = part
            is_wide = is_wide or (not dtype.startswith("float") and has_wide(part, array[place]))
            if array.size > SLICE_NUMBERS:
                await asyncio.sleep(0)
    except (ValueError, OverflowError):
        return rows
    return await _exact(rows, width) if is_wide else array


def is_of_objects(numbers: Any) -> bool:
    """Whether what ``to_numbers`` gave holds numbers for which no dtype has room: they are read on in turns, too."""
    return isinstance(numbers, np.ndarray) and numbers.dtype == object


async def _exact(rows: list[Any], width: int) -> NDArray[Any]:
    """Rows as int64 where that has room for each number, as objects else."""
    made = np.empty((len(rows), width), np.int64)
    for place, part in _slices(rows, width):
        made[place], lost = cast_whole(exact_array(part), "int64")
        if lost.any():
            return await _objects(rows, width)
        await asyncio.sleep(0)
    return made


async def _objects(rows: list[Any], width: int) -> NDArray[Any]:
    made = np.empty((len(rows), width), object)
    for place, part in _slices(rows, width):
        made[place] = part
        await asyncio.sleep(0)
    return made


def _slices(rows: list[Any], width: int) -> Iterator[tuple[Any, list[Any]]]:
    """Rows a slice at a time: where it is in an array of them, and the slice.

    Raises:
        ValueError: a row is of another width.
    """
    num_rows = max(1, SLICE_NUMBERS // width)
    for start in range(0, len(rows), num_rows):
        part = rows[start : start + num_rows]
        if any(len(row) != width for row in part):
            raise ValueError("rows of unlike lengths")
        # A row is taken a slice at a time, too: there are models with a million features.
        for first in range(0, width, SLICE_NUMBERS):
            end = min(first + SLICE_NUMBERS, width)
            is_whole = end - first == width
            yield np.s_[start : start + num_rows, first:end], part if is_whole else [row[first:end] for row in part]


async def in_thread(num_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` gives; done in a thread where it is about many bytes."""
    if num_bytes <= THREAD_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
