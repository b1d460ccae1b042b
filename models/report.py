"""Reports of training: how far it is, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

# report(done, total, text): how many of how many epochs, and what to show next to the bar.
# With a total of 0 the text is a sentence of its own.
Report: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScoreTable:
    """What a network scores, ready to be shown: the first column is text, the others are numbers.

    ``note``: a sentence to show below it; empty for none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
