from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ostinato.service.catalogue.arrivals import MAX_LOOKS, STEADY_LOOKS, Arrivals
from tests import networks

INPUTS = np.arange(6, dtype=np.float32).reshape(2, 3, 1)


async def looks_until_there(directory: Path, *, at_once: bool = False) -> int:
    arrivals = Arrivals()
    looks = 1
    while not await arrivals.is_there(directory, at_once=at_once):
        looks += 1
    return looks


async def test_a_whole_folder_is_there_when_it_was_steady_or_somebody_waits_for_it(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    assert await looks_until_there(directory) == STEADY_LOOKS + 1
    assert await looks_until_there(directory, at_once=True) == 1
    (directory / "more").symlink_to("nowhere")
    assert await looks_until_there(directory) == STEADY_LOOKS + 1


async def test_a_folder_that_stays_in_parts_or_cannot_be_looked_at_is_tried_in_the_end(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    (directory / "model.onnx").unlink()
    for at_once in (False, True):
        assert await looks_until_there(directory, at_once=at_once) == MAX_LOOKS + 1
    assert await looks_until_there(tmp_path / "absent") == MAX_LOOKS + 1


async def test_a_folder_that_changes_is_still_coming(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    arrivals = Arrivals()
    for number in range(2 * MAX_LOOKS):
        os.utime(directory / "model.onnx", (number, number))
        assert not await arrivals.is_there(directory, at_once=False)
    arrivals.forget_all_but([directory])
    assert not await arrivals.is_there(directory, at_once=False)
    assert await arrivals.is_there(directory, at_once=False)
