from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.artifact.devices import ALIGNMENT_BYTES, Device


def test_copies_are_copies() -> None:
    device, given = Device(), np.arange(3.0)
    there = device.upload(given)
    given[0] = 9
    back = device.download(there)
    there[1] = 9
    assert (there.tolist(), back.tolist()) == ([0, 9, 2], [0, 1, 2])
    device.write(there, np.ones(3))
    out = device.pinned((3,), "float64")
    device.read(there, out)
    device.synchronize()
    assert out.tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 1)])
def test_memory_begins_where_onnxruntime_s_does(shape: tuple[int, ...]) -> None:
    device = Device()
    for made in (device.empty(shape, np.float32), device.pinned(shape, "float32")):
        assert (made.shape, made.dtype) == (shape, np.float32)
        assert made.ctypes.data % ALIGNMENT_BYTES == 0
    assert device.address(made) == made.ctypes.data


def test_any_number_that_is_not_finite_is_found() -> None:
    device = Device()
    assert device.are_finite([])
    assert device.are_finite([np.zeros(3), np.ones((2, 2))])
    assert not device.are_finite([np.zeros(3), np.array([1, np.nan])])
    assert not device.are_finite([np.array([np.inf])])
