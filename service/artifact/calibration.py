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
    """One target, and what its forecasts were off by in the validation part, in what they are counted in.

    ``name``: of the input feature that is forecast.
    ``scores``: of the levels, how far readings were from the forecast one step ahead: what a session begins from.
    ``changes``: of each lag and the levels, how far they were from the reading so many steps before: in the same way.
    ``scales``: at each step ahead and of each level, how many times as far as what is tracked for it
    (``Calibration.basis``) readings were from the forecast.
    ``most_repeats``: how often in a row the same number was read, except for a few readings; one that comes more often
    is told as an anomaly, as of a sensor that is stuck. 0 = it is not looked at.
    """

    name: str
    scores: tuple[Multiple, ...]
    changes: tuple[tuple[Multiple, ...], ...] = ()
    scales: Annotated[tuple[tuple[Multiple, ...], ...], Field(min_length=1)]
    most_repeats: Annotated[int, Field(ge=0)] = 0


class Alarm(Part):
    """When readings are told to be anomalous: from a score of ``begin`` on, until one of ``end`` or less.

    ``begin``: the score from which on a reading is an anomaly.
    ``end``: the score at which it ends, inclusive.
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

    ``until``: None = at the limit itself.
    ``feature``: the input feature.
    ``above``, ``below``: the limit; one of them is given.
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
    """How a session keeps count of what its forecasts are off by.

    Of each target and level a session tracks a number that the share ``level`` of the scores is at or below: at each
    reading it is multiplied by ``raises`` where the score was above it, and else by ``lowers`` (adaptive conformal
    inference, Gibbs and Candes, 2021; quantile tracking, Angelopoulos, Candes and Tibshirani, 2023, here by factors, so
    that it fits any unit). They are here as numbers, so that no library's logarithm has a say in them.

    ``levels``: rising.
    ``lags``: rising. Of a forecast that is fed back, what it is off by several steps ahead is known only then, and to
    anyone who made it; how far readings move in so many steps is known to the session, and rises and falls with it.
    Without lags all follows from what forecasts one step ahead were off by.
    ``least``, ``most``: parts, or multiples, of a target's ``scores`` below and above which it does not go.
    ``targets``: what is tracked of each target.
    ``raises``, ``lowers``: the factors, one for each of ``levels``.
    ``alarm``: when readings are told to be anomalous; None = never.
    ``crossings``: limits of input features that are told of.
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
