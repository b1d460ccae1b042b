"""Openings of text files with tables: what stands above the header, and whether there is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[T ].*)?")
_TOTAL = re.compile(
    r"(?:grand |sub)?(?:totals?|sums?|summe|gesamt|average|mean|durchschnitt|moyenne)\b.{0,20}", re.IGNORECASE
)


class Preamble(NamedTuple):
    """How many lines stand above the header, and the delimiter that they tell, empty where they tell none."""

    num_lines: int = 0
    delimiter: str = ""


def find_preamble(lines: Sequence[str], delimiters: Sequence[str]) -> Preamble:
    """What is above the header in the first lines of a file: Excel's ``sep=;``, comments, a title.

    A title or comment is a line that no delimiter cuts, or begins with ``#``, above a line that is cut into cells
    that are no numbers.
    """
    if lines and (found := _SEP.fullmatch(lines[0].rstrip("\r\n"))):
        return Preamble(1, found[1])
    for place, line in enumerate(lines):
        cuts = max(map(line.count, delimiters))
        if not line.strip() or not cuts:
            continue
        by = max(delimiters, key=line.count)
        following = next((other for other in lines[place + 1 :] if other.strip()), "")
        if line.startswith("#") and following.count(by) != cuts:
            continue
        above = [other for other in lines[:place] if other.strip()]
        if not above or any(map(is_data, line.rstrip("\r\n").split(by))):
            return Preamble()
        return Preamble(place)
    return Preamble()


def are_spaced(lines: Sequence[str], delimiters: Sequence[str]) -> bool:
    """Whether nothing but spaces cuts lines, and all of them into as many cells."""
    counts = {len(line.split()) for line in lines if line.strip()}
    return len(counts) == 1 and max(counts) > 1 and not any(cut in line for line in lines for cut in delimiters)


def is_data(cell: str) -> bool:
    """Whether a cell is a number or a date, and no column's name."""
    text = cell.strip().strip('"')
    return _NUMBER.fullmatch(text) is not None or _DATE.fullmatch(text) is not None


def has_names(header: Sequence[str]) -> bool:
    """Whether the first row of a table has the columns' names, and is not a row already.

    Numbers that count on are names, as of pixels.
    """
    if not all(map(is_data, filter(None, header))) or not any(header):
        return True
    names = [name for name in header if name]
    if all(name.isdecimal() for name in names) and len(header) > 1:
        numbers = list(map(int, names))
        return numbers in (list(range(len(names))), list(range(1, len(names) + 1)))
    return False


def has_words(cell: str) -> bool:
    """Whether a line that nothing cuts is a remark, and not what is left of a row."""
    return " " in cell and not is_data(cell)


def is_total(cells: Sequence[str]) -> bool:
    """Whether a row at the end of a table says the sum of its columns."""
    first, *others = [cell for cell in cells if cell] or [""]
    return _TOTAL.fullmatch(first) is not None and bool(others) and all(map(is_number, others))


def is_number(cell: str) -> bool:
    """Whether a cell is a number, however it is written."""
    return any(letter.isdigit() for letter in cell) and not any(letter.isalpha() for letter in cell)
