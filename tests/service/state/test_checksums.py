from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.state.checksums import checksums

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


def random_rows(dtype: str, num_rows: int, width: int, seed: int = 0) -> NDArray[Any]:
    generator = np.random.default_rng(seed)
    return generator.normal(0, 40, (num_rows, width)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 700])
def test_a_row_has_the_same_checksum_alone_and_among_others(dtype: str, width: int) -> None:
    rows = random_rows(dtype, 50, width)
    together = checksums(rows)
    assert (together.dtype, together.shape) == (np.dtype(np.int64), (50,))
    for row in (0, 17, 49):
        assert checksums(rows[row : row + 1])[0] == together[row]


def test_checksums_do_not_depend_on_what_was_summed_before() -> None:
    rows = random_rows("float32", 4, 5)
    before = checksums(rows).tolist()
    checksums(random_rows("float32", 300, 90))
    checksums(random_rows("uint8", 1, 1))
    assert checksums(rows).tolist() == before


def test_checksums_are_the_same_in_every_release() -> None:
    # Bits 0x3f800000, 0xc0000000, 0 against SplitMix64's first numbers, made odd, modulo 2^64.
    def mix(state: int) -> int:
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31 | 1

    weights = [mix(position * 0x9E3779B97F4A7C15 % 2**64) for position in (1, 2)]
    expected = (0x3F800000 * weights[0] + 0xC0000000 * weights[1]) % 2**64
    made = checksums(np.array([[1.0, -2.0, 0.0]], np.float32))
    assert made.view(np.uint64).tolist() == [expected]


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_one_value_that_changes_changes_the_checksum(dtype: str) -> None:
    row = random_rows(dtype, 1, 40)
    rows = np.repeat(row, 40, axis=0)
    for column in range(40):
        bits = rows[column : column + 1, column].view(np.uint8)
        bits[0] ^= 1
    assert len({*checksums(rows).tolist(), *checksums(row).tolist()}) == 41


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signs_and_their_order_change_the_checksum(dtype: str) -> None:
    rows = np.array([[1, 2], [-1, -2], [-1, 2], [1, -2], [2, 1], [0.0, 0.0], [-0.0, -0.0], [0.0, -0.0]], dtype)
    assert len(set(checksums(rows).tolist())) == len(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_rows_of_flags_do_not_collide(dtype: str) -> None:
    """All 4,096 rows of twelve features that are 0 or 1, which as floats differ in few bits."""
    rows = (np.arange(4096)[:, None] >> np.arange(12) & 1).astype(dtype)
    assert len(set(checksums(rows).tolist())) == 4096


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_rows_of_small_whole_numbers_do_not_collide(dtype: str) -> None:
    """All 10,000 rows of four digits."""
    rows = (np.arange(10_000)[:, None] // 10 ** np.arange(4) % 10).astype(dtype)
    assert len(set(checksums(rows).tolist())) == 10_000
