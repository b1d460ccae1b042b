"""Rows from outside, whatever tensors a model takes: by name where there are several, nested in their shape, with words
for codes. Flat numbers of one tensor, which are most of what there is, go by ``sequences`` alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.integers import exact_array, is_whole
from ostinato.service.inputs.sequences import MAX_SHOWN, check_codes, check_width, few, to_sequence
from ostinato.service.inputs.turns import SLICE_NUMBERS

_STEP = re.compile(r"\[(\d+)\]")
_PLACE = re.compile(r"(.*)\[(\d+)\]\[(\d+)\]", re.DOTALL)


_TOO_LONG = "Expected `array` of length"


class ReadRows(NamedTuple):
    """Steps that were read already, rows ``[n, width]``, and the tensors that they are of."""

    parts: tuple[Input, ...]
    rows: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)


def to_rows(given: Any, layout: RowLayout[Input], field: str) -> NDArray[Any]:
    """Steps as rows ``[n, width]``, NaN where a value is missing.

    Args:
        given: nested lists ``[n, ...]`` of the one tensor, or an object of these by name.

    Raises:
        InvalidInput: it does not fit the tensors; names the place.
    """
    if isinstance(given, ReadRows):
        if given.parts != layout.parts:
            raise InvalidInput("the session is of a version that takes other inputs by now; retry", field)
        return given.rows
    if layout.is_single:
        return _to_tensor(given, layout.parts[0], field)
    by_name = _by_name(given, layout, field)
    tensors = [_to_tensor(by_name[part.name], part, f"{field}.{part.name}") for part in layout.parts]
    _check_lengths([len(tensor) for tensor in tensors], layout, field)
    shaped = zip(tensors, layout.parts, strict=True)
    return layout.pack([tensor.reshape(len(tensor), *part.row_shape) for tensor, part in shaped])


async def read_rows(given: Any, layout: RowLayout[Input], field: str) -> ReadRows:
    """``to_rows``, a slice of steps at a time: between two of them other requests have their turn."""
    num_steps = count_steps(given, layout, field)
    at_once = max(1, SLICE_NUMBERS // max(1, sum(part.num_features for part in layout.parts)))
    pieces = []
    for start in range(0, num_steps, at_once):
        piece = _steps_of(given, layout, slice(start, start + at_once))
        try:
            pieces.append(to_rows(piece, layout, field))
        except InvalidInput as error:
            raise InvalidInput(str(error), place_moved(error.field, start, layout, field)) from error
        if num_steps > at_once:
            await asyncio.sleep(0)
    return ReadRows(layout.parts, np.concatenate(pieces))


def count_steps(given: Any, layout: RowLayout[Input], field: str) -> int:
    """How many steps are given, before any of them is looked at.

    Raises:
        InvalidInput: there is none, the inputs differ in that, or they are not those of the model.
    """
    if isinstance(given, ReadRows):
        return len(given)
    if layout.is_single:
        return len(_steps(given, field))
    by_name = _by_name(given, layout, field)
    lengths = [len(_steps(by_name[part.name], f"{field}.{part.name}")) for part in layout.parts]
    _check_lengths(lengths, layout, field)
    return lengths[0]


def place_moved(place: str | None, steps: int, layout: RowLayout[Input], field: str) -> str | None:
    """A place ``field[i]...``, or ``field.<name>[i]...``, in a slice that begins behind ``steps``, in the whole."""
    heads = [field] if layout.is_single else [f"{field}.{part.name}" for part in layout.parts]
    # The longest first: there may be brackets in a name, too.
    for head in sorted(heads, key=len, reverse=True):
        if place is not None and (found := _STEP.match(place, len(head))) and place.startswith(head):
            return f"{head}[{int(found[1]) + steps}]{place[found.end() :]}"
    return place


def to_context(given: Any, context: Sequence[Input], field: str) -> list[NDArray[Any]]:
    """What is the same in all steps of a sequence, by name: arrays, each of its ``row_shape``.

    Raises:
        InvalidInput: one is absent that the model cannot do without, is unknown, or does not fit; names it.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise InvalidInput(f"an object with {_names(context)}", field)
    if unknown := sorted(set(given) - {part.name for part in context}):
        has = _names(context) or "none"
        raise InvalidInput(f"the model has no context {unknown[0]!r}; it has {has}", f"{field}.{unknown[0]}")
    rows = []
    for part in context:
        place = f"{field}.{part.name}"
        if part.name not in given and not part.missing:
            shape = list(part.row_shape) or "one value"
            raise InvalidInput(
                f"{part.name!r} is absent, which this model needs for each sequence: {shape} ({part.few_features})",
                field,
            )
        value = given.get(part.name)
        if value is None and part.missing:
            rows.append(np.full(part.row_shape, np.nan, part.dtype))
            continue
        # A step of one row: a context of no axes is one value, and may come in a list, too.
        step = [value] if isinstance(value, list) or part.row_shape else [[value]]
        try:
            rows.append(_to_tensor(step, part, place)[0].reshape(part.row_shape))
        except InvalidInput as error:
            raise InvalidInput(str(error), (error.field or place).replace(f"{place}[0]", place, 1)) from error
    return rows


def check_context(numbers: NDArray[Any], part: Input, field: str) -> None:
    """Refuse a context ``row_shape`` with a code that there is not, or a value outside its range.

    Raises:
        InvalidInput: names the place.
    """
    if not part.is_limited:
        return
    try:
        check_codes(numbers.reshape(1, part.num_features), part, field)
    except InvalidInput as error:
        place = _in_shape(error.field, part) if part.row_shape else field
        raise InvalidInput(str(error), (place or field).replace(f"{field}[0]", field, 1)) from error


def _by_name(given: Any, layout: RowLayout[Input], field: str) -> Mapping[str, Any]:
    names = [part.name for part in layout.parts]
    if not isinstance(given, Mapping):
        raise InvalidInput(f"this model takes {len(names)} inputs: give an object with {', '.join(names)}", field)
    if unknown := sorted(set(given) - set(names)):
        raise InvalidInput(f"the model has no input {unknown[0]!r}; it has {', '.join(names)}", f"{field}.{unknown[0]}")
    if absent := [name for name in names if name not in given]:
        raise InvalidInput(f"input {absent[0]!r} is absent", field)
    return given


def _steps(given: Any, field: str) -> Any:
    if not isinstance(given, list | np.ndarray):
        raise InvalidInput("a list of steps", field)
    if not len(given):
        raise InvalidInput("there is no step in it; send at least one", field)
    return given


def _check_lengths(lengths: Sequence[int], layout: RowLayout[Input], field: str) -> None:
    if len(set(lengths)) > 1:
        told = ", ".join(f"{part.name} {length}" for part, length in zip(layout.parts, lengths, strict=True))
        raise InvalidInput(f"the inputs differ in their number of steps: {told}", field)


def _steps_of(given: Any, layout: RowLayout[Input], steps: slice) -> Any:
    if layout.is_single:
        return given[steps]
    return {name: each[steps] for name, each in given.items()}


def _to_tensor(given: Any, part: Input, field: str) -> NDArray[Any]:
    """The steps of one tensor, ``[n, F]``."""
    given = _steps(given, field)
    if isinstance(given, list):
        given = with_codes(given, part, field)
        given = _checked(given, part, field)
    rank = len(part.row_shape)
    if rank == 0 and not isinstance(given[0], list | np.ndarray):
        given = [[value] for value in given]
    if rank <= 1:
        return to_sequence(given, part, field)
    try:
        numbers: NDArray[Any] = exact_array(given) if is_whole(part.dtype) else np.array(given, np.float64)
    except (ValueError, OverflowError):
        numbers = np.empty((0, 0))
    if numbers.shape[1:] not in (part.row_shape, (part.num_features,)):
        _check_sizes(given, part, _given_shape(given, part), field)
        raise InvalidInput(f"a number does not fit {part.dtype}", field)
    try:
        return to_sequence(numbers.reshape(len(numbers), part.num_features), part, field)  # type: ignore[arg-type]
    except InvalidInput as error:
        raise InvalidInput(str(error), _in_shape(error.field, part)) from error


def _checked(given: list[Any], part: Input, field: str) -> Any:
    """Numbers, nested as deep as the tensor is or flat, null among them; what is none is named by its place."""
    shape = _given_shape(given, part)
    try:
        return msgspec.convert(given, _nested(shape, part.dtype == "bool"))
    except msgspec.ValidationError as error:
        message, _, place = str(error).replace("int | float", "float").partition(" - at `$")
        if message.startswith(_TOO_LONG):
            _check_sizes(given, part, shape, field)
        raise InvalidInput(message, field + place.strip("`")) from error


def _given_shape(given: Any, part: Input) -> tuple[int, ...]:
    """The shape of each step, as the first has it: the tensor's, or that of all of its numbers in one list."""
    first = given[0]
    if not isinstance(first, list | np.ndarray) or not len(first):
        return part.row_shape
    is_flat = not part.row_shape or not isinstance(first[0], list | np.ndarray)
    return (part.num_features,) if is_flat else part.row_shape


@cache
def _nested(shape: tuple[int, ...], of_bools: bool) -> Any:
    """Steps with no more numbers than they may have: longer ones are seen before their numbers are looked at."""
    step: Any = int | float | bool | None if of_bools else int | float | None
    for size in reversed(shape):
        step = Annotated[list[step], msgspec.Meta(max_length=size)]
    return list[step]


def _check_sizes(given: Any, part: Input, shape: tuple[int, ...], field: str) -> None:
    """Find the first step that is not of ``shape``."""
    for index, step in enumerate(given):
        place = f"{field}[{index}]"
        if len(part.row_shape) <= 1 and isinstance(step, list | np.ndarray):
            check_width(len(step), part, place)
        else:
            _check_shape(step, shape, place)


def _check_shape(value: Any, shape: Sequence[int], place: str) -> None:
    """Find what has another size than ``shape``."""
    if not shape:
        return
    if not isinstance(value, list | np.ndarray) or len(value) != shape[0]:
        count = len(value) if isinstance(value, list | np.ndarray) else "no"
        raise InvalidInput(f"{count} values where the shape of the rest is {list(shape)}", place)
    for index, inner in enumerate(value):
        _check_shape(inner, shape[1:], f"{place}[{index}]")


class _Codes(dict[str, int]):
    """What each word stands for. ``unknown``: the code of all others; None = they have none."""

    unknown: int | None = None

    def __missing__(self, word: str) -> int:
        # It is not kept: anyone who sends words must not fill the memory with them.
        if self.unknown is None:
            raise KeyError(word)
        return self.unknown


@lru_cache
def _codes(words: tuple[str, ...], unknown: str | None) -> _Codes:
    """There may be many thousands of words."""
    codes = _Codes((word, code) for code, word in enumerate(words))
    codes.unknown = None if unknown is None else codes[unknown]
    return codes


def with_codes(given: list[Any], part: Input, field: str) -> list[Any]:
    """Steps with their words as codes, where the input has any.

    Raises:
        InvalidInput: there is no such word; names the place.
    """
    if not part.categories:
        return given
    codes = {name: _codes(words, part.unknown.get(name)) for name, words in part.categories.items()}
    return [_in_codes(step, part, codes, f"{field}[{index}]") for index, step in enumerate(given)]


def _in_codes(step: Any, part: Input, codes: Mapping[str, Mapping[str, int]], place: str) -> Any:
    """A step with its words as codes."""
    if isinstance(step, str):
        return _in_codes([step], part, codes, place)[0]
    if not isinstance(step, list) or not any(isinstance(value, str) for value in step):
        return step
    check_width(len(step), part, place)
    values = zip(part.features, step, strict=True)
    return [
        _code(value, codes.get(name), name, f"{place}[{index}]") if isinstance(value, str) else value
        for index, (name, value) in enumerate(values)
    ]


def _code(word: str, codes: Mapping[str, int] | None, name: str, place: str) -> int:
    if codes is None:
        raise InvalidInput(f"{word[:MAX_SHOWN]!r} is no number, and {name!r} has no words", place)
    try:
        return codes[word]
    except KeyError:
        has = few(list(islice(codes, MAX_SHOWN + 1)), len(codes))
        raise InvalidInput(f"{word[:MAX_SHOWN]!r} is no word of {name!r}; it has {has}", place) from None


def _in_shape(place: str | None, part: Input) -> str | None:
    """A place in a flat step as one in a nested step."""
    found = _PLACE.fullmatch(place or "")
    if found is None:
        return place
    indices = np.unravel_index(int(found[3]), part.row_shape)
    return f"{found[1]}[{found[2]}]" + "".join(f"[{index}]" for index in indices)


def _names(parts: Sequence[Input]) -> str:
    return ", ".join(part.name for part in parts)
