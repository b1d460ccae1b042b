"""Numbers on their way to the service and back: arrays or nested lists to JSON, JSON to arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.client.given import is_no_value, to_array
from ostinato.errors import UnexpectedAnswer

Array = NDArray[Any]
Row = Sequence[float | None] | Array
Rows = Sequence[Any] | Array | Mapping[str, Any]
"""A chunk or a whole sequence ``[n, F]``; None or NaN is a missing value.

What ``given.py`` knows is taken in its place: a data frame, by the names of its columns; a tensor; and as a chunk one
step ``[F]``, or numbers ``[n]`` for a model with one feature. A nested input is ``[n, ...]``. Several inputs are a
mapping of these by name, or a data frame with the columns of all. A word stands for its code where the model has words.
"""
Outputs: TypeAlias = Any
"""An array ``[n, O]``, or ``[n, ...]`` of a nested output; of a model with several, a dictionary of these by name, in
which an output that is made once for all steps has one row.
"""
States = Mapping[str, Any]
"""State name -> one row of it, as nested lists or an array."""
Context: TypeAlias = Any
"""Name -> what is the same in all steps of a sequence: a number or word, nested lists, an array, or a row of a data
frame; or one such row with all the columns of the context.
"""


def to_json(content: object, *, allow_infinity: bool = True) -> bytes:
    """JSON of nested lists and arrays, every number to the bit; NaN becomes null, a missing value.

    Infinity goes as it is, which is no JSON: the service says which number it was.

    Raises:
        ValueError: there is an infinity in it, and none is allowed.
    """
    try:
        text = json.dumps(content, default=_plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_with_holes(content), default=_plain, allow_nan=allow_infinity, separators=(",", ":"))
    return text.encode()


def from_json(text: str | bytes) -> Any:
    """What JSON holds.

    Raises:
        ValueError: it is none: NaN and Infinity, which Python would read, are not, and nor is what nobody can unpack.
    """
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def to_outputs(numbers: object, null: float = -np.inf) -> Array:
    """The outputs ``[..., O]`` of an answer: float32 where they are real numbers, else int64 or bool.

    ``null`` is what JSON's null stands for: in outputs minus infinity, the only such number that the service answers.

    float32 is in JSON in as few digits as give the same bits back.

    Raises:
        UnexpectedAnswer: they are no numbers, none that float32 can hold, or rows of different lengths.
    """
    is_null: NDArray[np.bool_] | None = None
    try:
        outputs = np.asarray(numbers)
        if outputs.dtype == object and all(isinstance(number, float | int | None) for number in outputs.flat):
            is_null = np.equal(outputs, None)  # type: ignore[call-overload]
            outputs = np.where(is_null, 0.0, outputs).astype(np.float64)
    except (ValueError, OverflowError):
        outputs = np.asarray(None)
    if outputs.dtype.kind not in "fib" or numbers is None:
        raise UnexpectedAnswer("the outputs of the answer are no numbers", 200)
    if outputs.dtype.kind != "f":
        return outputs
    with np.errstate(over="ignore"):
        outputs = outputs.astype(np.float32)
    if not np.isfinite(outputs).all():  # 1e400 is JSON, and Python reads it as infinity
        raise UnexpectedAnswer("the answer has a number that is beyond float32", 200)
    if is_null is not None:
        outputs[is_null] = null
    return outputs


def to_outputs_with_holes(rows: Sequence[Sequence[Any] | None]) -> Array:
    """Outputs ``[R, ...]`` of rows, of which some are None: these are NaN, or 0 in integers; ``[R, 0]`` if all are."""
    made = to_outputs([row for row in rows if row is not None] or np.zeros((0, 0), np.float32))
    filler = np.nan if made.dtype.kind == "f" else 0
    outputs = np.full((len(rows), *made.shape[1:]), filler, made.dtype)
    outputs[[row is not None for row in rows]] = made
    return outputs


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _plain(value: object) -> object:
    """For the encoder: what it does not know."""
    if (array := to_array(value)) is not None:
        return (array.astype(np.int8) if array.dtype.kind == "b" else array).tolist()
    if is_no_value(value):
        return None
    raise TypeError(f"{type(value).__name__} is neither a number nor a list of numbers")


def _with_holes(value: Any) -> Any:
    if not isinstance(value, float | int | str | list | tuple | dict | None):
        value = _plain(value)
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Mapping):
        return {key: _with_holes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_holes(item) for item in value]
    return value
