"""Elements of tensors in JSON: lists, flat or nested as their shapes are, become arrays a slice at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.turns import SLICE_NUMBERS

SLICE_ROWS = 1024
"""Lists of a nested tensor that are looked at in one go, about half a millisecond."""

_KINDS: dict[str, frozenset[type]] = {"f": frozenset({int, float, type(None)}), "i": frozenset({int})}
_KINDS |= {"u": _KINDS["i"], "b": frozenset({bool}), "O": frozenset({str})}
"""What an element in JSON may be, by the kind of its dtype; null is a missing value."""
_WORDS = {"f": "a number, or null where it is missing", "i": "a whole number", "b": "true or false", "O": "a text"}
_WORDS |= {"u": _WORDS["i"]}


def elements_of(
    data: Any, shape: tuple[int, ...], count: int, dtype: np.dtype[Any], name: str
) -> Generator[None, None, NDArray[Any]]:
    """The elements of a tensor in JSON, flat or nested as its shape is."""
    if not isinstance(data, list):
        raise InvalidInput("it has neither data, a list, nor binary_data_size", name)
    sizes = shape if shape and data and isinstance(data[0], list) else (count,)
    if len(sizes) == 1 and len(data) == count <= SLICE_NUMBERS:
        return _numbers(data, dtype, name, 0)
    parts: list[NDArray[Any]] = []
    waiting: list[Any] = []
    at = 0
    for number, row in enumerate(_flat_rows(data, sizes, name)):
        waiting += row
        if len(waiting) >= SLICE_NUMBERS:
            parts.append(_numbers(waiting, dtype, name, at))
            at, waiting = at + len(waiting), []
            yield
        elif number % SLICE_ROWS == SLICE_ROWS - 1:  # they may be empty
            yield
    parts.append(_numbers(waiting, dtype, name, at))
    elements = np.concatenate(parts)
    if len(elements) != count:
        raise InvalidInput(f"{len(elements)} elements for shape {list(shape)}, which has {count}", name)
    return elements


def _flat_rows(data: list[Any], sizes: tuple[int, ...], place: str) -> Iterator[list[Any]]:
    """The innermost lists, a slice of a long one at a time, and empty ones; each is as long as the shape says."""
    if len(data) != sizes[0]:
        raise InvalidInput(f"{len(data)} elements where the shape has {sizes[0]}", place)
    if len(sizes) == 1 or not data:
        if len(data) <= SLICE_NUMBERS:
            yield data
        else:
            yield from (data[start : start + SLICE_NUMBERS] for start in range(0, len(data), SLICE_NUMBERS))
        return
    for index, inner in enumerate(data):
        if not isinstance(inner, list):
            raise InvalidInput(
                "some elements are lists and some are none: flat, or nested as the shape is", f"{place}[{index}]"
            )
        yield from _flat_rows(inner, sizes[1:], f"{place}[{index}]")


def _numbers(elements: list[Any], dtype: np.dtype[Any], name: str, first: int) -> NDArray[Any]:
    """Elements as an array; ``first``: how many were before them."""
    allowed = _KINDS[dtype.kind]
    if not allowed.issuperset(map(type, elements)):
        index = next(index for index, element in enumerate(elements) if type(element) not in allowed)
        raise InvalidInput(f"element {first + index} is not {_WORDS[dtype.kind]}", name)
    if dtype.kind == "O":
        texts = np.empty(len(elements), object)
        texts[:] = [element.encode("utf-8", "surrogatepass") for element in elements]
        return texts
    try:
        return np.array(elements, dtype)
    except OverflowError as error:
        index = next(index for index, element in enumerate(elements) if not _fits(element, dtype))
        raise InvalidInput(f"element {first + index} does not fit {dtype.name}", name) from error


def _fits(element: Any, dtype: np.dtype[Any]) -> bool:
    try:
        np.array([element], dtype)
    except OverflowError:
        return False
    return True
