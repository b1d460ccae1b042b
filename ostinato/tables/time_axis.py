"""Time axes: series as steps, one after the other, with those that no row is there for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

from ostinato.tables import gaps as gap_words
from ostinato.tables.gaps import Gap
from ostinato.tables.steps import TimeStep

COARSER_ROWS = 10
"""From how many gaps of one size in a row on it is said that a table has another step there."""


class AxisStep(NamedTuple):
    """A step: the row that it is, or None; the row that it is or comes after; the clock's time, in microseconds."""

    row: int | None
    last_row: int
    wall: int


@dataclass(frozen=True)
class TimeAxis:
    """A series as steps, one after the other.

    ``step``: None = rows are consecutive, whatever their times. ``lines``: of all rows of the table that were laid out.
    ``notes``: sentences about what was met on the way. ``is_local``: whether its clock is not UTC's, as its offsets or
    its changes show.
    """

    steps: list[AxisStep]
    step: TimeStep | None
    lines: Sequence[int]
    notes: tuple[str, ...] = ()
    is_local: bool = False

    @property
    def num_filled(self) -> int:
        """How many steps have no row."""
        return sum(step.row is None for step in self.steps)

    def position(self, row: int) -> int:
        """Where among the steps a row is."""
        return next(place for place, step in enumerate(self.steps) if step.row == row)

    def part(self, start: int, stop: int | None) -> TimeAxis:
        """The steps from one place to before another; None = to the end."""
        return replace(self, steps=self.steps[start:stop])

    def gaps(self) -> list[Gap]:
        """The runs of steps without a row."""
        found = []
        missing = (step for step in self.steps if step.row is None)
        for row, steps in groupby(missing, key=attrgetter("last_row")):
            walls = [step.wall for step in steps]
            found.append(Gap(self.lines[row], walls[0], walls[-1], len(walls)))
        return found

    def all_notes(self) -> list[str]:
        """The notes, and what is missing."""
        found = self.gaps()
        if not found or self.step is None:
            return list(self.notes)
        text = gap_words.sentence(found, len(self.steps), self.step)
        put_in = "it is put in, its values" if self.num_filled == 1 else "they are put in, their values"
        told = f"{text}; {put_in} missing. The longest:\n{gap_words.longest(found, self.step)}"
        return [*self.notes, told, *self._coarser(found)]

    def _coarser(self, found: Sequence[Gap]) -> list[str]:
        """A sentence about where every second step, or third, has no row: there the table is of another step."""
        assert self.step is not None, "only steps can be missing"
        next_line = dict(pairwise(self.lines))
        start, best = 0, range(0)
        for place, gap in enumerate(found):
            before = found[place - 1]
            if place and (gap.num_steps, gap.line) != (before.num_steps, next_line[before.line]):
                start = place
            best = max(best, range(start, place + 1), key=len)
        if len(best) < COARSER_ROWS or self.step.working_days:
            return []
        first, last = found[best[0]], found[best[-1]]
        coarser = TimeStep(*(part * (first.num_steps + 1) for part in self.step))
        return [f"from line {first.line} to line {next_line[last.line]} its rows are {coarser} apart"]
