from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.artifact.device_rows import DeviceRows
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import State
from ostinato.service.state.device_arena import DeviceArena
from tests.service.devices import CountingDevice
from tests.service.puppet import MANIFEST, framed

STATES = (
    State(name="h", input="h", output="h_next", shape=(1, "B", 2), dtype="float32"),
    State(name="n", input="n", output="n_next", shape=("B",), dtype="int64", initial=3),
)
WITH_STATES = Manifest.model_validate({**MANIFEST.model_dump(), "states": [each.model_dump() for each in STATES]})


def test_what_is_scattered_is_gathered_and_read() -> None:
    device = CountingDevice()
    arena = DeviceArena(WITH_STATES, 4, device)
    slots = np.array([arena.allocate(), arena.allocate(), arena.allocate()])
    assert [arena.read(slot)[1] for slot in slots] == [3, 3, 3]
    given = [
        DeviceRows(device.upload(np.arange(4, dtype=np.float32).reshape(2, 1, 2)), device),
        DeviceRows(device.upload(np.array([7, 8])), device),
    ]
    arena.scatter(slots[[2, 0]], given)  # type: ignore[arg-type]
    h, n = arena.read(int(slots[2]))
    assert (h.tolist(), int(n)) == ([[0, 1]], 7)
    out = [DeviceRows.zeros(2, state.row_shape, state.dtype, device) for state in STATES]
    arena.gather(slots[[0, 0]], out)  # type: ignore[arg-type]
    assert np.asarray(out[0]).tolist() == [[[2, 3]], [[2, 3]]]
    assert np.asarray(out[1]).tolist() == [8, 8]


def test_a_slot_that_is_handed_out_again_is_in_the_initial_state() -> None:
    arena = DeviceArena(WITH_STATES, 2, CountingDevice())
    slot = arena.allocate("a")
    arena.write(slot, [np.ones((1, 2), np.float32), np.array(9)])
    assert [each.tolist() for each in arena.read(slot)] == [[[1, 1]], 9]
    arena.release(slot)
    assert arena.allocate("b") == slot
    assert [each.tolist() for each in arena.read(slot)] == [[[0, 0]], 3]


def test_what_the_graph_does_not_see_is_on_the_host() -> None:
    arena = DeviceArena(framed(4), 2, CountingDevice())
    slot = arena.allocate("a")
    assert [type(rows) for rows in arena.states] == [DeviceRows, np.ndarray]
    arena.write(slot, [np.array([5], np.float32), np.arange(3, dtype=np.float32)[:, None]])
    total, left_over = arena.read(slot)
    assert (total.tolist(), left_over[:, 0].tolist()) == ([5], [0, 1, 2])
    assert arena.row_bytes == 4 + 3 * 4


def test_a_device_without_room_is_a_memory_error() -> None:
    class Full(CountingDevice):
        class arrays:  # noqa: N801 (a library's name)
            @staticmethod
            def zeros(*_: object) -> object:
                raise MemoryError

    with pytest.raises(MemoryError):
        DeviceArena(WITH_STATES, 10, Full())
