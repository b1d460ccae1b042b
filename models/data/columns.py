"""Columns of a table as numbers: of each series a value a step, codes for words, NaN where missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.files import SeriesRows
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.tables.cells import CellReader, vocabulary
from ostinato.tables.table import NamedColumns
from ostinato.tables.time_columns import calendar_cell

MAX_LOST_CHANGES = 0.01
"""Of the changes from one value of a column to the next, the share that may be lost in float32."""
LEAST_CHANGE = 1e-6
"""Of a column's range: a smaller change tells a network nothing."""

MAX_BREAKS = 0.01
"""Of the steps of a cycle, the share where it may not count on by one, as where a clock is set back."""

_MAX_NOTES = 6

Floats: TypeAlias = NDArray[np.float32]
Times: TypeAlias = NDArray[np.datetime64]


class SeriesSteps(NamedTuple):
    """A series as it lies in its table, and where its parts begin."""

    found: SeriesRows
    times: Times
    validation_start: int
    test_start: int

    @property
    def training_rows(self) -> list[int]:
        """Those of the table."""
        steps = self.found.axis.steps[: self.validation_start]
        return [self.found.rows[step.row] for step in steps if step.row is not None]


def notes_of(
    recipe: DataRecipe, columns: NamedColumns, places: Sequence[SeriesSteps], categories: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Sentences about what is unusual in a table: its rows, their times, and words that come only after training."""
    return [*columns.notes, *_axis_notes(places), *_unknown_words(recipe, columns, places, categories)]


def breaks_of_cycle(codes: Floats, num_codes: int) -> NDArray[np.int64]:
    """After which steps of ``[N]`` a code does not count on by one; none where they are too few to be more than breaks.

    Holes are no breaks.
    """
    moved = (codes[1:] - codes[:-1]) % num_codes
    breaks = np.flatnonzero(~np.isnan(moved) & (moved != 1))
    return breaks if len(breaks) > MAX_BREAKS * len(moved) else breaks[:0]


def read_words(recipe: DataRecipe, name: str, cells: list[str]) -> tuple[str, ...]:
    """The words of a column in the training part.

    Raises:
        DataError: it has none.
    """
    words = vocabulary(cells, recipe.missing)
    if not words:
        raise DataError(f"{recipe.file}: column {name!r} has no word in the training part")
    return words


def read_numbers(
    recipe: DataRecipe, name: str, columns: NamedColumns, places: Sequence[SeriesSteps], words: tuple[str, ...]
) -> list[Floats]:
    """A column of each series, ``[N]``; a word that the training part does not have is missing.

    Of a step without a row only the calendar is known.
    """
    reader = CellReader(words, recipe.missing)
    made = []
    for place in places:
        numbers = np.full(len(place.times), np.nan)
        for position, (own, _, wall) in enumerate(place.found.axis.steps):
            row = None if own is None else place.found.rows[own]
            cell = calendar_cell(recipe.time, name, wall) if row is None else columns.cells[name][row]
            if cell is not None and (number := _number(recipe, name, columns, row, reader, cell)) is not None:
                numbers[position] = number
        made.append(numbers)
    _check_told_apart(recipe, name, np.concatenate(made))
    return [numbers.astype(np.float32) for numbers in made]


def read_static(
    recipe: DataRecipe, name: str, columns: NamedColumns, places: Sequence[SeriesSteps], words: tuple[str, ...]
) -> list[float]:
    """What a column says of each series: the one value that its rows have, where they have any."""
    reader = CellReader(words, recipe.missing)
    made = []
    for place in places:
        first: tuple[str, int] | None = None
        for row in place.found.rows:
            cell = columns.cells[name][row]
            if cell in recipe.missing and cell not in words:
                continue
            if first is not None and cell != first[0]:
                raise DataError(
                    f"{recipe.file}: line {columns.lines[row]}, column {name!r}: {cell!r}, and {first[0]!r} in line "
                    f"{columns.lines[first[1]]} of the same series: what is in data.static is the same in all rows of "
                    "a series; list it under data.features"
                )
            first = first or (cell, row)
        number = None if first is None else _number(recipe, name, columns, first[1], reader, first[0])
        made.append(math.nan if number is None else float(number))
    return made


def _number(
    recipe: DataRecipe, name: str, columns: NamedColumns, row: int | None, reader: CellReader, cell: str
) -> float | int | None:
    try:
        return reader.number(cell)
    except ValueError as error:
        raise _unreadable(recipe, name, columns.lines, row, error) from error


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


def _axis_notes(places: Sequence[SeriesSteps]) -> list[str]:
    """What is unusual in each series, of many only in the first few."""
    found = [(place.found.name, note) for place in places for note in place.found.axis.all_notes()]
    notes = [f"{name}: {note}" if name else note for name, note in found[:_MAX_NOTES]]
    return notes + ([f"and {len(found) - _MAX_NOTES} more of the kind"] if len(found) > _MAX_NOTES else [])


def _unknown_words(
    recipe: DataRecipe, columns: NamedColumns, places: Sequence[SeriesSteps], categories: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """A sentence for each column with words that the training part does not have."""
    notes = []
    rows = [place.found.rows[step.row] for place in places for step in place.found.axis.steps if step.row is not None]
    for name, words in categories.items():
        reader, cells = CellReader(words, recipe.missing), columns.cells[name]
        if unknown := [row for row in rows if reader.is_unknown(cells[row])]:
            first = unknown[0]
            number = "1 row" if len(unknown) == 1 else f"{len(unknown):,} rows"
            notes.append(
                f"column {name!r} has words that the training part does not have, in {number}, the first "
                f"{cells[first]!r} in line {columns.lines[first]}; they count as missing"
            )
    return notes
