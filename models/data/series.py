"""Series of a table as arrays: parts in order of time, missing values as NaN, words as codes, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.files import read_series
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.tables.cells import CellReader, vocabulary
from ostinato.tables.stamps import SECOND
from ostinato.tables.table import NamedColumns
from ostinato.tables.time_axis import TimeAxis
from ostinato.tables.time_columns import calendar_cell

MAX_LOST_CHANGES = 0.01
"""Of the changes from one value of a column to the next, the share that may be lost in float32."""
LEAST_CHANGE = 1e-6
"""Of a column's range: a smaller change tells a network nothing."""
MAX_TARGET = 1e30

Floats: TypeAlias = NDArray[np.float32]
Times: TypeAlias = NDArray[np.datetime64]


@dataclass(frozen=True)
class TrainingStatistics:
    """What each feature looked like in the training part, missing values left out; one number per feature."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    missing_fraction: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """One series, ready to train on.

    ``values``: float32 ``[N, F]``, raw units, codes for words, NaN where missing; steps without a row are among them.
    ``times``: ``[N]``, of the clock. Training is ``[:validation_start]``, test ``[test_start:]``.
    ``categories``: for a categorical feature, the words of the training part that the codes 0, 1, ... stand for.
    ``step``: how far the steps are apart, in words; None = they are rows, whatever their times.
    ``num_filled``: how many steps have no row. ``notes``: sentences about what is unusual in the file.
    """

    features: tuple[str, ...]
    target: str
    values: Floats
    times: Times
    validation_start: int
    test_start: int
    categories: dict[str, tuple[str, ...]]
    statistics: TrainingStatistics
    sha256: str
    step: str | None = None
    num_filled: int = 0
    notes: tuple[str, ...] = ()

    @property
    def target_index(self) -> int:
        """The target's position among the features."""
        return self.features.index(self.target)

    def parts(self) -> dict[str, Any]:
        """The SHA-256 of the file, and how many steps each part has and from when to when."""
        ends = (0, self.validation_start, self.test_start, len(self.values))
        spans = zip(("training", "validation", "test"), ends, ends[1:], strict=False)
        return {
            "sha256": self.sha256,
            "num_steps": len(self.values),
            "step": self.step,
            "num_filled_steps": self.num_filled,
            **{
                part: {
                    "num_steps": end - start,
                    "first": str(self.times[start]),
                    "last": str(self.times[end - 1]),
                }
                for part, start, end in spans
            },
        }


def load_dataset(recipe: DataRecipe) -> Dataset:
    """Read, check, split and encode the CSV that a recipe names.

    Raises:
        DataError: the file, a column or a value is not what the recipe says, or a part of the split is empty.
    """
    columns, axis = read_series(recipe)
    times = _times(axis)
    validation_start, test_start = _split(recipe, times)
    num_training_rows = sum(step.row is not None for step in axis.steps[:validation_start])
    categories = {name: _words(recipe, name, columns.cells[name][:num_training_rows]) for name in recipe.categorical}
    numbers = [_numbers(recipe, name, columns, axis, categories.get(name, ())) for name in recipe.features]
    values = np.stack(numbers, axis=1)
    target = values[:, recipe.features.index(recipe.target)]
    _check_target(recipe, target, validation_start, test_start)
    statistics = training_statistics(recipe, values[:validation_start])
    parts = {"validation": values[validation_start:test_start], "test": values[test_start:]}
    notes = (*axis.all_notes(), *_constants(recipe, statistics), *_absent(recipe, parts))
    return Dataset(
        features=recipe.features,
        target=recipe.target,
        values=values,
        times=times,
        validation_start=validation_start,
        test_start=test_start,
        categories=categories,
        statistics=statistics,
        sha256=hashlib.sha256(recipe.file.read_bytes()).hexdigest(),
        step=None if axis.step is None else str(axis.step),
        num_filled=axis.num_filled,
        notes=tuple(f"{recipe.file}: {note}" for note in notes),
    )


def tell_notes(dataset: Dataset, tell: Callable[[str], None]) -> None:
    """Tell what is unusual in the file, before anything is learned from it."""
    for note in dataset.notes:
        tell(note)


def check_target(dataset: Dataset) -> None:
    """Whether there is something to learn.

    Raises:
        DataError: the target never changes in the training part, or is too large to add up.
    """
    least, most = (
        statistic[dataset.target_index] for statistic in (dataset.statistics.minimum, dataset.statistics.maximum)
    )
    if least == most:
        raise DataError(
            f"the target, {dataset.target!r}, has the one value {least:g} in all of the training part: there is "
            "nothing to learn; check data.target and data.validation_from"
        )
    if max(abs(least), abs(most)) > MAX_TARGET:
        raise DataError(
            f"the target, {dataset.target!r}, goes from {least:g} to {most:g}, and sums of such numbers overflow "
            "float32: give it in a larger unit"
        )


def training_statistics(recipe: DataRecipe, training: Floats) -> TrainingStatistics:
    """Per-feature statistics of the training part ``[N, F]``, computed in float64, NaN left out.

    Raises:
        DataError: a feature is missing throughout, so nothing is known of it.
    """
    present = ~np.isnan(training)
    for name, num_present in zip(recipe.features, present.sum(axis=0), strict=True):
        if num_present == 0:
            raise DataError(
                f"{recipe.file}: column {name!r} has no value before {recipe.validation_from}: leave it out of "
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


def _times(axis: TimeAxis) -> Times:
    walls = np.array([step.wall for step in axis.steps], np.int64)
    if (walls % SECOND).any():
        return walls.astype("datetime64[us]")
    return (walls // SECOND).astype("datetime64[s]")


def _split(recipe: DataRecipe, times: Times) -> tuple[int, int]:
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
                f"{recipe.file}: {times[start + early[0]]} comes after {times[start]}, and data.{key} lies between: "
                'rows that are out of order cannot be split, whatever data.gaps = "ignore" takes; sort them'
            )
    sizes = {"training": validation_start, "validation": test_start - validation_start, "test": len(times) - test_start}
    for part, num_steps in sizes.items():
        if num_steps < 2:
            span = f"{times[0]} to {times[-1]}" if len(times) else "no row at all"
            raise DataError(
                f"{recipe.file}: {num_steps} rows fall into the {part} part; the file has {span}: "
                "change data.validation_from or data.test_from"
            )
    return validation_start, test_start


def _check_target(recipe: DataRecipe, target: Floats, validation_start: int, test_start: int) -> None:
    """Without a value to compare with, a part cannot be scored."""
    for part, steps in (("validation", target[validation_start:test_start]), ("test", target[test_start:])):
        if np.isnan(steps).all():
            raise DataError(
                f"{recipe.file}: column {recipe.target!r} has no value in the {part} part: change "
                "data.validation_from or data.test_from"
            )


def _constants(recipe: DataRecipe, statistics: TrainingStatistics) -> list[str]:
    least, most = statistics.minimum, statistics.maximum
    constant = [name for name, low, high in zip(recipe.features, least, most, strict=True) if low == high]
    return [
        f"column {name!r} has one value in all of the training part: nothing is learned from it" for name in constant
    ]


def _absent(recipe: DataRecipe, parts: dict[str, Floats]) -> list[str]:
    return [
        f"column {name!r} has no value in the {part} part"
        for part, values in parts.items()
        for name, column in zip(recipe.features, values.T, strict=True)
        if np.isnan(column).all()
    ]


def _words(recipe: DataRecipe, name: str, cells: list[str]) -> tuple[str, ...]:
    words = vocabulary(cells, recipe.missing)
    if not words:
        raise DataError(f"{recipe.file}: column {name!r} has no word in the training part")
    return words


def _numbers(recipe: DataRecipe, name: str, columns: NamedColumns, axis: TimeAxis, words: tuple[str, ...]) -> Floats:
    """A column ``[N]``; a word that the training part does not have is missing.

    Of a step without a row only the calendar is known.
    """
    reader = CellReader(words, recipe.missing)
    numbers = np.full(len(axis.steps), np.nan)
    for position, (row, _, wall) in enumerate(axis.steps):
        cell = calendar_cell(recipe.time, name, wall) if row is None else columns.cells[name][row]
        if cell is None:
            continue
        try:
            number = reader.number(cell)
        except ValueError as error:
            raise _unreadable(recipe, name, columns.lines, row, error) from error
        if number is not None:
            numbers[position] = number
    _check_told_apart(recipe, name, numbers)
    return numbers.astype(np.float32)


def _check_told_apart(recipe: DataRecipe, name: str, numbers: NDArray[np.float64]) -> None:
    """Refuse a column ``[N]`` much of whose change is lost in float32, which networks compute in.

    Raises:
        DataError: names two numbers that are one to a network.
    """
    present = numbers[~np.isnan(numbers)]
    before, after = present[:-1], present[1:]
    changed = before != after
    # What is nothing next to the column's range, or to float32 itself, is no loss.
    least = max(float(np.ptp(present)) * LEAST_CHANGE, float(np.finfo(np.float32).tiny)) if len(present) else 0.0
    lost = (np.abs(after - before) > least) & (before.astype(np.float32) == after.astype(np.float32))
    if lost.sum() <= MAX_LOST_CHANGES * changed.sum():
        return
    place = int(lost.argmax())
    raise DataError(
        f"{recipe.file}: column {name!r} has numbers that float32 cannot tell apart, as {before[place]:.15g} and "
        f"{after[place]:.15g}; networks compute in float32: subtract what all of them have in common, or leave the "
        "column out of data.features (the time of a row belongs under data.time)"
    )


def _unreadable(recipe: DataRecipe, name: str, lines: Sequence[int], row: int | None, error: ValueError) -> DataError:
    assert row is not None, "what a calendar shows is a number"
    advice = "list it under data.missing if it stands for a missing value, or the column under data.categorical"
    return DataError(f"{recipe.file}: line {lines[row]}, column {name!r}: {error}; {advice}")


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """As Python floats, exactly representable in float32, so that graph and manifest hold the same number."""
    return tuple(float(number) for number in numbers.astype(np.float32))
