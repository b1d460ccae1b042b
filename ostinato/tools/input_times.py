"""Times of a table that is sent to a model: by which columns it tells them, and how its rows lie in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ostinato.errors import TableError
from ostinato.tables.gaps import Gaps, moment_text
from ostinato.tables.stamps import CALENDAR_UNITS, StampReader, to_datetime
from ostinato.tables.steps import TimeStep
from ostinato.tables.table import Table, TableRow
from ostinato.tables.time_axis import TimeAxis
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.timed_table import AxisRules

TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "ds")
"""What a column with times is called where nobody says it."""


class InputTimes:
    """When the rows of a table were, as its user says, as the training had it, or as the columns are called.

    Args:
        model_input: the input's entry in the manifest.
        renamed: column of the training -> the column in its place.
        names: of the time columns; empty = those of the training, or those that are called like it.
        gaps: what is done about steps without a row; None = as in the training, else they are put in.
        series_option: how a user says which column tells series apart; see ``InputTable``.

    Raises:
        TableError: a column that was named is not there.
    """

    def __init__(
        self,
        table: Table,
        model_input: Mapping[str, Any],
        renamed: Mapping[str, str],
        names: Sequence[str] = (),
        gaps: Gaps | None = None,
        series_option: str = "",
    ) -> None:
        self._table = table
        trained: Mapping[str, Any] = model_input.get("times") or {}
        expected = tuple(renamed.get(name, name) for name in trained.get("columns", ()))
        found = tuple(names) or (expected if set(expected) <= set(table.header) else ())
        self._is_guess = not found
        self._warnings: list[str] = []
        found = found or _called_like_times(table.header)
        self.columns = TimeColumns(table, found) if found else None
        if self._is_guess and expected:
            self._warnings.append(_other_columns(expected, found))
        step = trained.get("step")
        self._rules = AxisRules(
            gaps=gaps or trained.get("gaps", "fill"),
            step=None if step is None else _step(step),
            gaps_option="--gaps {}",
            series_option=series_option,
            step_owner="" if step is None else " of the model",
            may_fill=bool(model_input.get("missing")),
        )

    def begins(self, first: str) -> Callable[[TableRow], bool]:
        """Whether a row is the first of those from a time on.

        Raises:
            TableError: it is no time, or the table has none; a row's cannot be read.
        """
        try:
            wanted_reader = StampReader()
            wanted = wanted_reader.read(1, [first])
        except ValueError as error:
            raise TableError(f"--from {first!r}: that is neither a row's number nor a time as 2014-12-01") from error
        if self.columns is None:
            raise TableError(
                f"{self._table.path}: no column is called {', '.join(TIME_COLUMNS)} or year, month, day; "
                "give a row's number, or say by --time which column tells the time"
            )
        columns, reader = self.columns, self.columns.reader()

        def is_due(row: TableRow) -> bool:
            cells = [row.cells[position] for position in columns.positions]
            try:
                stamp = reader.read(row.line, columns.joined(cells))
            except ValueError as error:
                raise self._table.fault(row.line, f"{error}; give a row's number") from error
            if reader.has_offsets and wanted_reader.has_offsets:
                return stamp.moment >= wanted.moment
            # Where one has no offset, both are of one clock.
            return stamp.wall >= wanted.wall

        return is_due

    def lay_out(self, rows: Sequence[TableRow]) -> tuple[TimeAxis | None, list[str]]:
        """How rows lie in time, and sentences about the columns; None = rows are taken as consecutive steps.

        Raises:
            TableError: they cannot be laid out.
        """
        if self.columns is None or self._rules.gaps == "ignore":
            return None, list(self._warnings)
        cells = [[row.cells[position] for position in self.columns.positions] for row in rows]
        if self._is_guess and (fault := _fault(self.columns, cells[0])):
            no_times = (
                f"column {self.columns.names[0]!r} does not tell the time (in line {rows[0].line} {fault}): rows are "
                "taken as consecutive steps; --time NAME says which column does"
            )
            return None, [*self._warnings, no_times]
        return self.columns.read([row.line for row in rows], cells).lay_out(self._rules), list(self._warnings)

    def label(self, cells: Sequence[str]) -> str:
        """When a row was, as it is written; empty where there are no times."""
        if self.columns is None:
            return ""
        words = [cells[position] for position in self.columns.positions]
        if len(words) < 3 or not all(word.isdecimal() for word in words):
            return " ".join(words)
        date = "-".join([words[0], *(word.zfill(2) for word in words[1:3])])
        if len(words) == 3:
            return date
        return f"{date} {':'.join(word.zfill(2) for word in (*words[3:], '0')[: max(2, len(words) - 3)])}"

    def label_at(self, wall: int, step: TimeStep | None) -> str:
        """When a step was that no row is there for."""
        if step is None or step.is_of_calendar or wall % 60_000_000:
            return moment_text(wall, step)
        return to_datetime(wall).isoformat(" ", "minutes")


def _step(text: str) -> TimeStep:
    try:
        return TimeStep.parse(text)
    except ValueError as error:
        raise TableError(f"the model's manifest: inputs[0].times.step: {error}") from error


def _called_like_times(header: Sequence[str]) -> tuple[str, ...]:
    """The columns that are called like a time, or like a calendar's units from the year on; none where none are."""
    lower = [name.lower() for name in header]
    names: list[str] = []
    for name in TIME_COLUMNS:
        if lower.count(name) == 1:
            return (header[lower.index(name)],)
    for unit in CALENDAR_UNITS:
        if lower.count(unit) != 1:
            break
        names.append(header[lower.index(unit)])
    return tuple(names) if len(names) >= 3 else ()


def _other_columns(expected: Sequence[str], found: Sequence[str]) -> str:
    told = f"the model's training told the time by {', '.join(map(repr, expected))}, and this table does not have that"
    if found:
        return f"{told}: it is read from {', '.join(map(repr, found))}; --time NAME says which column tells it"
    return f"{told}: rows are taken as consecutive steps; --time NAME says which column tells the time"


def _fault(columns: TimeColumns, cells: Sequence[str]) -> str:
    """Why cells are no time; empty where they are one."""
    try:
        columns.reader().read(1, columns.joined(cells))
    except ValueError as error:
        return str(error)
    return ""
