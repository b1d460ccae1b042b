"""Series of a table, one or several, as arrays: parts in order of time, missing values as NaN, codes, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.calendar import time_of
from ostinato.models.data.columns import Floats, SeriesSteps, Times, notes_of, read_numbers, read_static, read_words
from ostinato.models.data.files import SeriesRows, read_series
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.tables.stamps import MAX_COUNT, SECOND, to_moment
from ostinato.tables.time_axis import TimeAxis

MAX_TARGET = 1e30
PARTS = ("training", "validation", "test")

__all__ = ["Dataset", "Floats", "Series", "Times", "TrainingStatistics", "load_dataset"]


@dataclass(frozen=True)
class TrainingStatistics:
    """What each feature looked like in the training part, missing values left out; one number per feature."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    missing_fraction: tuple[float, ...]


NOTHING = TrainingStatistics((), (), (), (), ())
"""Of no columns."""


@dataclass(frozen=True)
class Series:
    """One series, ready to train on.

    ``name``: its id; empty where the file has none.
    ``values``: float32 ``[N, F]``, raw units, codes for words, NaN where missing; steps without a row are among them.
    ``truth``: the targets, float32 ``[N, K]``.
    ``static``: what is the same in all steps, float32 ``[S]``; NaN where missing.
    ``times``: ``[N]``, of the clock. Training is ``[:validation_start]``, test ``[test_start:]``; a part may be empty.
    """

    name: str
    values: Floats
    truth: Floats
    static: Floats
    times: Times
    validation_start: int
    test_start: int

    def span(self, part: str) -> tuple[int, int]:
        """Where the part ``training``, ``validation`` or ``test`` begins and ends."""
        ends = (0, self.validation_start, self.test_start, len(self.values))
        place = PARTS.index(part)
        return ends[place], ends[place + 1]


@dataclass(frozen=True)
class Dataset:
    """One series or several, with what they share.

    ``categories``: for a categorical feature or static column, the words of the training part that the codes 0, 1, ...
    stand for.
    ``statistics``, ``target_statistics``, ``static_statistics``: of the features, the targets, the static columns.
    ``step``: how far the steps are apart, in words; None = they are rows, whatever their times.
    ``time``: where in time the steps lie and which features a calendar tells, as a manifest has it; ``is_local``: by a
    clock that is not UTC's. Empty where they are rows.
    ``num_filled``: how many steps have no row. ``notes``: sentences about what is unusual in the file.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    series: tuple[Series, ...]
    categories: dict[str, tuple[str, ...]]
    statistics: TrainingStatistics
    target_statistics: TrainingStatistics
    sha256: str
    static: tuple[str, ...] = ()
    static_statistics: TrainingStatistics = NOTHING
    step: str | None = None
    time: dict[str, Any] = field(default_factory=dict)
    num_filled: int = 0
    notes: tuple[str, ...] = ()

    @property
    def only(self) -> Series:
        """The series of a file that holds one."""
        assert len(self.series) == 1
        return self.series[0]

    @property
    def target_places(self) -> tuple[int | None, ...]:
        """Each target's position among the features; None = it is none of them."""
        return tuple(self.features.index(name) if name in self.features else None for name in self.targets)

    def num_steps(self, part: str) -> int:
        """Of all series, of the part ``training``, ``validation`` or ``test``."""
        return sum(end - start for start, end in (series.span(part) for series in self.series))

    def parts(self) -> dict[str, Any]:
        """The SHA-256 of the file, and how many steps each part has and from when to when."""
        content: dict[str, Any] = {
            "sha256": self.sha256,
            "num_steps": sum(len(series.values) for series in self.series),
            "step": self.step,
            "num_filled_steps": self.num_filled,
        }
        if self.time:
            content["time"] = self.time
        if len(self.series) > 1 or self.series[0].name:
            content["num_series"] = len(self.series)
        for part in PARTS:
            spans = [(series.times, *series.span(part)) for series in self.series]
            content[part] = {
                "num_steps": self.num_steps(part),
                "first": moment_words(min(times[start] for times, start, end in spans if end > start)),
                "last": moment_words(max(times[end - 1] for times, start, end in spans if end > start)),
            }
        return content


def load_dataset(recipe: DataRecipe) -> Dataset:
    """Read, check, split and encode the table that a recipe names.

    Raises:
        DataError: the file, a column or a value is not what the recipe says, or a part of the split is empty.
    """
    columns, found = read_series(recipe)
    found = [rows._replace(axis=rows.axis.part(0, _end(recipe, rows.axis))) for rows in found]
    places = [SeriesSteps(rows, _times(rows.axis), *_split(recipe, rows)) for rows in found]
    _check_parts(recipe, places)
    # Those of series that have no training part are not known beforehand.
    known = [row for place in places for row in place.training_rows]
    categories = {
        name: read_words(recipe, name, [columns.cells[name][row] for row in known]) for name in recipe.categorical
    }
    made = {name: read_numbers(recipe, name, columns, places, categories.get(name, ())) for name in recipe.features}
    truths = {name: made.get(name) or read_numbers(recipe, name, columns, places, ()) for name in recipe.targets}
    statics = {name: read_static(recipe, name, columns, places, categories.get(name, ())) for name in recipe.static}
    series = tuple(
        Series(
            name=place.found.name,
            values=np.stack([made[name][index] for name in recipe.features], axis=1),
            truth=np.stack([truths[name][index] for name in recipe.targets], axis=1),
            static=np.array([statics[name][index] for name in recipe.static], np.float32),
            times=place.times,
            validation_start=place.validation_start,
            test_start=place.test_start,
        )
        for index, place in enumerate(places)
    )
    _check_target(recipe, series)
    trained = [one for one in series if one.validation_start]
    statistics = training_statistics(
        recipe, np.concatenate([one.values[: one.validation_start] for one in trained]), recipe.features
    )
    training = np.concatenate([one.truth[: one.validation_start] for one in trained])
    target_statistics = training_statistics(recipe, training, recipe.targets)
    notes = (*notes_of(recipe, columns, places, categories), *_constants(recipe, statistics), *_absent(recipe, series))
    step = next((str(place.found.axis.step) for place in places if place.found.axis.step is not None), None)
    return Dataset(
        features=recipe.features,
        targets=recipe.targets,
        series=series,
        categories=categories,
        statistics=statistics,
        target_statistics=target_statistics,
        static=recipe.static,
        static_statistics=training_statistics(recipe, np.stack([one.static for one in trained]), recipe.static),
        sha256=hashlib.sha256(recipe.file.read_bytes()).hexdigest(),
        step=step,
        time=time_of(
            recipe,
            step,
            [(one.values[: one.validation_start], one.times[: one.validation_start]) for one in trained],
            categories,
            is_local=any(place.found.axis.is_local for place in places),
        ),
        num_filled=sum(place.found.axis.num_filled for place in places),
        notes=tuple(f"{recipe.file}: {note}" for note in notes),
    )


def tell_notes(dataset: Dataset, tell: Callable[[str], None]) -> None:
    """Tell what is unusual in the file, before anything is learned from it."""
    for note in dataset.notes:
        tell(note)


def check_target(dataset: Dataset) -> None:
    """Whether there is something to learn.

    Raises:
        DataError: a target never changes in the training part, or is too large to add up.
    """
    statistics = dataset.target_statistics
    for name, least, most in zip(dataset.targets, statistics.minimum, statistics.maximum, strict=True):
        if least == most:
            raise DataError(
                f"the target, {name!r}, has the one value {least:g} in all of the training part: there is "
                "nothing to learn; check data.target and data.validation_from"
            )
        if max(abs(least), abs(most)) > MAX_TARGET:
            raise DataError(
                f"the target, {name!r}, goes from {least:g} to {most:g}, and sums of such numbers overflow "
                "float32: give it in a larger unit"
            )


def training_statistics(recipe: DataRecipe, training: Floats, names: Sequence[str]) -> TrainingStatistics:
    """Per-column statistics of the training part ``[N, F]``, computed in float64, NaN left out.

    Raises:
        DataError: a column is missing throughout, so nothing is known of it.
    """
    if not names:
        return NOTHING
    present = ~np.isnan(training)
    for name, num_present in zip(names, present.sum(axis=0), strict=True):
        if num_present == 0:
            raise DataError(
                f"{recipe.file}: column {name!r} has no value before "
                f"{moment_words(np.datetime64(recipe.validation_from, 'us'))}: leave it out of "
                "data.features, or change data.validation_from"
            )
    wide = training.astype(np.float64)
    return TrainingStatistics(
        mean=_rounded(np.nanmean(wide, axis=0)),
        std=_rounded(np.nanstd(wide, axis=0)),
        minimum=_rounded(np.nanmin(wide, axis=0)),
        maximum=_rounded(np.nanmax(wide, axis=0)),
        missing_fraction=_rounded(1.0 - present.mean(axis=0)),
    )


def moment_words(time: np.datetime64) -> str:
    """A step's time; of rows that are numbered and have no times, the number."""
    moment = cast(datetime, time.astype("datetime64[us]").item())
    return str(number) if 0 <= (number := to_moment(moment)) < MAX_COUNT else moment.isoformat()


def _times(axis: TimeAxis) -> Times:
    walls = np.array([step.wall for step in axis.steps], np.int64)
    if (walls % SECOND).any():
        return walls.astype("datetime64[us]")
    return (walls // SECOND).astype("datetime64[s]")


def _end(recipe: DataRecipe, axis: TimeAxis) -> int | None:
    """How many steps there are before ``test_until``; None = all."""
    if recipe.test_until is None:
        return None
    late = np.append(_times(axis) >= np.datetime64(recipe.test_until, "us"), True)
    return int(late.argmax())


def _split(recipe: DataRecipe, found: SeriesRows) -> tuple[int, int]:
    times = _times(found.axis)
    # The first of each: the hour that comes twice in autumn is not sorted.
    validation_start, test_start = (
        int(np.append(times >= np.datetime64(begin, "us"), True).argmax())
        for begin in (recipe.validation_from, recipe.test_from)
    )
    for key, start in (("validation_from", validation_start), ("test_from", test_start)):
        # An hour earlier is that of a clock that was set back.
        border = np.datetime64(getattr(recipe, key) - timedelta(hours=1), "us")
        if (early := np.flatnonzero(times[start:] < border)).size:
            raise DataError(
                f"{recipe.file}: {moment_words(times[start + early[0]])} comes after "
                f"{moment_words(times[start])}, and data.{key} lies between: "
                'rows that are out of order cannot be split, whatever data.gaps = "ignore" takes; sort them'
            )
    return validation_start, test_start


def _check_parts(recipe: DataRecipe, places: Sequence[SeriesSteps]) -> None:
    sizes = {
        "training": sum(place.validation_start for place in places),
        "validation": sum(place.test_start - place.validation_start for place in places),
        "test": sum(len(place.times) - place.test_start for place in places),
    }
    filled = [place.times for place in places if len(place.times)]
    for part, num_steps in sizes.items():
        if num_steps < 2:
            span = (
                f"{moment_words(min(t[0] for t in filled))} to {moment_words(max(t[-1] for t in filled))}"
                if filled
                else "no row at all"
            )
            raise DataError(
                f"{recipe.file}: {num_steps} rows fall into the {part} part; the file has {span}: "
                "change data.validation_from or data.test_from"
            )


def _check_target(recipe: DataRecipe, series: Sequence[Series]) -> None:
    """Without a value to compare with, a part cannot be scored."""
    for part in ("validation", "test"):
        steps = np.concatenate([one.truth[slice(*one.span(part))] for one in series])
        for name, missing in zip(recipe.targets, np.isnan(steps).all(axis=0), strict=True):
            if missing:
                raise DataError(
                    f"{recipe.file}: column {name!r} has no value in the {part} part: change "
                    "data.validation_from or data.test_from"
                )


def _constants(recipe: DataRecipe, statistics: TrainingStatistics) -> list[str]:
    least, most = statistics.minimum, statistics.maximum
    constant = [name for name, low, high in zip(recipe.features, least, most, strict=True) if low == high]
    return [
        f"column {name!r} has one value in all of the training part: nothing is learned from it" for name in constant
    ]


def _absent(recipe: DataRecipe, series: Sequence[Series]) -> list[str]:
    parts = {
        part: np.concatenate([one.values[slice(*one.span(part))] for one in series]) for part in ("validation", "test")
    }
    return [
        f"column {name!r} has no value in the {part} part"
        for part, values in parts.items()
        for name, column in zip(recipe.features, values.T, strict=True)
        if np.isnan(column).all()
    ]


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """As Python floats, exactly representable in float32, so that graph and manifest hold the same number."""
    return tuple(float(number) for number in numbers.astype(np.float32))
