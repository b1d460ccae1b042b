"""Files of data, read by the one reader of text and tables, whose errors become training's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ostinato.errors import InputError
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.tables.steps import TimeStep
from ostinato.tables.table import NamedColumns, Table
from ostinato.tables.text import read_lines
from ostinato.tables.time_axis import TimeAxis
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.timed_table import AxisRules, TimedTable


def read_columns(path: Path, names: tuple[str, ...]) -> NamedColumns:
    """The named columns of a table, as they are written.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a row with another number of cells.
    """
    try:
        return Table(path).columns(names)
    except InputError as error:
        raise DataError(str(error)) from error


class SeriesRows(NamedTuple):
    """A series of a table: what it is called, which rows are its own, in their order, and how they lie in time."""

    name: str
    rows: list[int]
    axis: TimeAxis


def read_series(recipe: DataRecipe) -> tuple[NamedColumns, list[SeriesRows]]:
    """The columns that a recipe names, as they are written, and its series, in the order in which they begin.

    All have the step of the longest, unless the recipe tells it. A series is called as its id is written; the only one
    of a file without ids is called nothing.

    Raises:
        DataError: as ``read_columns``, or the times of a series are not those of one in steps.
    """
    rules = AxisRules(
        gaps=recipe.gaps,
        step=None if recipe.step is None else TimeStep.parse(recipe.step),
        gaps_option='data.gaps = "{}"',
        step_option="data.step",
        step_owner="" if recipe.step is None else " (data.step)",
        series_option='say data.series = "{}"',
    )
    wanted = (*recipe.time, *recipe.features, *recipe.targets, *recipe.static, *recipe.series_columns)
    try:
        table = Table(recipe.file)
        times = TimeColumns(table, recipe.time)
        columns = table.columns(tuple(dict.fromkeys(wanted)))
        found = _rows_of_series(recipe, columns)
        axes: dict[str, TimeAxis] = {}
        for name, rows in sorted(found.items(), key=lambda item: -len(item[1])):
            cells = [[columns.cells[column][row] for column in recipe.time] for row in rows]
            axes[name] = _axis(recipe, name, times.read([columns.lines[row] for row in rows], cells), rules)
            rules = replace(rules, step=rules.step or axes[name].step)
        return columns, [SeriesRows(name, rows, axes[name]) for name, rows in found.items()]
    except InputError as error:
        raise DataError(str(error)) from error


def _axis(recipe: DataRecipe, name: str, table: TimedTable, rules: AxisRules) -> TimeAxis:
    try:
        return table.lay_out(rules)
    except InputError as error:
        raise DataError(f"{error}" + (f" ({', '.join(recipe.series_columns)} {name!r})" if name else "")) from error


def _rows_of_series(recipe: DataRecipe, columns: NamedColumns) -> dict[str, list[int]]:
    if recipe.series is None:
        return {"": list(range(len(columns.lines)))}
    found: dict[str, list[int]] = {}
    for row, parts in enumerate(zip(*(columns.cells[name] for name in recipe.series_columns), strict=True)):
        if not all(parts):
            absent = recipe.series_columns[parts.index("")]
            raise DataError(
                f"{recipe.file}: line {columns.lines[row]}, column {absent!r}: a row without it is of no series"
            )
        found.setdefault(" / ".join(parts), []).append(row)
    return found


def read_text_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        DataError: the file cannot be read, or is not what its name says.
    """
    try:
        return [line.rstrip("\r\n") for line in read_lines(path)]
    except InputError as error:
        raise DataError(str(error)) from error
