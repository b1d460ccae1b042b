"""Time columns of a table: one with a time in each cell, a date and a time of day, or a calendar's whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property

from ostinato.errors import TableError
from ostinato.tables.stamps import CALENDAR_UNITS, Stamp, StampReader, run_together_advice, to_datetime
from ostinato.tables.table import Table
from ostinato.tables.time_forms import TimeForm, find_time_form
from ostinato.tables.timed_table import TimedTable

_LOOKED_AT = 400
_MANY = 200_000


class TimeColumns:
    """The columns that tell when each row of a table was.

    How one column writes its times is looked for in the whole file, whatever part of it is asked for.

    Args:
        names: one column; a date and a time of day or hour; a year and a quarter or month; or three to six: year,
            month, day and smaller units. None: rows are steps.

    Raises:
        TableError: the table lacks one, or a number of columns tells no time.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self.table, self.names = table, tuple(names)
        self.positions = [table.position(name) for name in names]
        if len(names) > 6 or (len(names) == 2 and names[0].lower() in CALENDAR_UNITS[1:]):
            raise TableError(f"{table.path}: {len(names)} columns tell no time; name one, or year, month, day, hour")

    def reader(self) -> StampReader:
        """What reads the cells that ``joined`` makes."""
        return StampReader(None if self._form is None else self._form.moment)

    def joined(self, cells: Sequence[str]) -> Sequence[str]:
        """A row's cells in these columns, two of them as one."""
        return [_together(self.names, cells)] if len(self.names) == 2 and all(cells) else cells

    @cached_property
    def _form(self) -> TimeForm | None:
        if len(self.names) not in (1, 2):
            return None
        cells = []
        for row in self.table.rows():
            cells.append(" ".join(self.joined([row.cells[position] for position in self.positions])))
            if len(cells) == _LOOKED_AT and _are_iso(cells):
                return None
            if len(cells) == _MANY:
                break
        return None if _are_iso(cells) else find_time_form(cells)

    def read(self, lines: Sequence[int], cells: Iterable[Sequence[str]]) -> TimedTable:
        """Rows with their times: the line of each, and its cells in these columns.

        Raises:
            TableError: a time cannot be read.
        """
        if not self.names:
            stamps = [Stamp(number, number) for number in range(len(lines))]
            return TimedTable(self.table, self.names, lines, stamps, has_offsets=False, is_count=True)
        reader = self.reader()
        stamps = []
        for line, texts in zip(lines, cells, strict=True):
            try:
                stamps.append(reader.read(line, self.joined(texts)))
            except ValueError as error:
                place = f"line {line}, column {', '.join(map(repr, self.names))}"
                raise TableError(f"{self.table.path}: {place}: {error}") from error
        if reader.run_together is not None:
            advice = run_together_advice(reader.run_together)
            raise self.table.fault(lines[0], advice, self.names[0])
        is_count = self._form is not None and self._form.is_count
        return TimedTable(self.table, self.names, lines, stamps, has_offsets=reader.has_offsets, is_count=is_count)

    def cell(self, name: str, wall: int) -> str | None:
        """The cell of a column in a row of this time, in microseconds of its clock; None = a calendar does not tell."""
        return calendar_cell(self.names, name, wall)


def calendar_cell(names: Sequence[str], name: str, wall: int) -> str | None:
    """The same for columns of these names."""
    if len(names) < 2 or name not in names:
        return None
    time: datetime = to_datetime(wall)
    unit = CALENDAR_UNITS[names.index(name)]
    if len(names) == 2:
        if (unit := "year" if name == names[0] else _unit(name)) == "quarter":
            return str((time.month + 2) // 3)
        if names[0].lower() != "year" and unit != "hour":
            return None
    return str(getattr(time, unit))


def _unit(name: str) -> str:
    """What the second of two columns holds."""
    lower = name.lower()
    return next((unit for unit in ("quarter", "month", "hour") if unit in lower), "time")


def _together(names: Sequence[str], cells: Sequence[str]) -> str:
    """A date and its hour or time of day, or a year and its month or quarter, as one cell."""
    first, second = cells
    if (unit := _unit(names[1])) == "time":
        return f"{first} {second}"
    number = second.removesuffix(".0")
    if not number.isdecimal():
        return f"{first} {second}"
    if unit == "hour":
        return f"{first} {number.zfill(2)}:00"
    year = first.removesuffix(".0")
    return f"{year}Q{number}" if unit == "quarter" else f"{year}-{number.zfill(2)}"


def _are_iso(cells: Sequence[str]) -> bool:
    """Whether the first and some others are such as need no form."""
    reader = StampReader()
    known = [cell for cell in cells if cell]
    try:
        for cell in known[:: max(1, len(known) // _LOOKED_AT)]:
            reader.read(1, [cell])
    except ValueError:
        return False
    return True
