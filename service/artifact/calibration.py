"""Calibration: by what a forecaster's sessions tell how far readings are from its forecasts, as a manifest has it."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from ostinato.service.artifact.tensors import Part

Level: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Multiple: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]

MAX_LEVELS = 100
MAX_CROSSINGS = 100
MAX_LAGS, MAX_LAG = 8, 1000


class CalibratedTarget(Part):
    """One target, and how far its forecasts were off in the validation part, in the unit of the scores.

    ``name``: the input feature that is forecast.
    ``scores``: for each level, how far readings were from the forecast one step ahead. A session starts with these.
    ``changes``: for each lag and level, how far readings were from the reading so many steps before. A session starts
    with these, too.
    ``scales``: for each step ahead and level, how far readings were from the forecast, as a multiple of the tracked
    number (``Calibration.basis``).
    ``most_repeats``: how often in a row the same number was read, apart from a few readings. A number that comes more
    often is an anomaly, as of a sensor that is stuck. 0 = repeats are not looked at.
    """

    name: str
    scores: tuple[Multiple, ...]
    changes: tuple[tuple[Multiple, ...], ...] = ()
    scales: Annotated[tuple[tuple[Multiple, ...], ...], Field(min_length=1)]
    most_repeats: Annotated[int, Field(ge=0)] = 0


class Alarm(Part):
    """When readings are anomalous: from a score of ``begin`` or more, until one of ``end`` or less.

    ``begin``: the score from which a reading is an anomaly, inclusive.
    ``end``: the score at which the anomaly ends, inclusive.
    """

    begin: Level = 0.99
    end: Level = 0.9

    @model_validator(mode="after")
    def _check_order(self) -> Alarm:
        if self.end > self.begin:
            raise ValueError(f"alarm: it ends at {self.end:g}, above its begin at {self.begin:g}")
        return self


class Crossing(Part):
    """A limit of an input feature: crossed when a reading is above (or below) it, until one is back at ``until``.

    ``feature``: the input feature.
    ``above``: the limit, crossed by readings above it; either this or ``below`` is given.
    ``below``: the limit, crossed by readings below it; either this or ``above`` is given.
    ``until``: the value at which the crossing ends; None = the limit itself.
    """

    feature: str
    above: Finite | None = None
    below: Finite | None = None
    until: Finite | None = None

    @property
    def limit(self) -> float:
        """The number that is crossed."""
        limit = self.below if self.above is None else self.above
        assert limit is not None
        return limit

    @property
    def back_at(self) -> float:
        """The number at which it ends."""
        return self.limit if self.until is None else self.until

    @model_validator(mode="after")
    def _check_limit(self) -> Crossing:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"crossing of {self.feature!r}: it has one limit, above or below")
        if self.back_at > self.limit if self.above is not None else self.back_at < self.limit:
            raise ValueError(f"crossing of {self.feature!r}: until lies beyond its limit")
        return self


class Calibration(Part):
    """How a session keeps count of how far its forecasts are off.

    For each target and level a session tracks one number: the share ``level`` of the scores is at or below it. After
    each reading the number is multiplied by ``raises`` where the score was above it, and otherwise by ``lowers``. This
    is adaptive conformal inference (Gibbs and Candes, 2021) as quantile tracking (Angelopoulos, Candes and Tibshirani,
    2023), here by factors, so that it fits any unit. The factors are written here as numbers, so that no library's
    logarithm can change them.

    ``levels``: the levels of the intervals, rising.
    ``lags``: how many steps before a reading it is compared with, rising. How far a forecast that is fed back is off
    several steps ahead is known only after those steps. A session knows how far readings move in so many steps, which
    rises and falls with it. Without lags, all follows from the forecasts one step ahead.
    ``least``: the tracked number is never below this part of the target's ``scores``.
    ``most``: the tracked number is never above this multiple of the target's ``scores``.
    ``targets``: what is tracked of each target.
    ``raises``: the factors by which tracked numbers rise, one for each of ``levels``.
    ``lowers``: the factors by which tracked numbers fall, one for each of ``levels``.
    ``alarm``: when readings are anomalous; None = never.
    ``crossings``: limits of input features of which a session gives notice.
    """

    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=MAX_LEVELS)]
    raises: tuple[Multiple, ...]
    lowers: tuple[Multiple, ...]
    lags: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_LAG)], ...], Field(max_length=MAX_LAGS)] = ()
    least: Multiple = 2.0**-8
    most: Multiple = 2.0**10
    targets: Annotated[tuple[CalibratedTarget, ...], Field(min_length=1)]
    alarm: Alarm = Alarm()
    crossings: Annotated[tuple[Crossing, ...], Field(max_length=MAX_CROSSINGS)] = ()

    @property
    def num_steps(self) -> int:
        """How many steps ahead intervals are known."""
        return min(len(target.scales) for target in self.targets)

    def basis(self, ahead: int) -> int:
        """What an interval so many steps ahead goes by: 0 = scores, i = changes over the i-th lag."""
        if ahead == 1 or not self.lags:
            return 0
        return 1 + next((place for place, lag in enumerate(self.lags) if lag >= ahead), len(self.lags) - 1)

    @model_validator(mode="after")
    def _check_lengths(self) -> Calibration:
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError("calibration: levels do not rise")
        number = len(self.levels)
        columns = [self.raises, self.lowers, *(target.scores for target in self.targets)]
        columns += [numbers for target in self.targets for numbers in (*target.scales, *target.changes)]
        if any(len(column) != number for column in columns):
            raise ValueError(f"calibration: one number for each of {number} levels is needed")
        if list(self.lags) != sorted(set(self.lags)) or any(
            len(each.changes) != len(self.lags) for each in self.targets
        ):
            raise ValueError("calibration: lags do not rise, or a target has not the changes of each")
        for target in self.targets:
            if any(list(numbers) != sorted(numbers) for numbers in (target.scores, *target.changes)):
                raise ValueError("calibration: scores and changes do not rise with their levels")
        return self
