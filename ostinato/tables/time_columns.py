"""Time columns of a table: one with a time in each cell, or a calendar's columns with whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ostinato.errors import TableError
from ostinato.tables.stamps import CALENDAR_UNITS, StampReader, run_together_advice, to_datetime
from ostinato.tables.table import Table
from ostinato.tables.timed_table import TimedTable


class TimeColumns:
    """The columns that tell when each row of a table was.

    Args:
        names: one column, or three to six: year, month, day and smaller units.

    Raises:
        TableError: the table lacks one, or a number of columns tells no time.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self.table, self.names = table, tuple(names)
        self.positions = [table.position(name) for name in names]
        if len(names) not in (1, 3, 4, 5, 6):
            raise TableError(f"{table.path}: {len(names)} columns tell no time; name one, or year, month, day, hour")

    def read(self, lines: Sequence[int], cells: Iterable[Sequence[str]]) -> TimedTable:
        """Rows with their times: the line of each, and its cells in these columns.

        Raises:
            TableError: a time cannot be read.
        """
        reader = StampReader()
        stamps = []
        for line, texts in zip(lines, cells, strict=True):
            try:
                stamps.append(reader.read(line, texts))
            except ValueError as error:
                place = f"line {line}, column {', '.join(map(repr, self.names))}"
                raise TableError(f"{self.table.path}: {place}: {error}") from error
        if reader.run_together is not None:
            advice = run_together_advice(reader.run_together)
            raise self.table.fault(lines[0], advice, self.names[0])
        return TimedTable(self.table, self.names, lines, stamps, has_offsets=reader.has_offsets)

    def cell(self, name: str, wall: int) -> str | None:
        """The cell of a column in a row of this time, in microseconds of its clock; None = a calendar does not tell."""
        return calendar_cell(self.names, name, wall)


def calendar_cell(names: Sequence[str], name: str, wall: int) -> str | None:
    """The same for columns of these names."""
    if len(names) == 1 or name not in names:
        return None
    time: datetime = to_datetime(wall)
    return str(getattr(time, CALENDAR_UNITS[names.index(name)]))
