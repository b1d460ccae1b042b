"""Words of a back-fill that was asked for: what it runs, over what, and how; all that a process of it needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

PART_ROWS = 500_000
"""Of a part, at least."""


class OnError(StrEnum):
    """What a row does that the model does not take."""

    STOP = "stop"
    SKIP = "skip"


@dataclass(frozen=True)
class Backfill:
    """What is asked for. It can be pickled.

    Attributes:
        directory: the version's.
        files: what is read, in its order.
        id_column, time_column: empty where there is none.
        renamed: feature -> the column that holds it.
        is_last: whether only the last step of each sequence is answered.
        on_error: what a row does that the model does not take.
        memory_bytes: what the rows that are under way may take in a process.
        folder: where the parts are.
        cuts: the row before which each part begins, and behind them the number of rows.
        is_sorted: whether the files are the sorted copy, which has the number of each row.
    """

    directory: Path
    files: tuple[Path, ...]
    id_column: str = ""
    time_column: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    is_last: bool = False
    on_error: OnError = OnError.STOP
    memory_bytes: int = 1 << 30
    folder: Path = Path()
    cuts: tuple[int, ...] = ()
    is_sorted: bool = False

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return max(0, len(self.cuts) - 1)
