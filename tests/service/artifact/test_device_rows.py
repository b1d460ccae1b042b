from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.artifact.device_rows import DeviceRows
from tests.service.devices import CountingDevice


def rows_of(*values: float) -> tuple[DeviceRows, CountingDevice]:
    device = CountingDevice()
    return DeviceRows(device.upload(np.array(values, np.float32)[:, None]), device), device


def test_rows_are_picked_as_those_of_numpy_and_stay_on_the_device() -> None:
    rows, device = rows_of(10, 11, 12, 13)
    picked = [rows[1:3], rows[[3, 0]], rows[np.array([True, False, True, False])], rows[np.array([2])], rows[[]]]
    assert [len(each) for each in picked] == [2, 2, 2, 1, 0]
    assert device.num_downloads == 0
    assert [np.asarray(each)[:, 0].tolist() for each in picked] == [[11, 12], [13, 10], [10, 12], [12], []]


def test_a_single_row_comes_to_the_host_as_a_copy() -> None:
    rows, device = rows_of(1, 2)
    row = rows[np.int64(1)]
    row[:] = 9
    assert (np.asarray(rows).tolist(), device.num_downloads) == ([[1], [2]], 2)
    assert (rows.shape, rows.dtype.name, len(rows)) == ((2, 1), "float32", 2)
    assert repr(rows) == "<DeviceRows [2, 1] of float32 on counted>"


def test_what_numpy_makes_an_array_of_is_brought_and_never_lent() -> None:
    rows, _ = rows_of(1, 2)
    assert np.ascontiguousarray(rows).tolist() == [[1], [2]]
    assert np.asarray(rows, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copied to the host"):
        np.array(rows, copy=False)


def test_gather_and_scatter_undo_each_other() -> None:
    rows, device = rows_of(1, 2, 3, 4)
    out, slots = DeviceRows.zeros(2, (1,), "float32", device), device.upload(np.array([3, 1]))
    rows.gather(slots, out)
    assert np.asarray(out)[:, 0].tolist() == [4, 2]
    copy = rows.copy()
    rows.put(1, np.array([7], np.float32))
    copy.scatter(device.upload(np.array([0, 2])), out)
    assert np.asarray(rows)[:, 0].tolist() == [1, 7, 3, 4]
    assert np.asarray(copy)[:, 0].tolist() == [4, 2, 2, 4]
