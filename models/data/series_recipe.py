"""A table's part of a recipe: which columns of which file are learned from; and streams to train on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, Field, model_validator

from ostinato.models.recipe import Count, FileRecipe, TrainingRecipe, meant
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.gaps import Gaps
from ostinato.tables.stamps import CALENDAR_UNITS, MAX_COUNT, to_datetime, to_moment
from ostinato.tables.steps import TimeStep


class DataRecipe(FileRecipe):
    """Where the rows come from and what they mean.

    ``file``: a table as ``docs/tables.md`` says; a relative path starts at the recipe's own folder.
    ``target``: what is forecast, one column or several. A target that is no feature is learned, and not given to the
    network.
    ``features``: the input columns in the order in which a client sends them.
    ``series``: the column, or the columns, that say which series a row belongs to; None = the file has one series.
    ``static``: columns with one value in all rows of a series, as a place; a session is opened with them.
    ``categorical``: features and static columns whose words are codes and not amounts.
    ``known_future``: features that the client knows ahead, as a price or a holiday.
    ``cycles``: categorical features whose code rises by one each step and starts again after the last, as the hour of
    the day. Where one is missing, as in a forecast, the network continues the count.
    ``least``: the lowest value of a target, as 0 for a concentration; no forecast is below it.
    ``missing``: the cells that mean a missing value; a list here replaces the default.
    ``time``: the column with the time, or the columns: a date and its time of day or hour; or whole numbers, as year,
    month, day, and optionally hour, minute, second, or year and month or quarter. None = rows are steps.
    ``gaps``: what is done about steps that have no row. ``fill`` puts them in with missing values, ``refuse`` refuses
    the file, and ``ignore`` takes rows as consecutive steps, whatever their times.
    ``step``: the time between two steps, as ``1 hour``; None = as the rows show it.
    ``validation_from``: the first moment of the validation part. A number if rows are numbered and have no times; rows
    without any are counted from 0.
    ``test_from``: the first moment of the test part, in the same form.
    ``test_until``: the moment before which the test part ends; None = with the file.
    ``season_steps``: the period of the seasonal naive forecast, as 24 for a day of hours.
    """

    target: str | Annotated[tuple[str, ...], Field(min_length=1)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    series: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    static: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    known_future: tuple[str, ...] = ()
    cycles: tuple[str, ...] = ()
    least: float | None = None
    time: Annotated[tuple[str, ...], Field(max_length=6)] = ()
    missing: tuple[str, ...] = MISSING_WORDS
    gaps: Gaps = "fill"
    step: str | None = None
    validation_from: datetime
    test_from: datetime
    test_until: datetime | None = None
    season_steps: Count = 24

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are forecast."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def series_columns(self) -> tuple[str, ...]:
        """The columns that tell series apart."""
        return () if self.series is None else (self.series,) if isinstance(self.series, str) else self.series

    @property
    def tested_from(self) -> str:
        """Where the test part begins, in words."""
        number = to_moment(self.test_from)
        return str(number) if 0 <= number < MAX_COUNT else str(self.test_from)

    @property
    def unseen_targets(self) -> tuple[str, ...]:
        """Those of them that are no features."""
        return tuple(name for name in self.targets if name not in self.features)

    @model_validator(mode="before")
    @classmethod
    def _dates_are_midnights(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {key: _naive_utc(value) if key in _BORDERS else value for key, value in given.items()}

    @model_validator(mode="after")
    def _check(self) -> DataRecipe:
        for key, names in (("features", self.features), ("target", self.targets), ("static", self.static)):
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: a column occurs twice")
        self._check_columns()
        if len(self.time) == 2 and self.time[0].lower() in CALENDAR_UNITS[1:]:
            raise ValueError(
                f"time: {self.time[0]!r} and {self.time[1]!r} tell no time; give one column, a date and its hour or "
                "time of day, or year, month, day and smaller units"
            )
        if self.step is not None:
            try:
                TimeStep.parse(self.step)
            except ValueError as error:
                raise ValueError(f"step: {error}") from error
        if self.step is not None and self.gaps == "ignore":
            raise ValueError(
                "step: gaps = 'ignore' takes rows as they come, whatever their times; leave one of them out"
            )
        if self.validation_from >= self.test_from:
            raise ValueError("validation_from must be earlier than test_from")
        if self.test_until is not None and self.test_from >= self.test_until:
            raise ValueError("test_from must be earlier than test_until")
        return self

    def _check_columns(self) -> None:
        if both := set(self.static) & {*self.features, *self.targets}:
            raise ValueError(f"static: {sorted(both)} are features or targets, which change from step to step")
        if codes := set(self.targets) & set(self.categorical):
            raise ValueError(f"target: {sorted(codes)[0]!r} is categorical; a forecast needs an amount")
        for key, names, known in (
            ("categorical", self.categorical, (*self.features, *self.static)),
            ("known_future", self.known_future, self.features),
            ("cycles", self.cycles, [name for name in self.categorical if name in self.features]),
        ):
            if unknown := set(names) - set(known):
                what = "categorical features" if key == "cycles" else "features"
                near = meant(min(unknown), list(known))
                raise ValueError(f"{key}: {sorted(unknown)} are not among the {what} {list(known)}{near}")
        if forecast := set(self.known_future) & set(self.targets):
            raise ValueError(f"known_future: {sorted(forecast)} are what is forecast")


class StreamTraining(TrainingRecipe):
    """How it is trained.

    ``batch_size``: into how many streams, the rows of a batch, the training part is cut; ``num_streams`` is a former
    name.
    ``window_steps``: over how many steps the gradient flows back; the state is carried from window to window.
    """

    batch_size: Count = Field(default=32, validation_alias=AliasChoices("batch_size", "num_streams"))
    max_epochs: Count = Field(default=40, validation_alias=AliasChoices("max_epochs", "num_epochs"))
    patience_epochs: Count | None = 6
    window_steps: Count = 48


_BORDERS = ("validation_from", "test_from", "test_until")


def _naive_utc(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return to_datetime(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    return value
