"""Numbers from outside become a model's input: arrays of its shape and dtype, or an error that names the place."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, State
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.integers import cast_whole, exact_array, is_whole, shown, to_whole, why_lost

# A number beyond its dtype becomes infinite, and is refused below by its place; numpy need not warn of it, too.
np.seterr(over="ignore")

MAX_SHOWN = 60
"""Words, or characters of one, that an error names at most: a thousand rows of a message may each have one."""


def few(words: Sequence[str], count: int | None = None) -> str:
    """The first of some words, and how many more there are; ``count``: of all, where these are the first of them."""
    more = (len(words) if count is None else count) - MAX_SHOWN
    return ", ".join(words[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def to_sequence(rows: Sequence[Sequence[float | None]], part: Input, field: str) -> NDArray[Any]:
    """A sequence ``[n, F]`` in the dtype of the model's input, NaN where a value is missing.

    Args:
        rows: lists, or an array as ``exact_array`` makes it.

    Raises:
        InvalidInput: it is empty, has a wrong number of features, a missing value that the model does not take, a
            number that its dtype cannot hold, or a code that there is not; names the place.
    """
    if not len(rows):
        raise InvalidInput("there is no step in it; send at least one", field=field)
    whole = part.dtype != "float32" and is_whole(part.dtype)
    array: NDArray[Any] | None
    try:
        array = exact_array(rows) if whole else _floats(rows, part.dtype)
    except ValueError:
        array = None
    except OverflowError as error:
        raise _too_large(rows, part, field) from error
    if array is None or array.ndim != 2 or array.shape[1] != len(part.features):
        raise _wrong_width(rows, part, field)
    if whole:
        array = to_whole(array, part, field)
    elif not is_finite(array):
        _check_finite(array, part, field)
    if part.dtype not in ("float32", array.dtype):
        array = _cast(array, part.dtype, field)
    if part.is_limited:
        check_codes(array, part, field)
    return array


def _floats(rows: Any, dtype: str) -> NDArray[Any]:
    if isinstance(rows, np.ndarray) and rows.dtype.kind != "f":
        rows = rows.astype(np.float64)  # as each of them becomes a float, and only then one of 32 bits
    return np.array(rows, np.float32 if dtype == "float32" else np.float64)


def check_numbers(array: NDArray[Any], part: Input, field: str) -> None:
    """Refuse numbers ``[n, F]``, in the dtype of a model's input already, that it does not take.

    Raises:
        InvalidInput: a missing value, infinity, or a code that there is not; names the place.
    """
    if array.dtype.kind == "f" and not is_finite(array):
        _check_finite(array, part, field)
    if part.is_limited:
        check_codes(array, part, field)


def is_finite(array: NDArray[Any]) -> bool:
    """Whether every number is finite, and their squares can be added up: where it is False, look closely."""
    return math.isfinite(np.vdot(array, array))


def step_packer(part: Input) -> Callable[..., bytes] | None:
    """What turns the numbers of one step into its bytes in the dtype of the model's input, several times as fast as an
    array is made. It raises ``struct.error`` or ``OverflowError`` where a number is missing, or does not fit.

    None for inputs whose numbers must be looked at one by one.
    """
    code = {"float32": "f", "float64": "d"}.get(part.dtype)
    # "=": of standard size, which refuses a number that overflows; the native one makes it infinite.
    return None if code is None or part.is_limited else struct.Struct(f"={part.num_features}{code}").pack


def to_steps(
    rows: Sequence[Sequence[float | None]], part: Input, packer: Callable[..., bytes] | None, field: str
) -> NDArray[Any] | bytes:
    """A chunk as ``Work`` takes it: what ``to_sequence`` makes of it, or the bytes of its only step.

    Raises:
        InvalidInput: as ``to_sequence``.
    """
    if packer is not None and len(rows) == 1:
        row = rows[0]
        try:
            packed = packer(*row)
            # The sum is finite only where every number is.
            if math.isfinite(sum(row)):  # type: ignore[arg-type]
                return packed
        except (struct.error, OverflowError):
            pass
    return to_sequence(rows, part, field)


def to_states(given: Mapping[str, Any], manifest: Manifest, field: str) -> list[NDArray[Any]]:
    """States by name, each the nested list of one row, as arrays in the manifest's order; None is NaN in states that
    may hold it.

    Raises:
        InvalidInput: a state is absent, unknown, of a wrong shape, or holds what is no finite number of its dtype.
    """
    if unknown := sorted(set(given) - {state.name for state in manifest.states}):
        is_context = unknown[0] in {part.name for part in manifest.context}
        has = "it is of the context: give it there" if is_context else f"it has {_names_of(manifest)}"
        raise InvalidInput(f"the model has no state {unknown[0]!r}; {has}", field=f"{field}.{unknown[0]}")
    states = []
    for state in manifest.states:
        place = f"{field}.{state.name}"
        if state.name not in given:
            raise InvalidInput(f"state {state.name!r} is absent; give all: {_names_of(manifest)}", field=field)
        try:
            plain = exact_array(given[state.name]) if is_whole(state.dtype) else np.array(given[state.name])
            # Where it may also hold an infinity, null may have been one: JSON has neither.
            if state.missing and not state.infinite:
                plain = _with_holes(plain)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidInput(f"not an array of {state.dtype}", field=place) from error
        is_bool = state.dtype == "bool"
        if plain.dtype.kind not in ("biuf" if is_bool else "iufO" if is_whole(state.dtype) else "iuf"):
            raise InvalidInput(f"not an array of numbers, but of {plain.dtype.name}", field=place)
        if plain.shape != state.row_shape:
            raise InvalidInput(f"shape {list(plain.shape)} where the state has {list(state.row_shape)}", field=place)
        if not is_bool and bool in set(
            map(type, np.array(given[state.name], object).flat)
        ):  # which numpy takes for 1 and 0
            raise InvalidInput("not an array of numbers: true or false is in it", field=place)
        states.append(_cast(plain, state.dtype, place))
    return states


def _names_of(manifest: Manifest) -> str:
    return few([state.name for state in manifest.states]) or "none"


def check_codes(array: NDArray[Any], part: Input, field: str) -> None:
    """Refuse codes in ``array`` [n, F] that the input does not have.

    Raises:
        InvalidInput: a feature's code has no category, an integer input's is not below ``num_codes``, or a feature is
            outside its range.
    """
    for name, limits in part.ranges.items():
        feature = part.features.index(name)
        column = array[:, feature]
        wrong = (column < limits.least) | (column > limits.most)
        if limits.whole and column.dtype.kind == "f":
            wrong |= (column != np.rint(column)) & ~np.isnan(column)
        if wrong.any():
            step = int(np.argmax(wrong))
            what = f"no code of {name!r}; codes are" if limits.whole else f"outside what {name!r} may be,"
            raise InvalidInput(f"{shown(column[step])} is {what} {limits.words}", f"{field}[{step}][{feature}]")
    for name, words in part.categories.items():
        feature = part.features.index(name)
        wrong = ~(np.isnan(array[:, feature]) | np.isin(array[:, feature], np.arange(len(words))))
        if wrong.any():
            step = int(np.argmax(wrong))
            codes = few([f"{code} {word}" for code, word in enumerate(words[: MAX_SHOWN + 1])], len(words))
            raise InvalidInput(
                f"{shown(array[step, feature])} is no code of {name!r}; codes are {codes}",
                f"{field}[{step}][{feature}]",
            )
    if part.num_codes is not None:
        wrong_cells = (array < 0) | (array >= part.num_codes)
        if wrong_cells.any():
            step, feature = np.argwhere(wrong_cells)[0]
            raise InvalidInput(
                f"{array[step, feature]} is no code; codes are 0 to {part.num_codes - 1}", f"{field}[{step}][{feature}]"
            )


def check_width(width: int, part: Input, field: str) -> None:
    """Refuse a step of another number of features, before they are looked at.

    Raises:
        InvalidInput: names the step.
    """
    if width != len(part.features):
        whose = "a step" if part.time_axis is not None else repr(part.name)
        raise InvalidInput(f"{width} features; {whose} has {len(part.features)}: {part.few_features}", field=field)


def _wrong_width(rows: Sequence[Sequence[float | None]], part: Input, field: str) -> InvalidInput:
    try:
        for step, row in enumerate(rows):
            check_width(len(row), part, f"{field}[{step}]")
    except InvalidInput as error:
        return error
    raise AssertionError("every step has its width")


def _too_large(rows: Sequence[Sequence[float | None]], part: Input, field: str) -> InvalidInput:
    """Whole numbers come as they are, of any size; those beyond float64 make no array."""
    step, feature = next(
        (step, feature)
        for step, row in enumerate(rows)
        for feature, value in enumerate(row)
        if value is not None and abs(value) > sys.float_info.max
    )
    return InvalidInput(f"this number does not fit {part.dtype}", field=f"{field}[{step}][{feature}]")


def _check_finite(array: NDArray[Any], part: Input, field: str) -> None:
    """Numbers that overflowed are infinite by now, and missing ones NaN."""
    for wrong, message in (
        (np.isinf(array), f"this number does not fit {part.dtype}"),
        (np.isnan(array) & (not part.missing), "a value is missing (null), and this model takes no missing values"),
    ):
        if wrong.any():
            step, feature = np.argwhere(wrong)[0]
            raise InvalidInput(message, field=f"{field}[{step}][{feature}]")


def check_state(numbers: NDArray[Any], state: State, field: str) -> None:
    """Refuse a state ``row_shape`` with NaN or infinity that the network's own states never hold: steps from it fail.

    Raises:
        InvalidInput: names the first such number.
    """
    unsound = np.argwhere(state.is_unsound(numbers))
    if len(unsound):
        place = "".join(f"[{index}]" for index in unsound[0])
        what = "a state of this model, whose own are finite there" if state.output else "a context, which is finite"
        raise InvalidInput(
            f"{numbers[tuple(unsound[0])]:g} in {what}: no step could be made from it",
            field=f"{field}{place}",
        )


def _with_holes(plain: NDArray[Any]) -> NDArray[Any]:
    """An array of objects as numbers, NaN where it holds None; as it is where it holds anything else."""
    if plain.dtype != object or not all(value is None or type(value) in (int, float) for value in plain.flat):
        return plain
    return np.where(np.equal(plain, None), np.nan, plain).astype(np.float64)  # type: ignore[call-overload]


def _cast(array: NDArray[Any], dtype: str, field: str) -> NDArray[Any]:
    """``array`` in ``dtype``; NaN stays NaN, and what the dtype cannot hold is refused by its place."""
    if is_whole(dtype):
        cast, lost = cast_whole(array, dtype)
    else:
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            lost = cast != array if dtype == "bool" else np.isinf(cast)
    if lost.any():
        place = "".join(f"[{index}]" for index in np.argwhere(lost)[0])
        number = array[tuple(np.argwhere(lost)[0])]
        why = why_lost(number, dtype) if is_whole(dtype) else f"{number:g} does not fit {dtype}"
        raise InvalidInput(why, field=f"{field}{place}")
    return cast
