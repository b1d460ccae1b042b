"""Numbers as people and their programs write them: decimal commas, separators of thousands, signs of currencies.

One cell does not tell: ``1,234`` may be 1234. The cells of a file do, as its other columns are written by the same
program. What nothing tells is left as it is, and refused by anyone who reads a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ostinato.tables.cells import MISSING_WORDS

Rewrite: TypeAlias = Callable[[str], str]

_SPACES = " '\u00a0\u2019\u202f_"
_SIGN = r"[+\-\u2212]?"
_UNIT = r"[$\u20ac\u00a3\u00a5%]"
_WHOLE = re.compile(
    rf"({_UNIT}\s?)?({_SIGN})({_UNIT}\s?)?([0-9][0-9.,{_SPACES}]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?(\s?{_UNIT})?"
)
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ODD = 0.05


def find_number_forms(columns: Sequence[Sequence[str]], delimiter: str) -> list[Rewrite | None]:
    """For each column what writes its cells with a decimal point and nothing else; None = they are so, or no numbers.

    Args:
        columns: the first cells of each.
        delimiter: what cuts the file.
    """
    known = [[cell for cell in dict.fromkeys(cells) if cell not in MISSING_WORDS] for cells in columns]
    odd = [place for place, cells in enumerate(known) if _are_odd_numbers(cells)]
    if not odd:
        return [None] * len(columns)
    numbers = [cells if _are_numbers(cells) else [] for cells in known]
    of_file = _decimal_mark([cell for cells in numbers for cell in cells])
    found: list[Rewrite | None] = [None] * len(columns)
    for place, cells in enumerate(numbers):
        mark = _decimal_mark(cells) or of_file or (_guess(cells, delimiter) if place in odd else "")
        if place in odd or (mark == "," and any("." in cell for cell in cells)):
            found[place] = _rewrite(mark)
    return found


def _are_numbers(cells: Sequence[str]) -> bool:
    return sum(_WHOLE.fullmatch(cell) is not None for cell in cells) >= (1 - _ODD) * len(cells)


def _are_odd_numbers(cells: Sequence[str]) -> bool:
    """Whether they are numbers, and some of them written otherwise than with a decimal point."""
    return (
        bool(cells)
        and _are_numbers(cells)
        and any(_WHOLE.fullmatch(cell) and not _PLAIN.fullmatch(cell) for cell in cells)
    )


def _decimal_mark(cells: Sequence[str]) -> str:
    """The decimal mark that some numbers show, ``.`` or ``,``; empty = none or both."""
    digits = _digits(cells)
    shown = [mark for mark in ".," if any(_shows(mark, cell) for cell in digits)]
    return shown[0] if len(shown) == 1 else ""


def _guess(cells: Sequence[str], delimiter: str) -> str:
    """The decimal mark of numbers that do not show it; empty = nothing tells."""
    digits = _digits(cells)
    if not any("," in cell for cell in digits):
        return "."
    # 1,234 and the like alone: thousands where smaller numbers have no comma, and none without one is so large.
    whole = [cell for cell in digits if cell.isdecimal()]
    if delimiter == "," or (whole and all(len(cell) <= 3 for cell in whole)):
        return "."
    return "," if whole else ""


def _digits(cells: Sequence[str]) -> list[str]:
    return [found[4].strip(_SPACES) for cell in cells if (found := _WHOLE.fullmatch(cell))]


def _shows(mark: str, digits: str) -> bool:
    """Whether a number cannot be read with another decimal mark than this."""
    other = "," if mark == "." else "."
    if digits.count(other) > 1 and mark not in digits:
        return _are_thousands(digits, other)
    whole, found, fraction = digits.rpartition(mark)
    if not found or mark in whole or other in fraction:
        return False
    if other in whole:
        return _are_thousands(whole, other)
    plain = whole.translate(dict.fromkeys(map(ord, _SPACES)))
    return len(fraction) != 3 or len(plain) > 3 or plain in ("", "0") or plain != whole


def _are_thousands(digits: str, separator: str) -> bool:
    first, *groups = digits.split(separator)
    return 1 <= len(first) <= 3 and all(len(group) == 3 and group.isdecimal() for group in groups)


def _rewrite(mark: str) -> Rewrite | None:
    if not mark:
        return None
    separator = "," if mark == "." else "."

    def rewritten(cell: str) -> str:
        found = _WHOLE.fullmatch(cell)
        if found is None:
            return cell
        digits, exponent = found[4], cell[found.end(4) : found.start(5) if found[5] else len(cell)]
        whole, has_fraction, fraction = digits.strip(_SPACES).partition(mark)
        for between in (separator, *_SPACES):
            if between in whole and not _are_thousands(whole, between):
                return cell
            whole = whole.replace(between, "")
        if not (whole + fraction).isdecimal():
            return cell
        sign = found[2].replace("\u2212", "-")
        return sign + whole + ("." + fraction if has_fraction else "") + exponent

    return rewritten
