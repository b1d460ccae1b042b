"""Clock of a series: times as people write them become numbers of steps, and what a calendar tells of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.series_time import INTERVAL_UNITS, NO_TIME, CalendarFeature, SeriesTime
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.tables.grid import Grid
from ostinato.tables.stamps import to_datetime, to_moment
from ostinato.tables.steps import TimeStep

YEARS = range(1600, 3001)
"""Of times that are taken: what is counted on from there is still a date."""
NUM_KNOWN = 4096
"""Times, and what a calendar tells of them, that are kept: those of many sessions are the same."""
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
_TOO_FINE = re.compile(r"\.\d{6}0*[1-9]")


class SeriesClock:
    """The times of a model's steps, each of which has a number: the next step's is one more.

    Of an irregular series the number is the microseconds since 1970, and steps come when they come.

    Args:
        time: as the manifest has it. part: the model's input.

    Attributes:
        is_irregular: see above.
        sent: what a step is without the features that are told by its time; None where it has no other.
    """

    def __init__(self, time: SeriesTime, part: Input) -> None:
        self.time, self._part = time, part
        self.is_irregular = time.interval is not None
        self._zone = ZoneInfo(time.zone) if time.zone else UTC
        self.step = TimeStep.parse(time.step) if time.step else TimeStep(1)
        # Days and months are those of a calendar on the wall, whatever its clock does.
        self._is_of_wall = self.step.is_of_calendar
        origin = to_moment(time.origin)
        if self.is_irregular:
            origin = 0
        elif not self._is_of_wall:
            origin = self._instant(time.origin)
        self._grid = Grid(self.step, origin, time.day)
        made = set(time.made_features)
        self.places = [place for place, name in enumerate(part.features) if name not in made]
        self.sent = RowLayout([_only(part, self.places)]) if made and self.places else None
        self._calendar = [(part.features.index(name), feature) for name, feature in time.calendar.items()]
        self.interval_place = None if time.interval is None else part.features.index(time.interval.feature)
        self.number_of = lru_cache(NUM_KNOWN)(self._number_of)
        self.told = lru_cache(NUM_KNOWN)(self._told)

    @classmethod
    def of(cls, manifest: Manifest) -> SeriesClock | None:
        """That of a model; None where its manifest has no time."""
        return None if manifest.time is None else cls(manifest.time, manifest.inputs[0])

    def layout(self, inputs: Any, given: RowLayout[Input]) -> RowLayout[Input]:
        """What steps of this width are: all features, which ``given`` has, or those that no time tells."""
        is_list = isinstance(inputs, list | np.ndarray) and len(inputs) and isinstance(inputs[0], list | np.ndarray)
        is_short = self.sent is not None and is_list and len(inputs[0]) == self.sent.width
        return self.sent if is_short and self.sent is not None else given

    def numbers(self, at: str | Sequence[str], num_steps: int) -> NDArray[np.int64]:
        """The numbers of steps whose first is at this time, or that are at these, int64 ``[n]``.

        Raises:
            InvalidInput: a time cannot be read, is no step, or does not come after the one before; names the place.
        """
        if isinstance(at, str):
            if self.is_irregular and num_steps > 1:
                raise InvalidInput(f"one time for {num_steps} steps of an irregular series: give one for each", "at")
            return self._of(at, "at") + np.arange(num_steps)
        if len(at) != num_steps:
            raise InvalidInput(f"{len(at)} times for {num_steps} steps; give one for each, or the first alone", "at")
        found = np.array([self._of(text, f"at[{place}]") for place, text in enumerate(at)], np.int64)
        if (late := np.flatnonzero(np.diff(found) <= 0)).size:
            place = int(late[0]) + 1
            raise InvalidInput(f"{at[place]} does not come after {at[place - 1]}", f"at[{place}]")
        return found

    def text(self, number: int) -> str | None:
        """The time of a step, as RFC 3339 by the zone's clock; None where none is known, or it is out of all dates."""
        try:
            return None if number == NO_TIME else _text(self._time(number))
        except (OverflowError, ValueError):
            return None

    def utc(self, number: int) -> str | None:
        """The same in UTC, which every version of the model reads alike."""
        try:
            return None if number == NO_TIME else _text(self._time(number).astimezone(UTC))
        except (OverflowError, ValueError):
            return None

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Steps ``[n, F]`` at these times: what a calendar tells, and all else missing."""
        made = np.full((len(numbers), len(self._part.features)), np.nan, self._part.dtype)
        for row, number in enumerate(numbers.tolist()):
            for (place, _), value in zip(self._calendar, self.told(number), strict=True):
                made[row, place] = value
        return made

    def future(self, last: int, horizon: int) -> list[str | None]:
        """The times of the steps after one; each is None where that is."""
        return [None if last == NO_TIME else self.text(last + 1 + ahead) for ahead in range(horizon)]

    def _told(self, number: int) -> tuple[float, ...]:
        """What a calendar tells of a step, in the order of the manifest's features; NaN where the training had none."""
        wall = self._time(number)
        return tuple(_value(feature, wall) for _, feature in self._calendar)

    def _of(self, text: str, field: str) -> int:
        try:
            return self.number_of(text)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{text[:60]!r}: {error}", field) from error

    def _number_of(self, text: str) -> int:
        """The number of the step at a time. Raises ValueError: it is no time, or none of a step."""
        if not _RFC_3339.fullmatch(text):
            raise ValueError("not a time of RFC 3339, as 2026-01-31T17:00:00Z or 2026-01-31T17:00:00+01:00")
        if _TOO_FINE.search(text):
            raise ValueError("it is finer than a microsecond")
        time = datetime.fromisoformat(text.upper())
        if time.year not in YEARS:
            raise ValueError(f"years from {YEARS[0]} to {YEARS[-1]} are taken")
        if time.tzinfo is not None:
            instant = to_moment(time.astimezone(UTC).replace(tzinfo=None))
            return self._step_at(self._wall(instant) if self._is_of_wall else instant, instant)
        return self._step_at(to_moment(time) if self._is_of_wall else self._instant(time))

    def _step_at(self, time: int, instant: int | None = None) -> int:
        """The number of the step at a time of the grid. As in a table that was trained on, a stamp that is less than a
        tenth of a step early or late is taken for the step that it is nearest to.
        """
        number = self._grid.nearest(time)
        # A midnight that a clock skips is another time of day when it is told with its offset.
        if self._grid.is_near(time) or (instant is not None and instant == to_moment(_naive_utc(self._time(number)))):
            return number
        before = number if self._grid.at(number) <= time else number - 1
        raise ValueError(
            f"it is no step of {self.step}; those next to it are {self.text(before)} and {self.text(before + 1)}"
        )

    def _time(self, number: int) -> datetime:
        """The time of a step by the zone's clock, with its offset."""
        moment = self._grid.at(number)
        if self._is_of_wall:
            return to_datetime(moment).replace(tzinfo=self._zone)
        return to_datetime(moment).replace(tzinfo=UTC).astimezone(self._zone)

    def _wall(self, instant: int) -> int:
        return to_moment(to_datetime(instant).replace(tzinfo=UTC).astimezone(self._zone).replace(tzinfo=None))

    def _instant(self, wall: datetime) -> int:
        """When the zone's clock shows a time. Raises ValueError: never, or twice."""
        first, second = (wall.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        ahead, behind = first.utcoffset() or timedelta(), second.utcoffset() or timedelta()
        if ahead > behind:
            raise ValueError(
                f"the clocks of {self.time.zone} show it twice, as {_text(first)} and as {_text(second)}: write it "
                "with its offset"
            )
        if ahead < behind:
            raise ValueError(
                f"the clocks of {self.time.zone} skip it: they go from {_text(_shown(first - (behind - ahead)))} on to "
                f"{_text(_shown(first))}; write it with its offset"
            )
        return to_moment(_naive_utc(first))


def interval_of(time: SeriesTime, microseconds: int) -> float:
    """An interval as the model takes it."""
    assert time.interval is not None
    return microseconds / INTERVAL_UNITS[time.interval.unit]


def _value(feature: CalendarFeature, wall: datetime) -> float:
    """The number that a feature has at a time."""
    if feature.unit == "year":
        return float(wall.year + feature.first)
    value = {
        "quarter": (wall.month - 1) // 3,
        "month": wall.month - 1,
        "week": wall.isocalendar().week - 1,
        "day": wall.day - 1,
        "weekday": wall.weekday(),
        "day_of_year": wall.timetuple().tm_yday - 1,
        "hour": wall.hour,
        "minute": wall.minute,
        "second": wall.second,
    }[feature.unit]
    if not feature.codes:
        return float(value + feature.first)
    code = feature.codes[value]
    return np.nan if code is None else code


def _only(part: Input, places: Sequence[int]) -> Input:
    """An input with some of its features."""
    names = tuple(part.features[place] for place in places)
    kept = {
        key: {name: value for name, value in getattr(part, key).items() if name in names}
        for key in ("categories", "unknown", "ranges")
    }
    shape = tuple(len(names) if isinstance(axis, int) else axis for axis in part.shape)
    return part.model_copy(update={"features": names, "shape": shape, "statistics": None, **kept})


def _naive_utc(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


def _shown(time: datetime) -> datetime:
    """A time that a clock skips, as it shows it."""
    return time.astimezone(UTC).astimezone(time.tzinfo)


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z") if time.tzinfo is UTC else time.isoformat()
