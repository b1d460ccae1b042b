"""Files of data, read by the one reader of text and tables, whose errors become training's own."""

from __future__ import annotations

from pathlib import Path

from ostinato.errors import InputError
from ostinato.models.errors import DataError
from ostinato.tables.table import NamedColumns, Table
from ostinato.tables.text import read_lines


def read_columns(path: Path, names: tuple[str, ...]) -> NamedColumns:
    """The named columns of a table, as they are written.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a row with another number of cells.
    """
    try:
        return Table(path).columns(names)
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
