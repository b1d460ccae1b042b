"""The arena of a device: what the graph takes of the sessions stays there, and all else is on the host as ever."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.device_rows import DeviceRows
from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.state.arena import Arena, Rows, Slots


class DeviceArena(Arena):
    """See ``Arena``. The columns of ``run_states`` are ``DeviceRows``; memory for all slots is taken at once, since a
    device gives none when it is first written.

    Raises:
        MemoryError: there is no room for so many.
    """

    def __init__(self, manifest: Manifest, capacity: int, device: Device, made_on: str = "") -> None:
        super().__init__(manifest, capacity)
        self.made_on = made_on
        carried = manifest.of_session[: self.num_run]
        self._on_device = tuple(DeviceRows.zeros(capacity, each.row_shape, each.dtype, device) for each in carried)
        self._device = device
        states: Any = (*self._on_device, *self.states[self.num_run :])
        self.states = states
        self.run_states = self.states[: self.num_run]
        self._device_initial = [device.upload(row) for row in self.initial_rows[: self.num_run]]
        # What ``Arena`` does with each column, it does with these.
        self._items, self._initial = self._items[self.num_run :], self._initial[self.num_run :]

    def allocate(self, session_id: str | None = None) -> int:
        """See ``Arena.allocate``."""
        slot = super().allocate(session_id)
        for rows, initial in zip(self._on_device, self._device_initial, strict=True):
            rows.put(slot, initial)
        return slot

    def gather(self, slots: Slots, out: Rows) -> None:
        """See ``Arena.gather``; ``out`` are ``DeviceRows``."""
        places = self._device.upload(slots)
        for rows, taken in zip(self._on_device, out, strict=True):
            rows.gather(places, taken)  # type: ignore[arg-type]

    def scatter(self, slots: Slots, states: Rows) -> None:
        """See ``Arena.scatter``; what the graph takes are ``DeviceRows``."""
        places = self._device.upload(slots)
        for rows, given in zip(self._on_device, states, strict=False):
            rows.scatter(places, given)  # type: ignore[arg-type]
        super().scatter(slots, states[self.num_run :])

    def write(self, slot: int, states: Rows) -> None:
        """See ``Arena.write``; all of them are on the host."""
        for rows, given in zip(self._on_device, states, strict=False):
            rows.put(slot, np.asarray(given, rows.dtype))
        for column, given in zip(self.states[self.num_run :], states[self.num_run :], strict=False):
            column[slot] = given

    def read(self, slot: int) -> tuple[NDArray[Any], ...]:
        """See ``Arena.read``: copies on the host."""
        return tuple(np.array(rows[slot]) for rows in self.states)
