from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.numbers import largest_difference

NAN, INF = float("nan"), float("inf")


def difference(made: Any, expected: Any, dtype: str = "float32") -> float:
    return largest_difference(np.array([made], dtype), np.array([expected], dtype))


def test_a_difference_is_relative_above_one_and_absolute_below() -> None:
    assert difference(0.5, 0.25) == 0.25
    assert difference(-0.25, 0.25) == 0.5
    assert difference(110.0, 100.0) == 0.1
    assert difference(-100.0, 100.0) == 2.0


def test_the_largest_of_all_counts() -> None:
    expected = np.array([[1.0, 1000.0], [0.0, -3.0]], np.float32)
    assert largest_difference(expected + np.array([[0.0, 1.0], [0.0, 0.0]], np.float32), expected) == 1e-3
    assert largest_difference(expected + np.array([[0.0, 1.0], [0.5, 0.0]], np.float32), expected) == 0.5


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_what_is_not_finite_agrees_with_itself_and_with_nothing_else(value: float, dtype: str) -> None:
    assert difference(value, value, dtype) == 0.0
    for other in {0.0, 1.0, 6e4, NAN, INF, -INF} - {value}:
        if not (np.isnan(value) and np.isnan(other)):
            assert difference(value, other, dtype) == INF
            assert difference(other, value, dtype) == INF


def test_one_number_that_is_missing_is_not_hidden_by_those_that_agree() -> None:
    expected = np.array([1.0, 1000.0, NAN, INF], np.float32)
    assert largest_difference(expected, expected) == 0.0
    assert largest_difference(np.array([1, 1000, 5, INF], np.float32), expected) == INF
    assert largest_difference(np.array([1, 1000, NAN, 1], np.float32), expected) == INF
    assert largest_difference(np.array([1, NAN, NAN, INF], np.float32), expected) == INF


def test_other_dtypes_are_compared_before_they_are_rounded() -> None:
    assert difference(True, False, "bool") == 1.0
    assert difference(5, 3, "uint8") == pytest.approx(2 / 3)
    assert difference(3, 5, "uint8") == pytest.approx(2 / 5)
    assert difference(1e300, -1e300, "float64") == 2.0
    assert difference(1.7e308, -1.7e308, "float64") == INF
    assert difference(2**62, 2**62, "int64") == 0.0


def test_arrays_of_different_shapes_are_infinitely_far_apart_and_no_numbers_are_equal() -> None:
    assert largest_difference(np.zeros(2), np.zeros(3)) == INF
    assert largest_difference(np.zeros((1, 3)), np.zeros(3)) == INF
    assert largest_difference(np.zeros(0), np.zeros(0)) == 0.0
    assert largest_difference(np.zeros(0), np.zeros(1)) == INF
