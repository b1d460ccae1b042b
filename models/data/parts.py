"""Parts of data: what teaches, what says when to stop, and what is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

PartName: TypeAlias = Literal["training", "validation", "test"]
PARTS: tuple[PartName, ...] = get_args(PartName)
# Of the data, what is held out as validation or as test part.
PartFraction: TypeAlias = Annotated[float, Field(gt=0, lt=0.5)]

LEAST_NAMES = 20
"""Of fewer, all are in every part: what little there is had better be learned."""


def part_of(name: str, validation_fraction: float, test_fraction: float) -> PartName:
    """The part of what has this name, by the name alone: what is added or removed moves nothing else."""
    place = _place(name)
    if place < round(1 - validation_fraction - test_fraction, 12):
        return "training"
    return "validation" if place < round(1 - test_fraction, 12) else "test"


def split_by_name(
    names: Iterable[str], validation_fraction: float, test_fraction: float
) -> dict[str, tuple[PartName, ...]]:
    """The part of each name; all parts, where there are too few names to hold one out.

    A part that chance left empty is given one of the training part, the same for the same names.
    """
    parts = {name: part_of(name, validation_fraction, test_fraction) for name in names}
    if len(parts) < LEAST_NAMES:
        return dict.fromkeys(parts, PARTS)
    for part in PARTS:
        if part not in (given := list(parts.values())):
            most = max(PARTS, key=given.count)
            parts[max((name for name in parts if parts[name] == most), key=_place)] = part
    return {name: (part,) for name, part in parts.items()}


def _place(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
