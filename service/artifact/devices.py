"""Devices: where a graph runs and its sessions' states are, other than on the CPU among NumPy's arrays.

What a device takes and gives is a handful of verbs over one library of arrays. ``Device`` itself is the stand-in: its
library is NumPy and its memory the machine's, so that all that is built on it runs, and is tested, without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT_BYTES = 64

DeviceNumbers = Any
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

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceNumbers:
        """An array of the device, of whatever is there."""
        return aligned_memory(int(np.prod(shape)), np.dtype(dtype).name).reshape(shape)

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """An array of the host, to and from which copies are quick."""
        return aligned_memory(int(np.prod(shape)), np.dtype(dtype).name).reshape(shape)

    def address(self, numbers: DeviceNumbers) -> int:
        """Where an array of the device begins."""
        return int(numbers.ctypes.data)

    def upload(self, numbers: NDArray[Any]) -> DeviceNumbers:
        """A copy on the device."""
        return np.array(numbers)

    def download(self, numbers: DeviceNumbers) -> NDArray[Any]:
        """A copy on the host, which is there when this returns."""
        return np.array(numbers)

    def write(self, numbers: DeviceNumbers, given: NDArray[Any]) -> None:
        """Fill an array of the device, which lies in one piece; ``given`` may change after ``synchronize``."""
        numbers[...] = given

    def read(self, numbers: DeviceNumbers, out: NDArray[Any]) -> None:
        """Fill an array of the host from one of the device, both of them in one piece; done when this returns."""
        out[...] = numbers

    def synchronize(self) -> None:
        """Wait until all that was asked has happened."""

    def are_finite(self, several: Sequence[DeviceNumbers]) -> bool:
        """Whether all numbers of all arrays are; of no array they are."""
        finite = [self.arrays.isfinite(numbers).all() for numbers in several]
        return not finite or bool(self.arrays.stack(finite).all())


def aligned_memory(num_values: int, dtype: str) -> NDArray[Any]:
    """Memory that begins where onnxruntime's own does, at a multiple of 64 bytes. Some of its sums and logarithms are
    rounded differently elsewhere (measured at 4 bytes off).
    """
    size = num_values * np.dtype(dtype).itemsize
    wide = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -wide.ctypes.data % ALIGNMENT_BYTES
    return wide[start : start + size].view(dtype)
