"""Gaps of a series: steps that no row is there for, and the sentences about them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from ostinato.tables.stamps import DAY, SECOND, to_datetime
from ostinato.tables.steps import TimeStep

Gaps: TypeAlias = Literal["fill", "refuse", "ignore"]
"""How steps without a row are treated: put in, their values missing; refused; or rows are taken as consecutive."""

NUM_SHOWN = 5
MAX_FILLED = 100_000
"""How many steps are put in at most, where the table has not more rows itself."""


class Gap(NamedTuple):
    """Steps that are missing after a row: its line, the first and the last of them, and how many."""

    line: int
    first: int
    last: int
    num_steps: int


def sentence(gaps: Sequence[Gap], num_steps: int, step: TimeStep) -> str:
    """How much is missing of a series with ``num_steps``, and where the first of it is."""
    missing = sum(gap.num_steps for gap in gaps)
    where = f"the first after line {gaps[0].line}, {moment_text(gaps[0].first, step)}"
    have = "has" if missing == 1 else "have"
    runs = "1 gap" if len(gaps) == 1 else f"{len(gaps):,} gaps"
    return f"{missing:,} of {num_steps:,} steps of {step} {have} no row, in {runs}, {where}"


def longest(gaps: Sequence[Gap], step: TimeStep | None = None) -> str:
    """A small table of the longest gaps, a line each below its header."""
    shown = heapq.nsmallest(NUM_SHOWN, gaps, key=lambda gap: (-gap.num_steps, gap.line))
    cells = [("after line", "steps", "from", "to")]
    cells += [
        (f"{gap.line:,}", f"{gap.num_steps:,}", moment_text(gap.first, step), moment_text(gap.last, step))
        for gap in shown
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned: list[Callable[[str, int], str]] = [str.rjust, str.rjust, str.ljust, str.ljust]
    return "\n".join(
        "  " + "  ".join(place(cell, width) for place, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
        for row in cells
    )


def moment_text(wall: int, step: TimeStep | None = None) -> str:
    """A moment as a clock and calendar show it, without what is zero; of numbered rows, the number."""
    if step is not None and step.rows:
        return str(wall)
    time: datetime = to_datetime(wall)
    if wall % DAY == 0:
        return time.date().isoformat()
    unit = "minutes" if wall % (60 * SECOND) == 0 else "seconds" if wall % SECOND == 0 else "auto"
    return time.isoformat(" ", unit)
