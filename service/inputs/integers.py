"""Whole numbers as they came: float64, as which other numbers are read, has room for those below 2^53 only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput

WIDE = 2**53
"""The least number of which float64 may hold another's place: 2^53 + 1 becomes it."""

MAX_DIGITS = 40
"""Of a number that an error shows."""


def is_whole(dtype: str) -> bool:
    """Whether a tensor of that dtype holds whole numbers."""
    return dtype.startswith(("int", "uint"))


def exact_array(given: Any) -> NDArray[Any]:
    """Nested lists of numbers as an array that holds each as it is: of whole numbers; or float64, NaN where there is
    None; or of objects, where no dtype has room for all.

    Raises:
        ValueError, OverflowError: they make no array, as lists of unlike lengths.
    """
    if isinstance(given, np.ndarray):
        return given
    array: NDArray[Any] = np.array(given)
    if array.dtype.kind in "iu":
        return array
    numbers = np.array(given, np.float64)
    return np.array(given, object) if has_wide(given, numbers) else numbers


def has_wide(given: Any, numbers: NDArray[np.float64]) -> bool:
    """Whether a whole number is among nested lists that ``numbers``, made of them, may not hold as it is."""
    places = np.abs(numbers) >= WIDE
    if not places.any():
        return False
    return any(type(value) is int for value in np.array(given, object)[places])


def to_whole(array: NDArray[Any], part: Input, field: str) -> NDArray[Any]:
    """Numbers ``[n, F]``, as ``exact_array`` has them, in the integer dtype of the model's input.

    Raises:
        InvalidInput: one is missing, is not whole, does not fit, or was a float beyond 2^53; names the first.
    """
    cast, lost = cast_whole(array, part.dtype)
    if lost.any():
        step, feature = np.argwhere(lost)[0]
        raise InvalidInput(why_lost(array[step, feature], part.dtype), f"{field}[{step}][{feature}]")
    return cast


def cast_whole(array: NDArray[Any], dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Numbers of any shape, as ``exact_array`` has them, in an integer dtype; and which of them it cannot hold."""
    limits = np.iinfo(dtype)
    if array.dtype.kind in "iu":
        return array.astype(dtype), (array < limits.min) | (array > limits.max)
    numbers = array.astype(np.float64)
    with np.errstate(all="ignore"):
        cast = numbers.astype(dtype)
        lost = (cast != numbers) | (np.abs(numbers) >= WIDE)
    if array.dtype.kind == "O":
        # Of few a float does not tell what they are: those are looked at one by one.
        for place in zip(*np.nonzero(lost), strict=True):
            if _fits(array[place], limits):
                cast[place], lost[place] = array[place], False
    return cast, lost


def _fits(value: Any, limits: np.iinfo[Any]) -> bool:
    if isinstance(value, float):
        return value.is_integer() and abs(value) < WIDE and limits.min <= value <= limits.max
    return isinstance(value, int | np.integer) and bool(limits.min <= value <= limits.max)


def why_lost(value: Any, dtype: str) -> str:
    """Why a number is none of an integer dtype."""
    if value is None or value != value:
        return "a value is missing (null), and this model takes no missing values"
    if isinstance(value, float) and value.is_integer() and WIDE <= abs(value) <= np.iinfo(dtype).max:
        return f"{value:.0f} may be another number: floats are exact to 2^53; write a whole number, without . or e"
    if not isinstance(value, float):
        return f"{shown(value)} does not fit {dtype}"
    return f"{value:g} does not fit {dtype}"


def shown(value: Any) -> str:
    """A number in an error: a whole one with all of its digits, unless they are too many to be read."""
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return str(value) if abs(value) < 10**MAX_DIGITS else f"a number of over {MAX_DIGITS} digits"
