from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.tensors import Input
from ostinato.service.inputs.sequences import to_sequence
from ostinato.service.inputs.turns import SLICE_NUMBERS, THREAD_BYTES, in_thread, to_numbers


@pytest.mark.parametrize("shape", [(20_000, 1), (100, 300), (2, 40_000)])
async def test_numbers_become_an_array_as_in_one_go(shape: tuple[int, int]) -> None:
    # Not the numbers as they were drawn: an array that is not filled may be made where those have been.
    rows = [[-number for number in row] for row in np.random.default_rng(1).normal(size=shape).tolist()]
    rows[1][-1] = None
    rows[0][0] = 2**53 + 1
    made = await to_numbers(rows)
    np.testing.assert_array_equal(made, np.array(rows, np.float64))
    assert made.dtype == np.float64


@pytest.mark.parametrize("dtype", ["int64", ""])
@pytest.mark.parametrize("other", [2**53 + 3, 7.0, 0.5, None, 1e16, 2**63])
async def test_whole_numbers_beyond_what_a_float_holds_stay_as_they_are(dtype: str, other: float | None) -> None:
    rows: list[Any] = [[2**53 + 1, -(2**63)], *([[1, 2]] * SLICE_NUMBERS), [2**53 + 5, other]]
    made = await to_numbers(rows, dtype=dtype)
    assert made.tolist() == rows
    # As floats, they are rounded as each alone would be.
    floats = Input(name="x", dtype="float32", shape=("B", "T", 2), features=("a", "b"), missing=True)
    assert to_sequence(made, floats, "inputs").tobytes() == to_sequence(rows, floats, "inputs").tobytes()


@pytest.mark.parametrize("wrong", [[[1.0]], [[]], [[10**400, 1]]])
async def test_rows_that_make_no_array_stay_as_they_are(wrong: list[list[float]]) -> None:
    rows = [[1.0, 2.0]] * SLICE_NUMBERS + wrong
    assert await to_numbers(rows) is rows


async def test_few_numbers_are_left_to_who_needs_them() -> None:
    rows = [[1.0, 2.0]]
    assert await to_numbers(rows) is rows
    assert await to_numbers([]) == []


async def test_others_have_their_turn_while_numbers_are_converted() -> None:
    converting = asyncio.create_task(to_numbers([[1.0]] * (3 * SLICE_NUMBERS)))
    turns = 0
    while not converting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 3


async def test_only_what_is_large_is_worth_a_thread() -> None:
    here = threading.get_ident()
    assert await in_thread(THREAD_BYTES, threading.get_ident) == here
    assert await in_thread(THREAD_BYTES + 1, threading.get_ident) != here
