"""Time stamps of a table: the cells of its time columns as moments, in microseconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MAX_COUNT = 10**8
"""Numbers of steps are below this, each a microsecond; no table has times in the first seconds of 1970."""
CALENDAR_UNITS = ("year", "month", "day", "hour", "minute", "second")
"""What the columns of a calendar hold, in the order in which they are named."""

# How many digits a number since 1970 has from 2001 on (seconds: from 1973 on), and how many of its units are a second.
_EPOCHS = {
    "seconds since 1970": (range(9, 12), 1),
    "milliseconds since 1970": (range(12, 15), 1_000),
    "microseconds since 1970": (range(15, 18), 1_000_000),
    "nanoseconds since 1970": (range(18, 21), 1_000_000_000),
}
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_WITH_EXPONENT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+")
_RUN_TOGETHER = re.compile(
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){0,2}"
)
"""A date and a time of day with nothing between: 10, 12 or 14 digits, as many as numbers since 1970 have."""
_YEAR = re.compile(r"[0-9]{4}")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_FINE = re.compile(r"[.,][0-9]{6}0*[1-9]")
_YEAR_LAST = re.compile(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4}|[0-9]{2})\b(.*)")
_YEAR_FIRST = re.compile(r"([0-9]{4})[/.-]([0-9]{1,2})[/.-]([0-9]{1,2})\b(.*)")
_WHOLE = re.compile(r"([0-9]+)(?:\.0*)?")


class Stamp(NamedTuple):
    """When a row was, in microseconds since 1970: ``moment`` of UTC where an offset is told, ``wall`` of its clock.

    Without an offset both are the clock's.
    """

    moment: int
    wall: int


class StampReader:
    """Reads the stamps of one table, all written in one way.

    A stamp is one cell of ISO 8601 (a year or a month alone, too) or of a whole number since 1970; or whole numbers in
    columns of their own, the year, month, day, and smaller units down to the second.

    Args:
        moment_of: of a cell that is written otherwise, as ``time_forms.py`` reads it; None = cells are as above.
    """

    def __init__(self, moment_of: Callable[[str], int] | None = None) -> None:
        self._moment_of = moment_of
        self._way = ""
        self._line = 0
        self._run_together: str | None = None

    @property
    def run_together(self) -> str | None:
        """The first stamp, where all read so far are numbers that are dates, too, as 2024013117; None = they are not.

        Read as numbers since 1970 they would be a series like another one: hours a second apart.
        """
        return self._run_together

    @property
    def has_offsets(self) -> bool:
        """Whether the stamps read so far tell a moment, and not only what a clock showed."""
        return self._way not in ("", _NAIVE)

    def read(self, line: int, cells: Sequence[str]) -> Stamp:
        """The stamp of a row.

        Raises:
            ValueError: it is none, or is written differently from those before it.
        """
        if not any(cells):
            raise ValueError("the row has no time, so it has no place among the others; write it, or remove the row")
        try:
            way, stamp = self._of_cells(cells)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{', '.join(cells)} is not a time: {error}") from error
        is_date = len(cells) == 1 and way in _EPOCHS and _RUN_TOGETHER.fullmatch(cells[0]) is not None
        if not self._way:
            self._way, self._line = way, line
            self._run_together = cells[0] if is_date else None
        elif way != self._way:
            raise ValueError(
                f"{cells[0]} is {way}, and line {self._line} has {self._way}: write all times of a table in one way"
            )
        elif not is_date:
            self._run_together = None
        return stamp

    def _of_cells(self, cells: Sequence[str]) -> tuple[str, Stamp]:
        """How a stamp is written, and what it is."""
        if self._moment_of is not None:
            moment = self._moment_of(" ".join(cells))
            return _NAIVE, Stamp(moment, moment)
        return _of_one_cell(cells[0]) if len(cells) == 1 else (_NAIVE, _of_calendar(cells))


_NAIVE = "a time without an offset from UTC"
_AWARE = "a time with an offset from UTC"


def to_datetime(moment: int) -> datetime:
    """The date and time of a moment."""
    return EPOCH + timedelta(microseconds=moment)


def to_moment(time: datetime) -> int:
    """The moment of a date and time without an offset."""
    return (time - EPOCH) // MICROSECOND


def _of_one_cell(text: str) -> tuple[str, Stamp]:
    """How a stamp is written, and what it is."""
    if (number := _NUMBER.fullmatch(text)) and len(number[2]) not in (4, 8):
        return _of_number(number)
    if _YEAR.fullmatch(text):
        text = f"{text}-01-01"
    elif _MONTH.fullmatch(text):
        text = f"{text}-01"
    if _WITH_EXPONENT.fullmatch(text):
        raise ValueError("as a number since 1970 it is written without an exponent; or write ISO 8601")
    if _FINE.search(text):
        raise ValueError("it is finer than a microsecond")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        # Of what is written as it should be, Python says which number is out of range.
        advice = _advice(text) if str(error).startswith("Invalid isoformat") else ""
        raise ValueError(advice or str(error)) from error
    wall = to_moment(time.replace(tzinfo=None))
    if time.tzinfo is None:
        return _NAIVE, Stamp(wall, wall)
    return _AWARE, Stamp(to_moment(time.astimezone(UTC).replace(tzinfo=None)), wall)


def _of_number(number: re.Match[str]) -> tuple[str, Stamp]:
    sign, whole, fraction = number[1], number[2], number[3] or ""
    for way, (digits, per_second) in _EPOCHS.items():
        if len(whole) in digits:
            units = int(whole) * SECOND * 10 ** len(fraction) + int(fraction or 0) * SECOND
            moment, rest = divmod(units, per_second * 10 ** len(fraction))
            if rest:
                raise ValueError("it is finer than a microsecond")
            moment = -moment if sign else moment
            return way, Stamp(moment, moment)
    raise ValueError("as a number it would be seconds, milli-, micro- or nanoseconds since 1970; write ISO 8601")


def _of_calendar(cells: Sequence[str]) -> Stamp:
    numbers = []
    for cell in cells:
        whole = _WHOLE.fullmatch(cell)
        if whole is None:
            raise ValueError(f"{cell!r} is not a whole number")
        numbers.append(int(whole[1]))
    year, month, day, *smaller = numbers
    hour, minute, second = (*smaller, 0, 0, 0)[:3]
    wall = to_moment(datetime(year, month, day, hour, minute, second))
    return Stamp(wall, wall)


def _advice(text: str) -> str:
    """How a time that is not ISO 8601 is written; empty where nobody can tell."""
    if found := _YEAR_FIRST.fullmatch(text):
        date = _iso(found[1], found[2], found[3])
        if text.startswith(date):
            return "after the date, ISO 8601 has a time as 17:00 or 17:00:00 and an offset from UTC as +01:00"
        return f"write it as ISO 8601: {date}"
    if not (found := _YEAR_LAST.fullmatch(text)):
        return ""
    first, second, year = found[1], found[2], found[3]
    if len(year) == 2:
        return "its year has two digits; write it as ISO 8601, the year first"
    day_first, month_first = _iso(year, second, first), _iso(year, first, second)
    if int(first) > 12:
        return f"its day comes first; write it as ISO 8601: {day_first}"
    if int(second) > 12:
        return f"its month comes first; write it as ISO 8601: {month_first}"
    if first == second:
        return f"write it as ISO 8601: {day_first}"
    return f"it may be {day_first} or {month_first}; write it as ISO 8601, as one of these"


def run_together_advice(text: str) -> str:
    """How a date without anything between its parts is written; ``text``: as ``StampReader.run_together`` has it."""
    time = ":".join(text[place : place + 2] for place in range(8, len(text), 2))
    written = f"{text[:4]}-{text[4:6]}-{text[6:8]} {time}{':00' if len(text) == 10 else ''}"
    return (
        f"{text} may be {written} or a number since 1970: write it as ISO 8601 (digits alone tell a date only: "
        f"{text[:8]})"
    )


def _iso(year: str, month: str, day: str) -> str:
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}"
