"""Rows of a device: an array there as everybody holds it who does not compute with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ostinato.service.artifact.devices import Device


class DeviceRows:
    """Rows ``[R, ...]`` that stay on the device as long as nobody wants their numbers.

    Picked, copied and handed on as an array of NumPy is. A single row, and what NumPy is to make an array of, as for a
    record, comes to the host, and is a copy.
    """

    def __init__(self, numbers: Any, device: Device) -> None:
        self.numbers = numbers
        self._device = device

    @classmethod
    def zeros(cls, num_rows: int, row_shape: Sequence[int], dtype: DTypeLike, device: Device) -> DeviceRows:
        """Rows of zeros; raises MemoryError where there is no room for them."""
        return cls(device.arrays.zeros((num_rows, *row_shape), dtype), device)

    @classmethod
    def of(cls, rows: Any, dtype: DTypeLike, device: Device) -> DeviceRows:
        """Rows that are there already, or a copy of those of the host."""
        return rows if isinstance(rows, cls) else cls(device.upload(np.asarray(rows, dtype)), device)

    def __repr__(self) -> str:
        return f"<DeviceRows {list(self.shape)} of {self.dtype} on {self._device.name}>"

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        """One row ``[...]`` on the host, by its number; or some, on the device: by a slice, numbers or a mask."""
        if isinstance(index, (int, np.integer)):
            return self._device.download(self.numbers[int(index)])
        if isinstance(index, slice):
            return DeviceRows(self.numbers[index], self._device)
        rows = np.asarray(index)
        rows = rows.nonzero()[0] if rows.dtype == np.bool_ else rows.astype(np.int64)
        return DeviceRows(self.numbers[self._device.upload(rows)], self._device)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it on the host."""
        if copy is False:
            raise ValueError("what is on a device is copied to the host")
        return self._device.download(self.numbers).astype(dtype or self.dtype, copy=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return tuple(self.numbers.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of an array."""
        dtype: np.dtype[Any] = self.numbers.dtype
        return dtype

    def tobytes(self) -> bytes:
        """As of an array, on the host."""
        return np.asarray(self).tobytes()

    def copy(self) -> DeviceRows:
        """A copy on the device."""
        return DeviceRows(self.numbers.copy(), self._device)

    def gather(self, slots: Any, out: DeviceRows) -> None:
        """Copy the rows ``slots``, int64 ``[B]`` of the device, into ``out`` [B, ...]."""
        self.numbers.take(slots, axis=0, out=out.numbers)

    def scatter(self, slots: Any, given: DeviceRows) -> None:
        """Put ``given`` [B, ...] into the rows ``slots``, int64 ``[B]`` of the device; undoes ``gather``."""
        self.numbers[slots] = given.numbers

    def put(self, slot: int, row: Any) -> None:
        """Put one row there, of the host or of the device."""
        self.numbers[slot] = self._device.upload(row) if isinstance(row, np.ndarray) else row
