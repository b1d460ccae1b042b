"""Parts of data: what teaches, what says when to stop, and what is held out."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

PartName: TypeAlias = Literal["training", "validation", "test"]
PARTS: tuple[PartName, ...] = get_args(PartName)
