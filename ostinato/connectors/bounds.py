"""Bounds of settings: what a member's value may be, as its field tells it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import Field, field
from itertools import islice
from typing import Any

from ostinato.errors import InputError

MAX_NAMES = 200
"""Among which the nearest is looked for: a message may have any number of members."""
MAX_SHOWN = 60
LONGEST_SECONDS = 7 * 86_400.0


def within(default: Any, least: float, most: float) -> Any:
    """A field of a number from ``least`` to ``most``, both inclusive."""
    return field(default=default, metadata={"least": least, "most": most})


def seconds(default: float, least: float = 0.01) -> Any:
    """A field of a time in seconds, a week at most."""
    return within(default, least, LONGEST_SECONDS)


def port(default: int, least: int = 1) -> Any:
    """A field of a TCP port."""
    return within(default, least, 65_535)


def one_of(default: str, *words: str) -> Any:
    """A field of one of some words."""
    return field(default=default, metadata={"words": words})


def check_bounds(place: str, value: Any, part: Field[Any]) -> None:
    """Refuse a value of the right type that its field does not take.

    Raises:
        InputError: it is not within the bounds (nan is within none), or none of the words.
    """
    if "least" in part.metadata:
        least, most = part.metadata["least"], part.metadata["most"]
        if not least <= value <= most:
            raise InputError(f"{place}: {value} is not from {least:.9g} to {most:.9g}")
    words = part.metadata.get("words", ())
    if words and value not in words:
        raise InputError(f"{place}: {value!r} is none; {nearest(value, [word for word in words if word])}")


def nearest(name: str, names: Sequence[str]) -> str:
    """What may have been meant, as the end of a sentence: the nearest of some names, or all of a few."""
    some = [shown(one) for one in islice(names, MAX_NAMES)]
    found = difflib.get_close_matches(shown(name), some, 3, 0.5)
    return f"did you mean {' or '.join(found)}?" if found else f"there is {', '.join(some[:30])}"


def shown(text: str) -> str:
    """As much of a text as is told to somebody, with escapes for what no terminal or broker should be given."""
    some = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode() for sign in some)
