"""Given inputs, as users have them: data frames, series and tensors become arrays, and what has names goes by them.

Nothing of theirs is imported: a data frame is known by its columns, a tensor by ``detach``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError

_NO_VALUE = ("NAType", "NaTType")
"""Names of the classes by which data frames say that a value is missing."""
_NUM_NAMED = 8
_EXACT = 2**53
"""A whole number beyond this may be rounded where it becomes a float."""
_UNFLAGGED = np.frompyfunc(lambda value: int(value) if isinstance(value, bool) else value, 1, 1)


def is_plain(given: object) -> bool:
    """Whether it is rows already, lists in a list or an array with two axes, or nothing at all, and sent as it is."""
    if isinstance(given, list | tuple):
        return not given or isinstance(given[0], list | tuple)
    return isinstance(given, np.ndarray) and given.ndim == 2


def to_array(given: Any) -> NDArray[Any] | None:
    """An array of what is one by another name; None where it is none.

    Raises:
        InputError: it holds times, which are no numbers.
    """
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    elif hasattr(given, "to_numpy"):
        given = _to_numpy(given)
    if not hasattr(given, "__array__"):
        return None
    array = np.asarray(given)
    if array.dtype.kind in "mM":
        raise InputError(f"inputs are numbers, and this holds times ({array.dtype}); say in which unit, from when on")
    # Columns of several kinds may have flags among them, and JSON's true is no number.
    return np.asarray(_UNFLAGGED(array)) if array.dtype == object and array.size else array


def _to_numpy(given: Any) -> Any:
    """A data frame's array, in which whole numbers stay as they are beside columns of floats."""
    array = given.to_numpy()
    is_frame = hasattr(given, "columns") and getattr(array, "ndim", 0) == 2 and array.dtype.kind == "f"
    if not is_frame or not (np.abs(array) >= _EXACT).any():
        return array
    columns = [given[name].to_numpy() for name in given.columns]
    if any(column.ndim != 1 for column in columns):  # two of one name
        return array
    made = np.empty(array.shape, object)
    for place, column in enumerate(columns):
        made[:, place] = column
    return made


def is_no_value(given: object) -> bool:
    """Whether it is a data frame's word for a missing value."""
    return type(given).__name__ in _NO_VALUE


def has_names(given: Any) -> bool:
    """Whether its numbers have names: a data frame's columns, or what a series, or a list of them, is indexed by."""
    first = given[0] if isinstance(given, list | tuple) and given else given
    return columns_of(given) is not None or _index_of(first) is not None


def columns_of(given: Any) -> list[str] | None:
    """The names of a data frame's columns; None where it is none, or they are numbers."""
    return _names(given.columns) if hasattr(given, "columns") and hasattr(given, "to_numpy") else None


@dataclass(frozen=True)
class NamedRow:
    """One row of a data frame, by its columns."""

    names: Sequence[str]
    values: Sequence[Any]


def to_named_row(given: Any) -> dict[str, Any] | None:
    """A row of a data frame, or a frame of one row, by its names; None where it is neither."""
    if isinstance(given, NamedRow):
        return dict(zip(given.names, given.values, strict=True))
    if (names := columns_of(given)) is not None:
        rows = _rows(given)
        return dict(zip(names, rows[0], strict=True)) if len(rows) == 1 else None
    names = _index_of(given)
    return None if names is None else dict(zip(names, _rows(given), strict=True))


def to_mapping(given: Any) -> Any:
    """A data frame as its columns by name; anything else as it is."""
    names = columns_of(given)
    return given if names is None else dict(zip(names, _rows(given).T, strict=True))


def to_rows(given: Any, features: Sequence[str] | None, model: str, *, may_be_one: bool = True) -> Any:
    """Rows ``[n, F]`` in the order of a model's features.

    Args:
        features: None = nobody knows them, and names count for nothing.
        may_be_one: whether one axis is one step of F numbers, or several of a model with one feature.

    Raises:
        InputError: it has other names, or other axes.
    """
    if isinstance(given, list | tuple) and given and _index_of(given[0]) is not None:
        return [_one_row(row, features, model) for row in given]
    if (names := columns_of(given)) is not None:
        rows = _rows(given)
        return rows if features is None else rows[:, _order(names, features, model)]
    array = _of_numbers(given)
    if array is None or array.ndim == 2:
        return given if array is None else array
    if array.ndim == 1 and may_be_one:
        if features is not None and len(features) == 1 and len(array) > 1:
            return array[:, None]
        if features is None or len(array) == len(features):
            return _one_row(given, features, model)[None]
    raise _wrong_shape(array, features, model, may_be_one=may_be_one)


def _one_row(given: Any, features: Sequence[str] | None, model: str) -> NDArray[Any]:
    row = np.asarray(_of_numbers(given))
    names = _index_of(given)
    # A series may be indexed by something else that is text, as a moment.
    if features is None or names is None or not set(names) & set(features):
        return row
    return row[_order(names, features, model)]


def _rows(frame: Any) -> NDArray[Any]:
    rows = to_array(frame)
    assert rows is not None
    return rows


def _of_numbers(given: Any) -> NDArray[Any] | None:
    """As ``to_array``, and a list of numbers, too."""
    if isinstance(given, list | tuple):
        if any(isinstance(value, list | tuple | Mapping) or np.ndim(value) for value in given if value is not None):
            return None
        return np.asarray(given, object)
    return to_array(given)


def _index_of(given: Any) -> list[str] | None:
    """The names of a series' numbers; None where it is none, or they are no texts."""
    is_series = hasattr(given, "to_numpy") and hasattr(given, "index") and not hasattr(given, "columns")
    return _names(given.index) if is_series and not callable(given.index) else None


def _names(names: Any) -> list[str] | None:
    found = list(names)
    return found if found and all(isinstance(name, str) for name in found) else None


def _order(names: Sequence[str], features: Sequence[str], model: str) -> list[int]:
    if len(names) == len(features) and set(names) == set(features):
        return [names.index(name) for name in features]
    faults = [("lacks", [name for name in features if name not in names])]
    faults += [("has", [name for name in names if name not in features] or [n for n in names if names.count(n) > 1])]
    said = " and ".join(f"{verb} {_listed(which)}" for verb, which in faults if which)
    raise InputError(
        f"the features of {model!r} are {_listed(features)}, and this {said}: choose the columns, as by frame[[...]], "
        "or send numbers in that order, as by frame.to_numpy()"
    )


def _wrong_shape(array: NDArray[Any], features: Sequence[str] | None, model: str, *, may_be_one: bool) -> InputError:
    wanted = f"; {model!r} has {len(features)} features: {_listed(features)}" if features is not None else ""
    what = "a chunk" if may_be_one else "a sequence"
    return InputError(f"{what} is [n, F], n steps of F features each, and this has the shape {[*array.shape]}{wanted}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
