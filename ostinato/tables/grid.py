"""Grids of time: a first moment and a step, by which every moment has a number."""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ostinato.tables.stamps import DAY, to_datetime, to_moment
from ostinato.tables.steps import NEAR, TimeStep, is_month_end, month_of, working_day_of


@dataclass(frozen=True)
class Grid:
    """Moments a step apart, number 0 at ``anchor``; of months, on the anchor's day or the last before it.

    ``day``: of the month; 0 = the anchor's own.
    """

    step: TimeStep
    anchor: int
    day: int = 0

    @classmethod
    def of(cls, times: Sequence[int], step: TimeStep) -> Grid:
        """The grid of this step that most of the times are on."""
        if step.months:
            ends = all(is_month_end(time) for time in times)
            return cls(step, times[0], 31 if ends else max(to_datetime(time).day for time in times))
        if step.working_days:
            return cls(step, times[0] // DAY * DAY + Counter(time % DAY for time in times).most_common(1)[0][0])
        size = step.microseconds or step.rows
        [(usual, num_usual)] = Counter(time % size for time in times).most_common(1)
        # Late by some seconds each, no two stamps need to be late by the same: then the round ones count.
        phases = [usual] if num_usual > len(times) / 2 else [0, usual, times[0] % size]
        grids = [cls(step, times[0] - (times[0] - phase) % size) for phase in phases]
        return min(grids, key=lambda grid: sum(not grid.is_near(time) for time in times))

    def at(self, number: int) -> int:
        """The moment of a number."""
        if self.step.months:
            year, month = divmod(month_of(self.anchor) + number * self.step.months, 12)
            start = to_datetime(self.anchor)
            last = calendar.monthrange(year, month + 1)[1]
            return to_moment(start.replace(year=year, month=month + 1, day=min(self.day or start.day, last)))
        if self.step.working_days:
            days = working_day_of(self.anchor // DAY)[0] + number
            return (days // 5 * 7 + days % 5 - 3) * DAY + self.anchor % DAY
        return self.anchor + number * (self.step.microseconds or self.step.rows)

    def nearest(self, time: int) -> int:
        """The number of the moment that a time is nearest to; of months, the one in its month."""
        if self.step.months:
            return (month_of(time) - month_of(self.anchor)) // self.step.months
        if self.step.working_days:
            return working_day_of(time // DAY)[0] - working_day_of(self.anchor // DAY)[0]
        size = self.step.microseconds or self.step.rows
        return (2 * (time - self.anchor) + size) // (2 * size)

    def distance(self, time: int) -> int:
        """How many microseconds a time is off the moment that it is nearest to."""
        return abs(time - self.at(self.nearest(time)))

    def is_near(self, time: int) -> bool:
        """Whether a time is one of the grid's moments, but for a small part of a step."""
        distance = self.distance(time)
        return distance == 0 or distance <= NEAR * self.step.microseconds
