"""Files of data, read by the one reader of text and tables, whose errors become training's own."""

from __future__ import annotations

from pathlib import Path

from ostinato.errors import InputError
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from ostinato.tables.steps import TimeStep
from ostinato.tables.table import NamedColumns, Table
from ostinato.tables.text import read_lines
from ostinato.tables.time_axis import TimeAxis
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.timed_table import AxisRules


def read_columns(path: Path, names: tuple[str, ...]) -> NamedColumns:
    """The named columns of a table, as they are written.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a row with another number of cells.
    """
    try:
        return Table(path).columns(names)
    except InputError as error:
        raise DataError(str(error)) from error


def read_series(recipe: DataRecipe) -> tuple[NamedColumns, TimeAxis]:
    """The columns of a recipe's features, as they are written, and how their rows lie in time.

    Raises:
        DataError: as ``read_columns``, or the times are not those of one series in steps.
    """
    rules = AxisRules(
        gaps=recipe.gaps,
        step=None if recipe.step is None else TimeStep.parse(recipe.step),
        gaps_option='data.gaps = "{}"',
        step_option="data.step",
        step_owner="" if recipe.step is None else " (data.step)",
    )
    try:
        table = Table(recipe.file)
        times = TimeColumns(table, recipe.time)
        columns = table.columns((*recipe.time, *recipe.features))
        cells = zip(*(columns.cells[name] for name in recipe.time), strict=True)
        return columns, times.read(columns.lines, cells).lay_out(rules)
    except InputError as error:
        raise DataError(str(error)) from error


def read_text_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        DataError: the file cannot be read, or is not what its name says.
    """
    try:
        return [line.rstrip("\r\n") for line in read_lines(path)]
    except InputError as error:
        raise DataError(str(error)) from error
