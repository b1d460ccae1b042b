"""Tables with the times of their rows, which are laid out on a grid of steps; or why they cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ostinato.errors import InputError, TableError
from ostinato.tables import gaps as gap_words
from ostinato.tables.clock_changes import ClockChange, find_clock_changes, may_come_twice, without_changes
from ostinato.tables.gaps import MAX_FILLED, Gap, Gaps, moment_text
from ostinato.tables.grid import Grid
from ostinato.tables.repeats import find_series_column
from ostinato.tables.stamps import CALENDAR_UNITS, HOUR, Stamp, to_datetime
from ostinato.tables.steps import STRAY, TimeStep, find_step
from ostinato.tables.table import Table
from ostinato.tables.time_axis import AxisStep, TimeAxis

CANNOT_FILL = "the model takes no missing values, so the table needs rows with values there"


@dataclass(frozen=True)
class AxisRules:
    """How rows become an axis.

    Attributes:
        gaps: what is done about steps without a row.
        step: None = the one that the rows show.
        gaps_option: how a user says what is done, with ``{}`` in place of the word.
        step_option: how a user says which step it is; empty = there is no way.
        step_owner: whose step ``step`` is, as `` of the model``.
        may_fill: whether the model takes missing values.
        series_option: how a user says which column tells series apart, with ``{}`` in its place; empty = there is no
            way.
    """

    gaps: Gaps = "fill"
    step: TimeStep | None = None
    gaps_option: str = "gaps={}"
    step_option: str = ""
    step_owner: str = ""
    may_fill: bool = True
    series_option: str = ""

    def said(self, gaps: Gaps) -> str:
        """How a user chooses ``gaps``."""
        return self.gaps_option.format(gaps)


class TimedTable:
    """Rows of a table with their times, to be laid out.

    Args:
        table: only asked for more where it is wrong, to say in which way.
        columns: those that hold the times.
        lines, stamps: of each row. ``has_offsets``: whether their moments are known, and not only a clock's.
        is_count: they are numbers of steps.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        lines: Sequence[int],
        stamps: Sequence[Stamp],
        *,
        has_offsets: bool,
        is_count: bool = False,
    ) -> None:
        self._is_count = is_count
        self._table, self._columns = table, tuple(columns)
        self._lines, self._has_offsets = lines, has_offsets
        self._moments = [stamp.moment for stamp in stamps]
        self._walls = [stamp.wall for stamp in stamps]

    def lay_out(self, rules: AxisRules) -> TimeAxis:
        """The rows on their grid.

        Raises:
            TableError: they are in no order, are of several series or of no step, leave gaps that are to be refused, or
                so many that the table would be several times as long.
        """
        if rules.gaps == "ignore" or len(self._walls) < 2:
            return TimeAxis([AxisStep(row, row, wall) for row, wall in enumerate(self._walls)], None, self._lines)
        times, notes = self._one_clock(rules.step)
        is_local = bool(notes) or self._moments != self._walls
        self._check_order(times, rules)
        grid = self._grid(times, rules)
        numbers = [grid.nearest(time) for time in times]
        notes += self._check_grid(grid, times, numbers, rules)
        if found := self._gaps(grid, times, numbers):
            self._check_gaps(grid, found, numbers[-1] - numbers[0] + 1, rules)
        return TimeAxis(self._filled(grid, times, numbers), grid.step, self._lines, tuple(notes), is_local)

    def _one_clock(self, step: TimeStep | None) -> tuple[list[int], list[str]]:
        """The times of a clock that runs evenly, and what was changed for it."""
        gaps = [later - earlier for earlier, later in pairwise(self._moments)]
        by_calendar = step.is_of_calendar if step else min(gaps) >= 23 * HOUR
        if by_calendar or self._is_count:
            return self._walls, []
        if self._has_offsets:
            return self._moments, []
        changes = find_clock_changes(self._walls)
        times, _ = without_changes(self._walls, changes)
        notes = [self._said_of(changes, is_back=is_back) for is_back in (True, False)]
        return times, [note for note in notes if note]

    def _said_of(self, changes: Sequence[ClockChange], *, is_back: bool) -> str:
        rows = [change.row for change in changes if change.is_back == is_back]
        if not rows:
            return ""
        wall, before = (moment_text(self._walls[row]) for row in (rows[0], rows[0] - 1))
        times = "once" if len(rows) == 1 else f"{len(rows)} times"
        first = "" if len(rows) == 1 else "the first time "
        if is_back:
            return (
                f"the clock is set back by an hour {times}, {first}in line {self._lines[rows[0]]}, {wall}: the hour "
                "that comes twice is two hours (daylight saving time)"
            )
        return (
            f"the clock is set forward by an hour {times}, {first}in line {self._lines[rows[0]]}, from {before} to "
            f"{wall}: the hour that is left out is no gap (daylight saving time)"
        )

    def _check_order(self, times: Sequence[int], rules: AxisRules) -> None:
        row = next((row for row in range(1, len(times)) if times[row] <= times[row - 1]), None)
        if row is None:
            return
        if all(later < earlier for earlier, later in pairwise(times)) and len(times) > 2:
            reason = "the rows run from the newest to the oldest; turn them round"
            raise self._table.fault(
                self._lines[row], f"{self._iso(row)} does not come after {self._iso(row - 1)}: {reason}"
            )
        same = next((earlier for earlier in range(row) if times[earlier] == times[row]), None)
        if len(times) >= 1.5 * len(set(times)):
            raise self._table.fault(self._lines[row], self._several_series(row, same, rules))
        if same is not None:
            raise self._table.fault(self._lines[row], self._twice(row, same, rules))
        raise self._out_of_order(row, times)

    def _out_of_order(self, row: int, times: Sequence[int]) -> TableError:
        for wrong in (row, row - 1):
            others = [*times[:wrong], *times[wrong + 1 :]]
            if all(earlier < later for earlier, later in pairwise(others)):
                order = "does not come after" if wrong == row else "comes before a row with an earlier time:"
                other = row - 1 if wrong == row else row
                return self._table.fault(
                    self._lines[wrong],
                    f"{self._iso(wrong)} {order} {self._iso(other)} in line {self._lines[other]}: it alone is out of "
                    "order, so its time is wrong, or the row is in the wrong place",
                )
        return self._table.fault(
            self._lines[row],
            f"{self._iso(row)} does not come after {self._iso(row - 1)} in line {self._lines[row - 1]}: the rows are "
            f"out of order; sort them by {', '.join(map(repr, self._columns))}",
        )

    def _several_series(self, row: int, same: int | None, rules: AxisRules) -> str:
        place = f"{self._iso(row)} does not come after line {self._lines[row - 1]}"
        if same is not None:
            place = f"{self._iso(row)} is in line {self._lines[same]}, too, and does not come after it"
        column = None
        with contextlib.suppress(InputError):
            column = find_series_column(self._table, [self._table.position(name) for name in self._columns])
        if column is None:
            return (
                f"{place}: most times are there several times, and no column tells their rows apart; keep one row for "
                f"each time ({rules.said('ignore')} takes all rows as consecutive steps)"
            )
        if column.name.lower() in (*CALENDAR_UNITS, "time"):
            return (
                f"{place}: the rest of the time is in column {column.name!r}; write it in one column, as 2024-01-31 "
                f"17:00 ({rules.said('ignore')} takes all rows as consecutive steps)"
            )
        names = ", ".join(map(repr, column.series[:3])) + (", ..." if len(column.series) > 3 else "")
        told = f"{place}: the table holds {len(column.series)} series, told apart by column {column.name!r} ({names}); "
        return told + (
            rules.series_option.format(column.name) or "a table is one series, so give each a file of its own"
        )

    def _twice(self, row: int, same: int, rules: AxisRules) -> str:
        place = f"{self._iso(row)} does not come after line {self._lines[same]}, which has the same time"
        if not self._has_offsets and may_come_twice(self._walls[row]):
            return (
                f"{place}: in an hour that comes twice when clocks are set back, and its two times are mixed; write "
                "times with their offset from UTC, or the one time after the other"
            )
        return f"{place}: it is there twice, and one row must go ({rules.said('ignore')} takes both as steps)"

    def _grid(self, times: Sequence[int], rules: AxisRules) -> Grid:
        step = rules.step or self._own_step(times)
        if step is not None:
            return Grid.of(times, step)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        shown = [
            f"{self._step_of(gap)} before line {self._lines[gaps.index(gap) + 1]}"
            for gap in sorted({min(gaps), max(gaps)})
        ]
        tell = f"{rules.step_option} tells it, and " if rules.step_option else ""
        raise TableError(
            f"{self._table.path}: its rows are not a step apart, but {' and '.join(shown)}; no step fits them. "
            f"{tell}{rules.said('ignore')} takes rows as consecutive steps, whatever their times"
        )

    def _own_step(self, times: Sequence[int]) -> TimeStep | None:
        """The one that the rows show."""
        step = find_step(times)
        return self._step_of(step.microseconds) if self._is_count and step is not None else step

    def _step_of(self, size: int) -> TimeStep:
        return TimeStep(rows=size) if self._is_count else TimeStep(size)

    def _check_grid(self, grid: Grid, times: Sequence[int], numbers: Sequence[int], rules: AxisRules) -> list[str]:
        off = [row for row, time in enumerate(times) if not grid.is_near(time)]
        own = self._own_step(times) if rules.step else None
        if off:
            raise self._off_grid(grid, times, off, own, rules)
        for row in range(1, len(numbers)):
            if numbers[row] == numbers[row - 1]:
                raise self._table.fault(
                    self._lines[row],
                    f"{self._iso(row)} and {self._iso(row - 1)} in line {self._lines[row - 1]} fall into one step of "
                    f"{grid.step}{rules.step_owner}; keep one of them",
                )
        late = [row for row, time in enumerate(times) if grid.distance(time)]
        notes = []
        if own is not None and own != grid.step and rules.step_owner:
            notes.append(f"its rows are {own} apart, and a step{rules.step_owner} is {grid.step}")
        if late:
            largest = TimeStep(max(grid.distance(times[row]) for row in late))
            rows, each = ("1 row is", "it is") if len(late) == 1 else (f"{len(late):,} rows are", "each is")
            notes.append(
                f"{rows} off the grid of {grid.step} by up to {largest}, the first in line {self._lines[late[0]]}, "
                f"{moment_text(self._walls[late[0]])}; {each} taken for the step that it is nearest to"
            )
        return notes

    def _off_grid(
        self, grid: Grid, times: Sequence[int], off: Sequence[int], own: TimeStep | None, rules: AxisRules
    ) -> TableError:
        ignored = f"{rules.said('ignore')} takes rows as consecutive steps"
        row = off[0]
        if own is not None and own != grid.step and len(off) > STRAY * len(times):
            return self._table.fault(
                self._lines[row],
                f"{self._iso(row)} is between two steps: its rows are {own} apart, and a step{rules.step_owner} is "
                f"{grid.step}; keep a row for each step, or {ignored}",
            )
        tell = f"{rules.step_option} tells another step, " if rules.step_option else ""
        near = moment_text(self._walls[row] - times[row] + grid.at(grid.nearest(times[row])), grid.step)
        return self._table.fault(
            self._lines[row],
            f"{self._iso(row)} is off the grid of {grid.step} that the other rows are on (the step next to it is "
            f"{near}); correct it or remove the row ({tell}{ignored})",
        )

    def _gaps(self, grid: Grid, times: Sequence[int], numbers: Sequence[int]) -> list[Gap]:
        found = []
        for row, (number, following) in enumerate(pairwise(numbers)):
            if following > number + 1:
                ahead = times[row] - self._walls[row]
                first, last = grid.at(number + 1) - ahead, grid.at(following - 1) - ahead
                found.append(Gap(self._lines[row], first, last, following - number - 1))
        return found

    def _check_gaps(self, grid: Grid, found: Sequence[Gap], num_steps: int, rules: AxisRules) -> None:
        most = max(found, key=lambda gap: gap.num_steps)
        if rules.gaps == "refuse" or not rules.may_fill:
            text = gap_words.sentence(found, num_steps, grid.step)
            filled = f"{rules.said('fill')} puts them in as missing values" if rules.may_fill else CANNOT_FILL
            raise TableError(
                f"{self._table.path}: {text} (the longest: {most.num_steps:,} after line {most.line}); {filled}, and "
                f"{rules.said('ignore')} takes rows as consecutive steps"
            )
        if sum(gap.num_steps for gap in found) > max(MAX_FILLED, len(self._lines)):
            raise self._table.fault(
                most.line,
                f"{most.num_steps:,} steps of {grid.step} are missing after it, from "
                f"{moment_text(most.first, grid.step)} to {moment_text(most.last, grid.step)}: more than are put in. "
                f"If the times are right, cut the table there; {rules.said('ignore')} takes rows as consecutive steps",
            )

    def _filled(self, grid: Grid, times: Sequence[int], numbers: Sequence[int]) -> list[AxisStep]:
        steps: list[AxisStep] = []
        for row, wall in enumerate(self._walls):
            if row:
                ahead = times[row - 1] - self._walls[row - 1]
                steps += [
                    AxisStep(None, row - 1, grid.at(number) - ahead)
                    for number in range(numbers[row - 1] + 1, numbers[row])
                ]
            steps.append(AxisStep(row, row, wall))
        return steps

    def _iso(self, row: int) -> str:
        return str(self._walls[row]) if self._is_count else to_datetime(self._walls[row]).isoformat()
