"""Forms of times other than ISO 8601, told by all cells of a column: days first, names of months, quarters, numbers.

One cell does not tell: ``03/04/2024`` may be two days. A column does, where one of them is above 12, or where its rows
are steps in one reading and none in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations

from ostinato.tables.stamps import DAY, EPOCH, MAX_COUNT, SECOND, to_moment
from ostinato.tables.steps import find_step

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_YEAR_MONTH = re.compile(r"(?:1[6-9]|2[01])[0-9]{2}(?:0[1-9]|1[0-2])")
_CLOCK = re.compile(
    r"(?:T|,?\s+)(\d{1,2})(?::(\d{2}))?(?::(\d{2})(?:[.,](\d{1,6})0*)?)?(?:\s*([AaPp])\.?\s?[Mm]\.?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)
_DAYS = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?!\d)\.?(.*)", re.DOTALL)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_NAMED_DAY = re.compile(
    rf"(?:[a-z]+,\s*)?(\d{{1,2}})(?:st|nd|rd|th)?[\s.-]+{_MONTH}[\s,-]+(\d{{4}}|\d{{2}})(?!\d)(.*)", re.I
)
_NAMED_MONTH = re.compile(rf"(?:[a-z]+,\s*)?{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})(.*)", re.I)
_MONTH_OF_YEAR = re.compile(rf"{_MONTH}[\s,/-]*(\d{{4}}|\d{{2}})", re.I)
_QUARTERS = (re.compile(r"(\d{4})[\s/-]*[Qq]([1-4])"), re.compile(r"[Qq]([1-4])[\s/-]*(\d{4})"))
_NUMBERED_MONTH = re.compile(r"(\d{4})[Mm](\d{1,2})")
# Two digits up to this are of this century (as POSIX has it).
_LAST_OF_CENTURY = 68
# Of the cells that are times by their look, how many may be none.
_ODD = 0.02
# How many times as regular the one reading of a date must be, to be taken for it.
_CLEARLY = 1.5
_YEARS = range(1000, 3000)


@dataclass(frozen=True)
class TimeForm:
    """How a column writes its times.

    Attributes:
        words: what its times are called, as ``days that come first``.
        moment: of a cell that is of this form, in microseconds of its clock; raises ValueError for any other.
        is_count: whether cells are the numbers of steps; a microsecond then stands for one.
    """

    words: str
    moment: Callable[[str], int]
    is_count: bool = False


def find_time_form(cells: Sequence[str]) -> TimeForm | None:
    """The form of a column's times; None = it is none of these, or nothing tells which."""
    known = list(dict.fromkeys(cell for cell in cells if cell))
    if not known:
        return None
    if _are(known, lambda cell: _NUMBER.fullmatch(cell) is not None):
        return _of_numbers([cell for cell in known if _NUMBER.fullmatch(cell)])
    for form in (_QUARTER, _MONTH_NUMBER, _NAMED, _MONTH_NAME):
        if _are(known, lambda cell, form=form: _reads(form, cell)):  # type: ignore[misc]
            return form
    return _of_days([cell for cell in known if _DAYS.fullmatch(cell)], len(known))


def _are(cells: Sequence[str], fits: Callable[[str], bool]) -> bool:
    return fits(cells[0]) and sum(map(fits, cells)) >= (1 - _ODD) * len(cells) - 1


def _reads(form: TimeForm, cell: str) -> bool:
    try:
        form.moment(cell)
    except ValueError:
        return False
    return True


def _of_numbers(cells: Sequence[str]) -> TimeForm | None:
    """Numbers that are too small for such since 1970: steps, seconds, years and months."""
    if all(map(_YEAR_MONTH.fullmatch, cells)):
        return TimeForm("years and months", lambda cell: _of_date(int(cell[:4]), int(cell[4:6]), 1))
    numbers = [float(cell) for cell in cells]
    if max(map(abs, numbers)) >= MAX_COUNT:
        return None
    are_years = all(number in _YEARS for number in map(int, numbers)) and any("." in cell for cell in cells)
    if are_years and all(abs(12 * number - round(12 * number)) < 0.02 for number in numbers):
        return TimeForm("years with fractions", _of_year)
    if all(number == int(number) for number in numbers):
        return TimeForm("numbers of steps", _of_count, is_count=True)
    # From a day on that has nothing in common with numbers of steps.
    return TimeForm("seconds", lambda cell: DAY + round(float(_checked(cell)) * SECOND))


def _checked(cell: str) -> str:
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell!r} is no number, and the times of the other rows are")
    return cell


def _of_count(cell: str) -> int:
    number = float(_checked(cell))
    if number != int(number):
        raise ValueError(f"{cell!r} is no whole number, and the steps of the other rows are")
    return int(number)


def _of_year(cell: str) -> int:
    year, month = divmod(round(float(_checked(cell)) * 12), 12)
    return _of_date(year, month + 1, 1)


def _of_days(cells: Sequence[str], num_known: int) -> TimeForm | None:
    """Days, months and years as numbers, in the order that makes all cells dates; of several, the regular one."""
    if len(cells) < (1 - _ODD) * num_known - 1:
        return None
    orders = [order for order in permutations("dmy") if "".join(order) in ("dmy", "mdy", "ymd")]
    read: dict[str, list[int]] = {}
    for order in map("".join, orders):
        moments = [moment for cell in cells if (moment := _try_day(cell, order)) is not None]
        if len(moments) >= (1 - _ODD) * len(cells) - 1 and moments:
            read[order] = moments
    # A day, a month and a year with points between come in this order.
    if "dmy" in read and all("." in _separator(cell) for cell in cells):
        read = {"dmy": read["dmy"]}
    if len(read) > 1:
        by_regularity = sorted(((_regularity(moments), order) for order, moments in read.items()), reverse=True)
        (most, best), (next_most, _) = by_regularity[:2]
        read = {best: read[best]} if most > _CLEARLY * next_most else {}
    if not read:
        return None
    (order,) = read
    words = {"dmy": "dates whose day comes first", "mdy": "dates whose month comes first", "ymd": "dates, year first"}
    return TimeForm(words[order], lambda cell: _of_day(cell, order))


def _separator(cell: str) -> str:
    found = _DAYS.fullmatch(cell)
    return found[2] if found else ""


def _regularity(moments: Sequence[int]) -> float:
    """Which part of the steps from the first to the last moment have a row; 0 where they are no steps."""
    times = sorted(set(moments))
    if len(times) < 3 or (step := find_step(times)) is None:
        return 0.0
    size = step.microseconds or step.months * 30 * 24 * 3600 * SECOND or 24 * 3600 * SECOND
    return min(1.0, len(times) * size / (times[-1] - times[0] + size))


def _try_day(cell: str, order: str) -> int | None:
    try:
        return _of_day(cell, order)
    except ValueError:
        return None


def _of_day(cell: str, order: str) -> int:
    found = _DAYS.fullmatch(cell)
    if found is None:
        raise ValueError("it is no date as those of the other rows")
    parts = dict(zip(order, (found[1], found[3], found[4]), strict=True))
    if not (len(parts["y"]) in (2, 4) and max(len(parts["d"]), len(parts["m"])) <= 2):
        raise ValueError("its year is not where it is in the other rows")
    day, month = int(parts["d"]), int(parts["m"])
    if not 1 <= month <= 12:
        raise ValueError(
            f"{month} is no month; in the other rows the {'day' if order == 'dmy' else 'month'} comes first"
        )
    return _of_date(_full_year(parts["y"]), month, day) + _of_clock(found[5])


def _of_clock(text: str) -> int:
    """Microseconds since midnight; less the offset from UTC, where one is told."""
    if not text.strip():
        return 0
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"{text.strip()!r} is no time of day as 17:00, 17:00:00 or 5:00 PM")
    hour, minute, second = (int(part or 0) for part in found.groups()[:3])
    if found[5]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{text.strip()!r} is no time of day: its hour is from 1 to 12")
        hour = hour % 12 + (12 if found[5].lower() == "p" else 0)
    elif found[2] is None:
        raise ValueError(f"{text.strip()!r} is no time of day as 17:00")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"{text.strip()!r} is no time of day")
    offset = timedelta(0)
    if found[6] and found[6][0] in "+-":
        digits = found[6][1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:])) * (-1 if found[6][0] == "-" else 1)
    clock = timedelta(hours=hour, minutes=minute, seconds=second, microseconds=int((found[4] or "").ljust(6, "0")))
    return to_moment(EPOCH + clock - offset)


def _of_named_day(cell: str) -> int:
    if found := _NAMED_DAY.fullmatch(cell):
        day, month, year, clock = found.groups()
    elif found := _NAMED_MONTH.fullmatch(cell):
        month, day, year, clock = found.groups()
    else:
        raise ValueError("it is no date as those of the other rows")
    return _of_date(_full_year(year), _MONTHS.index(month.lower()) + 1, int(day)) + _of_clock(clock)


def _of_quarter(cell: str) -> int:
    if found := _QUARTERS[0].fullmatch(cell):
        year, quarter = found.groups()
    elif found := _QUARTERS[1].fullmatch(cell):
        quarter, year = found.groups()
    else:
        raise ValueError("it is no quarter as 2024Q1")
    return _of_date(int(year), 3 * int(quarter) - 2, 1)


def _of_numbered_month(cell: str) -> int:
    if (found := _NUMBERED_MONTH.fullmatch(cell)) is None:
        raise ValueError("it is no month as 2024M01")
    return _of_date(int(found[1]), int(found[2]), 1)


def _of_month_name(cell: str) -> int:
    if (found := _MONTH_OF_YEAR.fullmatch(cell)) is None:
        raise ValueError("it is no month as Jan 2024")
    return _of_date(_full_year(found[2]), _MONTHS.index(found[1].lower()) + 1, 1)


def _full_year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else year + (2000 if year <= _LAST_OF_CENTURY else 1900)


def _of_date(year: int, month: int, day: int) -> int:
    return to_moment(datetime(year, month, day))


_QUARTER = TimeForm("quarters", _of_quarter)
_MONTH_NUMBER = TimeForm("months", _of_numbered_month)
_NAMED = TimeForm("dates with the names of months", _of_named_day)
_MONTH_NAME = TimeForm("months by name", _of_month_name)
