"""Devices: where a graph runs and its sessions' states are, other than on the CPU among NumPy's arrays.

What a device takes and gives is a handful of verbs over one library of arrays. ``Device`` itself is the stand-in: its
library is NumPy and its memory the machine's, so that all that is built on it runs, and is tested, without a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT_BYTES = 64

Numbers = Any
"""An array of the device's own library."""


class Device:
    """A place for arrays, at which onnxruntime runs graphs.

    What is asked of it happens in the order in which it was asked; but not in that of onnxruntime, which has a stream
    of its own: ``synchronize`` before a run, and a run is over when it returns.

    Attributes:
        name: by which states say where they were made; another name may mean other bits.
        arrays: the library of arrays.
        memory: what onnxruntime calls its memory.
        providers: by which onnxruntime runs graphs there, the first one first.
    """

    name = "host"
    arrays: Any = np
    memory = "cpu"
    providers: Sequence[Any] = ("CPUExecutionProvider",)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Numbers:
        """An array of the device, of whatever is there."""
        return aligned_memory(int(np.prod(shape)), np.dtype(dtype).name).reshape(shape)

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """An array of the host, to and from which copies are quick."""
        return aligned_memory(int(np.prod(shape)), np.dtype(dtype).name).reshape(shape)

    def address(self, numbers: Numbers) -> int:
        """Where an array of the device begins."""
        return int(numbers.ctypes.data)

    def upload(self, numbers: NDArray[Any]) -> Numbers:
        """A copy on the device."""
        return np.array(numbers)

    def download(self, numbers: Numbers) -> NDArray[Any]:
        """A copy on the host, which is there when this returns."""
        return np.array(numbers)

    def write(self, numbers: Numbers, given: NDArray[Any]) -> None:
        """Fill an array of the device, which lies in one piece; ``given`` may change after ``synchronize``."""
        numbers[...] = given

    def read(self, numbers: Numbers, out: NDArray[Any]) -> None:
        """Fill an array of the host from one of the device, both of them in one piece; done when this returns."""
        out[...] = numbers

    def synchronize(self) -> None:
        """Wait until all that was asked has happened."""

    def are_finite(self, several: Sequence[Numbers]) -> bool:
        """Whether all numbers of all arrays are; of no array they are."""
        finite = [self.arrays.isfinite(numbers).all() for numbers in several]
        return not finite or bool(self.arrays.stack(finite).all())


def _open_cuda() -> Device:
    from ostinato.service.artifact.cuda import CudaDevice  # and CuPy with it, which is an extra's

    return CudaDevice()


OPENERS: dict[str, Callable[[], Device]] = {"cuda": _open_cuda}
"""What ``--device`` may say besides ``cpu``."""


def open_device(name: str) -> Device | None:
    """The device that a setting names, the same one for all of a process; None = the CPU, which needs none.

    Raises:
        ModuleNotFoundError: a library is missing; says which extra brings it.
        ValueError: there is no such device here; says what to do.
    """
    return None if name == "cpu" else _opened(OPENERS[name])


@functools.cache
def _opened(opener: Callable[[], Device]) -> Device:
    return opener()


def aligned_memory(num_values: int, dtype: str) -> NDArray[Any]:
    """Memory that begins where onnxruntime's own does, at a multiple of 64 bytes. Some of its sums and logarithms are
    rounded otherwise elsewhere (measured at 4 bytes off).
    """
    size = num_values * np.dtype(dtype).itemsize
    wide = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -wide.ctypes.data % ALIGNMENT_BYTES
    return wide[start : start + size].view(dtype)
