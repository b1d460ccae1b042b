"""Columns at a first look: amounts, words, times, and which of them tells series apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ostinato.models.errors import DataError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.stamps import CALENDAR_UNITS, StampReader
from ostinato.tables.table import Table

ColumnKind: TypeAlias = Literal["amount", "word"]
AMOUNT: ColumnKind = "amount"
CALENDAR = (
    *("year", "quarter", "month", "week", "day", "hour", "minute", "second"),
    *("weekday", "dayofweek", "day_of_week", "dow", "dayofyear", "day_of_year", "hour_of_day", "holiday", "is_holiday"),
)
"""What columns of a calendar are called."""
_TIME_NAMES = (
    "time",
    "date",
    "datetime",
    "timestamp",
    "stamp",
    "ts",
    "epoch",
    "unix",
    "unixtime",
    "ds",
    "day",
    "moment",
    "when",
    "period",
    "month",
    "year",
    "week",
)
_SERIES_NAMES = ("id", "series", "unique_id", "series_id", "key", "name", "store", "shop", "station", "site", "item")
# Of a column's cells, how many may be something else than numbers in a column of numbers.
_ODD = 0.05
_MAX_WORDS = 64
# Days, months and years in some order; what may stand behind them does not count.
_DATE = re.compile(r"(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?!\d)")
_SAMPLE = 400


@dataclass(frozen=True)
class ColumnLook:
    """What a column holds.

    ``num_words``: different cells that are not missing. ``odd``: what stands among numbers and is none.
    """

    name: str
    kind: ColumnKind
    num_words: int
    num_known: int
    odd: tuple[str, ...] = ()

    @property
    def useless(self) -> str:
        """Why it is nothing to learn from; empty where it is something."""
        if self.num_words < 2:
            return "has one value" if self.num_words else "is empty"
        return self.useless_static

    @property
    def useless_static(self) -> str:
        """The same of a column that says one thing of each series."""
        if not self.num_words:
            return "is empty"
        return f"has {self.num_words:,} words" if self.kind == "word" and self.num_words > _MAX_WORDS else ""

    def known(self, cells: Sequence[str]) -> list[str | None]:
        """Its cells; None where they are missing."""
        missing = {*MISSING_WORDS, *self.odd}
        return [None if cell in missing else cell for cell in cells]


def look_at(name: str, cells: Sequence[str]) -> ColumnLook:
    """What a column holds."""
    known = [cell for cell in cells if cell not in MISSING_WORDS]
    reader = CellReader()
    odd = []
    for cell in known:
        try:
            reader.number(cell)
        except ValueError:
            odd.append(cell)
    different = set(known)
    is_amount = bool(known) and len(odd) <= _ODD * len(known) and len(set(odd)) <= 3
    codes = name.lower() in CALENDAR and len(different) <= _MAX_WORDS
    if is_amount and not codes:
        return ColumnLook(name, "amount", len(different - set(odd)), len(known), tuple(sorted(set(odd))))
    return ColumnLook(name, "word", len(different), len(known))


def find_time(file: Path, looks: Mapping[str, ColumnLook], cells: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The columns that tell when a row was: one, or a calendar's.

    Raises:
        DataError: none do.
    """
    timed = [name for name in looks if _are_times(cells[name])]
    written = [name for name in timed if not all(cell.replace(".", "").isdigit() for cell in cells[name][:_SAMPLE])]
    named = [name for name in timed if _is_called(name, _TIME_NAMES)]
    lower = {name.lower(): name for name in looks}
    calendar = [lower[unit] for unit in CALENDAR_UNITS if unit in lower]
    if written:
        return (next((name for name in written if name in named), written[0]),)
    if calendar[:3] == [lower.get(unit) for unit in CALENDAR_UNITS[:3]]:
        units = [unit for unit in CALENDAR_UNITS if unit in lower]
        # No unit between may be left out.
        return tuple(lower[unit] for unit, known in zip(CALENDAR_UNITS, units, strict=False) if unit == known)
    if named:
        return (named[0],)
    columns = ", ".join(map(repr, looks))
    if not any(cells.values()):
        raise DataError(f"{file}: is empty" if not looks else f"{file}: has no row below its header")
    for name, column in cells.items():
        if name not in timed and (wrong := _wrong_form(column[:_SAMPLE])):
            raise DataError(f"{file}: no column tells when its rows were; {name!r} would, but {wrong}")
    raise DataError(
        f"{file}: no column tells when its rows were (its columns are {columns}); write one with times as "
        "2024-01-31T17:00, or columns year, month, day, hour"
    )


def find_series(
    table: Table,
    file: Path,
    time: Sequence[str],
    looks: Mapping[str, ColumnLook],
    cells: Mapping[str, list[str]],
) -> str | None:
    """The column that tells series apart; None = there is one series.

    Raises:
        DataError: times come again, and no column tells their rows apart.
    """
    stamps = _moments(table, time, cells)
    if all(earlier < later for earlier, later in itertools.pairwise(stamps)):
        return None
    found = []
    for name, look in looks.items():
        if name in time or not 2 <= look.num_words <= len(stamps) / 3 or look.num_known < len(stamps):
            continue
        last: dict[str, int] = {}
        rises = True
        for series, stamp in zip(cells[name], stamps, strict=True):
            rises = rises and last.get(series, stamp - 1) < stamp
            last[series] = stamp
        if rises:
            found.append(name)
    if found:
        return min(found, key=lambda name: (not _is_called(name, _SERIES_NAMES), looks[name].num_words))
    if len(set(stamps)) < len(stamps):
        raise DataError(
            f"{file}: {', '.join(map(repr, time))} has times more than once, and no column tells their rows apart: "
            "several series need a column that says which series a row is of, and each its rows in order of time"
        )
    return None


def _moments(table: Table, time: Sequence[str], cells: Mapping[str, list[str]]) -> list[int]:
    reader = StampReader()
    stamps = []
    for line, texts in enumerate(zip(*(cells[name] for name in time), strict=True), start=2):
        try:
            stamps.append(reader.read(line, texts).moment)
        except ValueError as error:
            raise DataError(f"{table.path}: line {line}, column {', '.join(map(repr, time))}: {error}") from error
    return stamps


def _are_times(cells: Sequence[str]) -> bool:
    sample = cells[:_SAMPLE]
    if not sample:
        return False
    reader = StampReader()
    try:
        for line, cell in enumerate(sample):
            reader.read(line, [cell])
    except (ValueError, OverflowError):
        return False
    return True


def _wrong_form(cells: Sequence[str]) -> str:
    """What is wrong with dates that cannot all be read, as days that come first; empty where these are no dates."""
    reader = StampReader()
    if sum(_DATE.match(cell) is not None for cell in cells) < (1 - _ODD) * len(cells):
        return ""
    for line, cell in enumerate(cells):
        try:
            reader.read(line, [cell])
        except ValueError as error:
            return str(error)
    return ""


def _is_called(name: str, words: Sequence[str]) -> bool:
    lower = name.lower()
    return lower in words or any(lower.endswith(f"_{word}") or lower.startswith(f"{word}_") for word in words)
