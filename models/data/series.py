"""Series of a table as arrays: parts in order of time, missing values as NaN, words as codes, statistics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.files import read_columns
from ostinato.models.errors import DataError
from ostinato.models.recipe import DataRecipe
from ostinato.tables.cells import CellReader, vocabulary
from ostinato.tables.table import NamedColumns

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

    ``values``: float32 ``[N, F]``, raw units, codes for words, NaN where missing.
    ``times``: ``[N]``, strictly increasing. Training is ``[:validation_start]``, test ``[test_start:]``.
    ``categories``: for a categorical feature, the words of the training part that the codes 0, 1, ... stand for.
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
    columns = read_columns(recipe.file, (*recipe.time, *recipe.features))
    times = _parse_times(recipe, columns)
    validation_start, test_start = _split(recipe, times)
    categories = {name: _words(recipe, name, columns.cells[name][:validation_start]) for name in recipe.categorical}
    numbers = [_numbers(recipe, name, columns, categories.get(name, ())) for name in recipe.features]
    values = np.stack(numbers, axis=1)
    target = values[:, recipe.features.index(recipe.target)]
    _check_target(recipe, target, validation_start, test_start)
    return Dataset(
        features=recipe.features,
        target=recipe.target,
        values=values,
        times=times,
        validation_start=validation_start,
        test_start=test_start,
        categories=categories,
        statistics=training_statistics(recipe, values[:validation_start]),
        sha256=hashlib.sha256(recipe.file.read_bytes()).hexdigest(),
    )


def training_statistics(recipe: DataRecipe, training: Floats) -> TrainingStatistics:
    """Per-feature statistics of the training part ``[N, F]``, computed in float64, NaN left out.

    Raises:
        DataError: a feature is missing throughout, so nothing is known of it.
    """
    present = ~np.isnan(training)
    for name, num_present in zip(recipe.features, present.sum(axis=0), strict=True):
        if num_present == 0:
            raise DataError(f"{recipe.file}: column {name!r} has no value before {recipe.validation_from}")
    wide = training.astype(np.float64)
    return TrainingStatistics(
        mean=_rounded(np.nanmean(wide, axis=0)),
        std=_rounded(np.nanstd(wide, axis=0)),
        minimum=_rounded(np.nanmin(wide, axis=0)),
        maximum=_rounded(np.nanmax(wide, axis=0)),
        missing_fraction=_rounded(1.0 - present.mean(axis=0)),
    )


def _parse_times(recipe: DataRecipe, columns: NamedColumns) -> Times:
    cells = list(zip(*(columns.cells[name] for name in recipe.time), strict=True))
    times = np.empty(len(cells), "datetime64[s]")
    for row, cell in enumerate(cells):
        try:
            times[row] = np.datetime64(_moment(cell), "s")
        except ValueError as error:
            place = f"line {columns.lines[row]}, column {', '.join(map(repr, recipe.time))}"
            raise DataError(f"{recipe.file}: {place}: {', '.join(cell)} is not a time: {error}") from error
    backwards = np.flatnonzero(np.diff(times) <= np.timedelta64(0, "s"))
    if backwards.size:
        row = int(backwards[0]) + 1
        order = f"{times[row]} does not come after {times[row - 1]}; sort the rows"
        raise DataError(f"{recipe.file}: line {columns.lines[row]}: {order}")
    return times


def _moment(cell: tuple[str, ...]) -> datetime:
    if len(cell) == 1:
        moment = datetime.fromisoformat(cell[0])
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    year, month, day, *smaller = (int(part) for part in cell)
    hour, minute, second = (*smaller, 0, 0, 0)[:3]
    return datetime(year, month, day, hour, minute, second)


def _split(recipe: DataRecipe, times: Times) -> tuple[int, int]:
    validation_start = int(np.searchsorted(times, np.datetime64(recipe.validation_from, "s")))
    test_start = int(np.searchsorted(times, np.datetime64(recipe.test_from, "s")))
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
            raise DataError(f"{recipe.file}: column {recipe.target!r} has no value in the {part} part")


def _words(recipe: DataRecipe, name: str, cells: list[str]) -> tuple[str, ...]:
    words = vocabulary(cells, recipe.missing)
    if not words:
        raise DataError(f"{recipe.file}: column {name!r} has no word in the training part")
    return words


def _numbers(recipe: DataRecipe, name: str, columns: NamedColumns, words: tuple[str, ...]) -> Floats:
    """A column ``[N]``; a word that the training part does not have is missing."""
    reader = CellReader(words, recipe.missing)
    numbers = np.full(len(columns.lines), np.nan, np.float32)
    for row, cell in enumerate(columns.cells[name]):
        try:
            number = reader.number(cell)
        except ValueError as error:
            advice = "list it under data.missing if it stands for a missing value, or the column under data.categorical"
            place = f"line {columns.lines[row]}, column {name!r}"
            raise DataError(f"{recipe.file}: {place}: {error}; {advice}") from error
        if number is not None:
            numbers[row] = number
    return numbers


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """As Python floats, exactly representable in float32, so that graph and manifest hold the same number."""
    return tuple(float(number) for number in numbers.astype(np.float32))
