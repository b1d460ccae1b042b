"""Cells of a column: which types hold numbers, steps or text, and numbers as a model takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.integers import cast_whole, is_whole
from ostinato.service.inputs.sequences import check_codes, is_finite

MAX_SHOWN_TYPE = 200
"""Characters of a column's type that an error shows."""


def to_numbers(values: pa.Array, part: Input, doubtful: NDArray[np.bool_]) -> NDArray[Any]:
    """Values, n * F of them, as ``[n, F]``; steps whose values the model may not take are marked in ``doubtful``."""
    shape = (len(doubtful), part.num_features)
    plain = values.fill_null(False if pa.types.is_boolean(values.type) else 0) if values.null_count else values
    given = plain.to_numpy(zero_copy_only=False).reshape(shape)
    given = given if given.flags.aligned else given.copy()
    array: NDArray[Any] = given
    if is_whole(part.dtype) and given.dtype.kind != "b":
        array, lost = cast_whole(given, part.dtype)
        doubtful |= lost.any(axis=1)
    elif given.dtype != part.dtype:
        # Through float64, as a number in JSON goes.
        source = given.astype(np.float64) if given.dtype.kind in "iu" and part.dtype.startswith("float") else given
        with np.errstate(all="ignore"):
            array = source.astype(part.dtype)
        if not part.dtype.startswith("float"):
            doubtful |= (array != given).any(axis=1)
    if values.null_count:
        holes = is_null(values).reshape(shape)
        if part.missing:
            array = np.where(holes, array.dtype.type(np.nan), array)
        else:
            doubtful |= holes.any(axis=1)
    if array.dtype.kind == "f" and not is_finite(array):
        doubtful |= (np.isinf(array) if part.missing else ~np.isfinite(array)).any(axis=1)
    if part.is_limited:
        try:
            check_codes(array, part, "inputs")
        except InvalidInput:
            doubtful[:] = True
    return array


def to_plain_row(values: pa.Array) -> NDArray[Any]:
    """The numbers of a step as JSON's reader has them, NaN where one is null, None among whole numbers; an array, as
    there may be millions.
    """
    if values.null_count and pa.types.is_integer(values.type):
        return np.array(values.to_pylist(), object)
    numbers = values.fill_null(False if pa.types.is_boolean(values.type) else 0) if values.null_count else values
    row: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    if row.dtype.kind in "iu":
        return row
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        row = row.astype(np.float64)
    if values.null_count:
        row[is_null(values)] = np.nan
    return row


def is_list(kind: pa.DataType) -> bool:
    """Whether it is lists, of a fixed size or of any."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether it is text, or a dictionary of it; views may share what they show, and so are not taken for words."""
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(words) or pa.types.is_large_string(words))


def is_null(column: pa.Array) -> NDArray[np.bool_]:
    """Which cells are null, bool ``[n]``."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def unfit(kind: pa.DataType, wanted: str, name: str) -> InvalidInput:
    """The error that a column is of another type than is wanted."""
    shown = str(kind)
    shown = shown if len(shown) <= MAX_SHOWN_TYPE else f"{shown[:MAX_SHOWN_TYPE]}..."
    return InvalidInput(f"column {name!r} is of {shown}, not of {wanted}", field=name)


def check_step(kind: pa.DataType, part: Input) -> None:
    """Refuse what is not lists of F numbers; a list of no number needs no byte, and there may be any number of them."""
    width = part.num_features
    number = kind.value_type if is_list(kind) else pa.null()
    is_bool = pa.types.is_boolean(number) and part.dtype == "bool"
    if not (pa.types.is_floating(number) or pa.types.is_integer(number) or is_bool):
        raise unfit(kind, f"lists of {width} numbers", "inputs")
    if pa.types.is_fixed_size_list(kind) and kind.list_size != width:
        raise InvalidInput(f"lists of {kind.list_size}; a step has {width}: {part.few_features}", field="inputs")


def check_sequence(kind: pa.DataType, part: Input) -> None:
    """Refuse what is not lists of steps, or has none in it."""
    if not is_list(kind) or not is_list(kind.value_type):
        raise unfit(kind, "lists (sequences) of lists (steps) of numbers", "inputs")
    if pa.types.is_fixed_size_list(kind) and not kind.list_size:
        raise InvalidInput("there is no step in its sequences; send at least one", field="inputs")
    check_step(kind.value_type, part)


def to_steps(column: pa.Array, part: Input) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Lists of F numbers as ``[n, F]`` in the dtype of the model's input, and bool ``[n]``: which are doubtful.

    A doubtful step may have been misread; ``doubts.judge`` tells what is wrong with it, if anything.
    """
    num_steps, width = len(column), part.num_features
    doubtful = np.zeros(num_steps, bool)
    if pa.types.is_fixed_size_list(column.type):
        values = column.values.slice(column.offset * width, num_steps * width)
    else:
        bounds = column.offsets.to_numpy()
        doubtful |= np.diff(bounds) != width
        if doubtful.any():
            good = ~doubtful
            steps = np.zeros((num_steps, width), part.dtype)
            steps[good], doubtful[good] = to_steps(column.filter(pa.array(good)), part)
            return steps, doubtful
        values = column.values.slice(bounds[0], bounds[-1] - bounds[0])
    if column.null_count:
        doubtful |= is_null(column)
    return to_numbers(values, part, doubtful), doubtful
