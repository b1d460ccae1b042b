"""Time of a series: how far its steps are apart, by which clock, and which features a calendar tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from ostinato.service.artifact.tensors import Input, Part, State
from ostinato.tables.steps import TimeStep

NO_TIME = -(2**62)
"""In the place of a step's number: the session does not know when its last step was."""
TIMES = "kept.times"
"""What the tensor is called that holds a session's times: the numbers of its last step, and of the one before the
chunk applied last.
"""
DEFAULT_FILL_STEPS = 1000

Unit: TypeAlias = Literal[
    "year", "quarter", "month", "week", "day", "weekday", "day_of_year", "hour", "minute", "second"
]
NUM_VALUES: dict[str, int] = {
    "quarter": 4,
    "month": 12,
    "week": 53,
    "day": 31,
    "weekday": 7,
    "day_of_year": 366,
    "hour": 24,
    "minute": 60,
    "second": 60,
}
"""How many values each unit has; the years have no end."""
INTERVAL_UNITS = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}
"""Microseconds."""


class CalendarFeature(Part):
    """A feature that is computed from the time of a step, so that the client need not send it.

    ``unit``: what is counted, from 0 within the next larger unit: January, Mondays and the first of a month are 0; a
    year is itself.
    ``codes``: the feature's number for each value of the unit; None = the training had none there, so it is missing.
    Empty = the value of the unit plus ``first``.
    ``first``: the number that the unit's first value has.
    """

    unit: Unit
    first: int = 0
    codes: tuple[float | None, ...] = ()

    @model_validator(mode="after")
    def _check_codes(self) -> CalendarFeature:
        if self.codes and len(self.codes) != NUM_VALUES.get(self.unit):
            raise ValueError(
                f"calendar: {len(self.codes)} codes; {self.unit} has {NUM_VALUES.get(self.unit, 'no end')}"
            )
        return self


class IntervalFeature(Part):
    """The feature with the time since the step before, in a series whose steps are not equally far apart.

    ``feature``: its name among the features of the input.
    ``unit``: what its number counts.
    ``first``: its number for a step with no known time before it; None = it is missing.
    """

    feature: str
    unit: Literal["day", "hour", "minute", "second"] = "second"
    first: float | None = None


class SeriesTime(Part):
    """How the steps of a series lie in time.

    ``step``: the time between two steps in words, as ``1 hour`` or ``1 month``; empty for an irregular series, which
    has an ``interval`` instead.
    ``zone``: the time zone of calendar features and of times without an offset, an IANA name; empty = UTC. Steps of
    whole days, months and working days are counted by the clock of that zone, all others by time itself.
    ``origin``: a moment that is a step, by the same clock.
    ``day``: for steps of months, the day of the month, or the last day before it in shorter months; 0 = the origin's.
    ``calendar``: for each calendar feature of the input, how it is computed.
    ``interval``: of an irregular series, the feature with the time since the step before.
    ``max_fill_steps``: how many steps that were not sent are filled in as missing before a chunk and in it, inclusive.
    """

    step: str = ""
    zone: str = ""
    origin: datetime = datetime(1970, 1, 1)
    day: Annotated[int, Field(ge=0, le=31)] = 0
    calendar: dict[str, CalendarFeature] = Field(default_factory=dict)
    interval: IntervalFeature | None = None
    max_fill_steps: Annotated[int, Field(ge=0, le=100_000)] = DEFAULT_FILL_STEPS

    @property
    def made_features(self) -> tuple[str, ...]:
        """The features that need not be sent with a step whose time is told."""
        return (*self.calendar, *([] if self.interval is None else [self.interval.feature]))

    @property
    def state(self) -> State:
        """What a session keeps of it, which the graph does not see."""
        return State.unseen(TIMES, (2,), "int64").model_copy(update={"initial": float(NO_TIME)})

    def check_inputs(self, inputs: Sequence[Input]) -> None:
        """Hold it to the inputs of its model.

        Raises:
            ValueError: it does not fit them.
        """
        if len(inputs) != 1 or len(inputs[0].row_shape) != 1 or not inputs[0].dtype.startswith("float"):
            raise ValueError("time: only of a model with one flat input of floats, a row of features a step")
        part = inputs[0]
        if unknown := [name for name in self.made_features if name not in part.features]:
            raise ValueError(f"time: {unknown[0]!r} is no feature of {part.name!r}")
        if len(set(self.made_features)) != len(self.made_features):
            raise ValueError("time: the interval is no feature of the calendar")
        if self.interval is not None and self.interval.first is None and not part.missing:
            raise ValueError("time: the first interval is missing, and the model takes no missing values: give 'first'")

    @model_validator(mode="after")
    def _check(self) -> SeriesTime:
        if bool(self.step) == (self.interval is not None):
            raise ValueError("time: a series has a step, or an interval among its features")
        if self.step and TimeStep.parse(self.step).rows:
            raise ValueError("time: steps of rows have no time")
        if self.origin.tzinfo is not None:
            raise ValueError("time: the origin is told by the zone's own clock, without an offset")
        try:
            ZoneInfo(self.zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"time: {self.zone!r} is no time zone that is known here; one is Europe/Berlin (without the system's "
                "zones, the package tzdata brings them)"
            ) from error
        return self
