"""Times as users have them, on their way to the service as RFC 3339, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias

import numpy as np

from ostinato.client.given import is_no_value
from ostinato.errors import InputError

Time: TypeAlias = Any
"""A text as RFC 3339, a ``datetime``, a ``date``, NumPy's ``datetime64``, or what pandas or polars have for one.
Without an offset it is by the clock of the model's zone, and UTC where it has none.
"""
Times: TypeAlias = Any
"""One of these, or several: a list, an array, a series or an index."""


def to_texts(at: Times) -> str | list[str | None]:
    """One time as text, or several; None, NaT and the like stay None among several.

    Raises:
        InputError: something is no time, or is finer than a microsecond.
    """
    if isinstance(at, str | date | np.datetime64):
        return _text(at)
    if isinstance(at, np.ndarray) and not at.ndim:
        return _text(at[()])
    if not isinstance(at, Iterable):
        raise InputError(f"{at!r} is no time, as datetime, numpy.datetime64 or a text of RFC 3339")
    return [None if _is_none(each) else _text(each) for each in at]


def times_of(texts: Sequence[str | None]) -> tuple[datetime | None, ...]:
    """Times of an answer."""
    return tuple(None if text is None else datetime.fromisoformat(text) for text in texts)


def place_of(steps: int, at: Times | None, place: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The members of a chunk that say which steps it has: how many come before, when they were, or where in their
    source they are (``place``).
    """
    if at is not None:
        return {"at": to_texts(at), **(place or {})}
    return dict(place or {"seq": steps})


def _is_none(time: object) -> bool:
    return time is None or is_no_value(time) or (isinstance(time, np.datetime64) and np.isnat(time))


def _text(time: Any) -> str:
    if isinstance(time, str):
        return time
    if isinstance(time, np.datetime64):
        if np.isnat(time):
            raise InputError("NaT is no time")
        exact = time.astype("datetime64[us]")
        if exact != time:
            raise InputError(f"{time} is finer than a microsecond")
        return str(exact)
    if getattr(time, "nanosecond", 0):
        raise InputError(f"{time} is finer than a microsecond")
    if isinstance(time, datetime):
        return datetime.isoformat(time)
    if isinstance(time, date):
        return time.isoformat()
    raise InputError(f"{time!r} is no time, as datetime, numpy.datetime64 or a text of RFC 3339")
