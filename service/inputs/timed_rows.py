"""Timed rows: steps with their times, and what they become behind a session's last step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput, TimeConflict
from ostinato.service.inputs.sequences import check_numbers
from ostinato.service.inputs.series_clock import SeriesClock, interval_of


class Placed(NamedTuple):
    """A chunk as it is applied.

    Attributes:
        rows: ``[m, F]``, those that were given and those that are filled in before them and between.
        positions: int64 ``[n]``, where the given ones are; None = they are all.
    """

    rows: NDArray[Any]
    positions: NDArray[np.int64] | None

    @property
    def num_filled(self) -> int:
        """How many were filled in."""
        return 0 if self.positions is None else len(self.rows) - len(self.positions)


class TimedRows:
    """Steps that somebody sent with their times, before it is known which step they come behind.

    Args:
        numbers: int64 ``[n]``, rising.
        rows: ``[n, width]`` of ``layout``, one of ``clock.layout``.

    Attributes:
        rows: ``[n, F]``, with what the calendar tells of them; an interval that is to be told is NaN.
    """

    def __init__(
        self, clock: SeriesClock, numbers: NDArray[np.int64], rows: NDArray[Any], layout: RowLayout[Input], part: Input
    ) -> None:
        self.clock, self.numbers, self._part = clock, numbers, part
        self._is_short = layout is clock.sent
        self.rows = rows
        if self._is_short:
            self.rows = clock.rows(numbers)
            self.rows[:, clock.places] = rows
        if self._is_short and not part.missing:
            told = self.rows.copy()
            if clock.interval_place is not None:
                told[:, clock.interval_place] = 0
            check_numbers(told, part, "inputs")

    def placed(self, last: int, max_steps: int) -> Placed:
        """The chunk that they are behind the step of number ``last``, or ``NO_TIME``.

        Raises:
            TimeConflict: they do not come after it; or more steps lie between than may be filled in.
        """
        numbers = self.numbers
        if last != NO_TIME and numbers[0] <= last:
            raise self._late(last)
        if self.clock.is_irregular:
            return Placed(self._with_intervals(last), None)
        first = int(numbers[0]) if last == NO_TIME else last + 1
        num_steps = int(numbers[-1]) - first + 1
        num_filled = num_steps - len(numbers)
        if not num_filled:
            return Placed(self.rows, None)
        if not self._part.missing or num_filled > self.clock.time.max_fill_steps or num_steps > max_steps:
            raise self._gap(last, num_filled, max_steps)
        rows = self.clock.rows(np.arange(first, first + num_steps))
        positions = numbers - first
        rows[positions] = self.rows
        return Placed(rows, positions)

    def texts(self) -> list[str | None]:
        """Their times."""
        return [self.clock.text(number) for number in self.numbers.tolist()]

    def _with_intervals(self, last: int) -> NDArray[Any]:
        if not self._is_short:
            return self.rows
        time, numbers = self.clock.time, self.numbers
        assert time.interval is not None
        rows = self.rows.copy()
        first = time.interval.first if last == NO_TIME else interval_of(time, int(numbers[0]) - last)
        later = [interval_of(time, gap) for gap in np.diff(numbers).tolist()]
        rows[:, self.clock.interval_place] = [np.nan if first is None else first, *later]
        return rows

    def _late(self, last: int) -> TimeConflict:
        text, number = self.clock.text, int(self.numbers[0])
        return TimeConflict(
            f"the session's last step is of {text(last)}, and this chunk begins at {text(number)}: what is older is "
            "not taken, and a chunk is answered again only where it is the one applied last, sent unchanged",
            last_at=text(last),
            expected_at=self._expected(last),
        )

    def _gap(self, last: int, num_filled: int, max_steps: int) -> TimeConflict:
        text, most = self.clock.text, self.clock.time.max_fill_steps
        where = f"before {text(int(self.numbers[-1]))}"
        if last != NO_TIME:
            where = f"between {text(last)} and {text(int(self.numbers[-1]))}"
        why = f"at most {most} are filled in as missing, and a chunk has at most {max_steps}"
        if not self._part.missing:
            why = "the model takes no missing values, so none is filled in"
        return TimeConflict(
            f"{num_filled} steps of {self.clock.step} are missing {where}; {why}: send them, or reset the session, "
            "which then begins at any time",
            last_at=text(last),
            expected_at=self._expected(last),
        )

    def _expected(self, last: int) -> str | None:
        """The time of the next step; None where any comes next."""
        return None if last == NO_TIME or self.clock.is_irregular else self.clock.text(last + 1)


def read_timed(
    clock: SeriesClock | None, at: Any, rows: NDArray[Any], layout: RowLayout[Input], given: RowLayout[Input]
) -> TimedRows:
    """Steps, rows of ``layout``, with their times.

    Raises:
        InvalidInput: there is no clock, or a time is not one of a step; names the place.
    """
    if clock is None:
        raise no_time_error()
    return TimedRows(clock, clock.numbers(at, len(rows)), rows, layout, given.parts[0])


def no_time_error() -> InvalidInput:
    """The error of a time that was sent to a model without a time."""
    return InvalidInput(
        "the model's manifest has no time: export it again (a forecaster of a table with times has one by itself; "
        "--time-step, --interval and --zone tell it of any other), or send seq",
        field="at",
    )
