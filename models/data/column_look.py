"""Columns at a first look: amounts, words, times, and which of them tells series apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ostinato.models.errors import DataError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.stamps import CALENDAR_UNITS, StampReader
from ostinato.tables.table import Table
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.time_forms import find_time_form

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
_STEP_NAMES = (
    *(
        "step",
        "steps",
        "t",
        "index",
        "idx",
        "n",
        "no",
        "nr",
        "cycle",
        "cycles",
        "frame",
        "tick",
        "seconds",
        "secs",
        "ms",
    ),
    *("unnamed: 0", "obs", "observation", "round", "iteration", "row", "sequence", "quarter", "elapsed"),
)
"""What columns are called that number the rows."""
_CLOCK_NAMES = ("time", "hour", "hours", "clock", "uhrzeit", "zeit", "stunde", "heure", "hora", "hr")
_SERIES_NAMES = (
    *("id", "series", "unique_id", "series_id", "key", "name", "store", "shop", "station", "site", "item", "unit"),
    *(
        "product",
        "sku",
        "region",
        "country",
        "city",
        "sensor",
        "meter",
        "machine",
        "engine",
        "device",
        "ticker",
        "symbol",
    ),
)
# Words that nobody writes for anything but a missing value.
_NOTHING = frozenset(
    (
        "none",
        "<na>",
        "#n/a",
        "nat",
        "nil",
        "missing",
        "unknown",
        "-",
        "--",
        "---",
        ".",
        "..",
        "n.a.",
        "#value!",
        "#div/0!",
    )
)
# Numbers that stand for a missing value, where no other is near them.
_SENTINELS = ("-999", "-9999", "-99999", "-999.0", "-9999.0", "-999.9", "-999.99")
# Of a column's cells, how many may be something else than numbers in a column of numbers.
_ODD = 0.05
_MAX_WORDS = 64
# Days, months and years in some order; what may stand behind them does not count.
_DATE = re.compile(r"(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?!\d)")
_SAMPLE = 400
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[AaPp]\.?[Mm]\.?)?")
# So many columns are tried together as the names of series.
_MAX_LIKELY = 8


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
    odd, numbers = [], []
    for cell in known:
        try:
            numbers.append(float(reader.number(cell) or 0.0))
        except ValueError:
            odd.append(cell)
    different = set(known)
    words = [cell for cell in odd if cell.lower() not in _NOTHING]
    is_amount = bool(numbers) and len(words) <= _ODD * len(known) and len(set(words)) <= 3
    codes = name.lower() in CALENDAR and len(different) <= _MAX_WORDS
    if is_amount and not codes:
        absent = {*odd, *_sentinels(different, numbers)}
        return ColumnLook(name, "amount", len(different - absent), len(known), tuple(sorted(absent)))
    return ColumnLook(name, "word", len(different), len(known))


def _sentinels(different: set[str], numbers: Sequence[float]) -> set[str]:
    found = different.intersection(_SENTINELS)
    others = [number for number in numbers if number not in set(map(float, found))]
    return {cell for cell in found if others and float(cell) < -10 * max(1.0, -min(others))}


def find_time(table: Table, looks: Mapping[str, ColumnLook], cells: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The columns that tell when a row was: one, a date and its time of day, or a calendar's; none = rows are steps.

    Raises:
        DataError: the table is empty, or a column has dates that nothing tells how to read.
    """
    file = table.path
    if not any(cells.values()):
        raise DataError(f"{file}: is empty" if not looks else f"{file}: has no row below its header")
    forms = {name: form for name, column in cells.items() if (form := _form_of(column))}
    written = [name for name in forms if sum(map(_is_number, cells[name][:_SAMPLE])) < len(cells[name][:_SAMPLE]) / 2]
    if written:
        first = next((name for name in written if _is_called(name, _TIME_NAMES)), written[0])
        clock = next((name for name in cells if name != first and _is_clock(name, cells[name])), None)
        # A date alone, several times over: the rest is in the other column.
        is_day = clock is not None and not any(":" in cell for cell in cells[first][:_SAMPLE])
        is_repeated = 1.5 * len(set(cells[first])) < len(cells[first])
        return (first, clock) if clock is not None and is_day and is_repeated else (first,)
    lower = {name.lower(): name for name in looks}
    units = [unit for unit in CALENDAR_UNITS if unit in lower]
    if units[:3] == list(CALENDAR_UNITS[:3]):
        # No unit between may be left out.
        return tuple(lower[unit] for unit, known in zip(CALENDAR_UNITS, units, strict=False) if unit == known)
    for unit, most in (("month", 12), ("quarter", 4)):
        if "year" in lower and unit in lower and _counts_to(cells[lower[unit]], most):
            return lower["year"], lower[unit]
    numbered = [name for name in forms if _is_called(name, (*_TIME_NAMES, *_STEP_NAMES))]
    if numbered:
        return (min(numbered, key=lambda name: not _is_called(name, _TIME_NAMES)),)
    # Of columns without names.
    if counted := [name for name in cells if name.isdecimal() and numbers_rows(name, cells[name])]:
        return (counted[0],)
    for name, column in cells.items():
        if wrong := _wrong_form(column[:_SAMPLE]):
            raise DataError(f"{file}: no column tells when its rows were; {name!r} would, but {wrong}")
    return ()


def _form_of(cells: Sequence[str]) -> str:
    """How a column's times are written, in words; empty where these are none."""
    known = [cell for cell in cells[:_SAMPLE] if cell]
    if _are_times(known):
        return "ISO 8601"
    form = find_time_form(cells) if known and not any(cell in MISSING_WORDS for cell in known[:1]) else None
    return "" if form is None or (form.is_count and not _rises(known)) else form.words


def _rises(cells: Sequence[str]) -> bool:
    """Whether whole numbers mostly count on, each series for itself."""
    numbers = [float(cell) for cell in cells if _is_number(cell)]
    return sum(later >= earlier for earlier, later in itertools.pairwise(numbers)) >= 0.8 * (len(numbers) - 1)


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-").replace(".", "", 1).isdigit()


def _is_clock(name: str, cells: Sequence[str]) -> bool:
    """Whether a column has hours or times of day."""
    known = cells[:_SAMPLE]
    if not _is_called(name, _CLOCK_NAMES) or not known:
        return False
    return all(_CLOCK.fullmatch(cell) for cell in known) or ("hour" in name.lower() and _counts_to(known, 23, 0))


def numbers_rows(name: str, cells: Sequence[str]) -> bool:
    """Whether a column counts the rows of the file, as an index that was written along."""
    if not cells[0].isdecimal() or not (name.isdecimal() or _is_called(name, (*_STEP_NAMES, *_TIME_NAMES))):
        return False
    return cells == [str(number) for number in range(int(cells[0]), int(cells[0]) + len(cells))]


def _counts_to(cells: Sequence[str], most: int, least: int = 1) -> bool:
    numbers = {cell.removesuffix(".0") for cell in cells}
    return all(number.isdecimal() and least <= int(number) <= most for number in numbers)


def find_series(
    table: Table,
    time: Sequence[str],
    looks: Mapping[str, ColumnLook],
    cells: Mapping[str, list[str]],
) -> tuple[str, ...]:
    """The column, or the columns together, that tell series apart; none = there is one series.

    Raises:
        DataError: times come again, and nothing tells their rows apart.
    """
    num_rows = len(next(iter(cells.values())))
    fitting = [
        name
        for name, look in looks.items()
        if name not in time and 2 <= look.num_words <= num_rows / 3 and look.num_known == num_rows
    ]
    if not time:
        named = [name for name in fitting if _is_called(name, _SERIES_NAMES) and looks[name].num_words <= num_rows / 10]
        return tuple(named[:1])
    stamps = _moments(table, time, cells)
    if all(earlier < later for earlier, later in itertools.pairwise(stamps)):
        return ()
    # Amounts are no names, but where there is nothing else.
    likely = [name for name in fitting if looks[name].kind == "word" or _are_whole(cells[name])][:_MAX_LIKELY]
    for number, names in ((1, fitting), (2, likely), (3, likely)):
        found = [own for own in itertools.combinations(names, number) if _rise([cells[name] for name in own], stamps)]
        if found:
            return min(
                found, key=lambda own: (sum(not _is_called(name, _SERIES_NAMES) for name in own), _num(own, cells))
            )
    if len(set(stamps)) < len(stamps):
        raise DataError(
            f"{table.path}: {', '.join(map(repr, time))} has times more than once, and no column tells their rows "
            "apart: several series need a column, or two, that say which one a row is of, and each its rows in order "
            "of time"
        )
    return ()


def _rise(ids: Sequence[Sequence[str]], stamps: Sequence[int]) -> bool:
    """Whether in each series every row is later than the one before it."""
    last: dict[tuple[str, ...], int] = {}
    for series, stamp in zip(zip(*ids, strict=True), stamps, strict=True):
        if last.get(series, stamp - 1) >= stamp:
            return False
        last[series] = stamp
    return True


def _num(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> int:
    return len(set(zip(*(cells[name] for name in names), strict=True)))


def _are_whole(cells: Sequence[str]) -> bool:
    return all(cell.removesuffix(".0").isdecimal() for cell in cells[:_SAMPLE])


def _moments(table: Table, time: Sequence[str], cells: Mapping[str, list[str]]) -> list[int]:
    columns = TimeColumns(table, time)
    reader = columns.reader()
    stamps = []
    for line, texts in enumerate(zip(*(cells[name] for name in time), strict=True), start=2):
        try:
            stamps.append(reader.read(line, columns.joined(texts)).moment)
        except ValueError as error:
            raise DataError(f"{table.path}: line {line}, column {', '.join(map(repr, time))}: {error}") from error
    return stamps


def _are_times(sample: Sequence[str]) -> bool:
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
