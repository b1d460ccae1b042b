"""Repeated times of a table: which column tells several series in one file apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from ostinato.tables.table import Table

_MAX_ROWS = 200_000
"""How many rows are looked at: the table is refused anyhow."""


class SeriesColumn(NamedTuple):
    """A column that tells series apart, and what it calls them, in the order of the file."""

    name: str
    series: tuple[str, ...]


def find_series_column(table: Table, time_positions: Sequence[int]) -> SeriesColumn | None:
    """The column with which each row's time is once, of several the one with fewest series; None = there is none.

    Raises:
        InputError: the table cannot be read.
    """
    rows = [row.cells for row in islice(table.rows(), _MAX_ROWS)]
    times = [tuple(cells[position] for position in time_positions) for cells in rows]
    found = []
    for position, name in enumerate(table.header):
        names = [cells[position] for cells in rows]
        series = tuple(dict.fromkeys(names))
        if position in time_positions or not 2 <= len(series) <= len(rows) / 2:
            continue
        if len(set(zip(times, names, strict=True))) == len(rows):
            found.append(SeriesColumn(name, series))
    return min(found, key=lambda column: len(column.series), default=None)
