"""Cells of a table as the numbers of a model: amounts, codes of words, and what is missing.

Training and everything that sends rows to a service read cells here, so both give a network the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

MISSING_WORDS = ("", "NA", "na", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?")
"""What stands for a missing value where nobody says otherwise."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_SEPARATED = re.compile(r"[+-]?[0-9]+(?:[,.' _\u00a0\u2019\u202f][0-9]+)+(?:[eE][+-]?[0-9]+)?")
_FLOAT32_END = 2.0**128 - 2.0**103
"""What rounds to an infinity in float32."""


class Words:
    """Words, each with a code: 0, 1, ... A cell is looked up by its text, and then by the number that it is.

    So ``07`` and ``7.0`` are the word ``7`` unless they are words themselves.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._codes: dict[str, int] = {}
        self._codes_of_numbers: dict[Decimal, int] = {}
        for code, word in enumerate(words):
            self._codes.setdefault(word, code)
            if (number := _decimal(word)) is not None:
                self._codes_of_numbers.setdefault(number, code)

    def find(self, text: str) -> int | None:
        """The code of a cell; None = it is none of the words."""
        code = self._codes.get(text)
        if code is None and self._codes_of_numbers and (number := _decimal(text)) is not None:
            return self._codes_of_numbers.get(number)
        return code

    def __contains__(self, text: str) -> bool:
        return self.find(text) is not None


class CellReader:
    """Reads the cells of one column as the numbers of a model.

    Args:
        words: what the codes 0, 1, ... stand for; empty = the cells are amounts.
        missing: what stands for a missing value. A word that is in both is a word.
        dtype: of the model's input, as ``float32``.
        unknown: the word that all which are none stand for.
    """

    def __init__(
        self,
        words: Sequence[str] = (),
        missing: Sequence[str] = MISSING_WORDS,
        dtype: str = "float32",
        unknown: str | None = None,
    ) -> None:
        self._words = Words(words) if words else None
        self._missing = Words(missing)
        self._unknown = unknown
        self._is_whole = not dtype.startswith("float")
        self._end = _FLOAT32_END if dtype == "float32" else math.inf

    def number(self, text: str) -> float | int | None:
        """A cell's number, whole where the input is; None = missing. So is a word that the training did not meet, where
        no word stands for such.

        Raises:
            ValueError: it is no number, or none that the input can hold.
        """
        if self._words is not None:
            code = self._words.find(text)
            if code is None and self._unknown is not None and text not in self._missing:
                code = self._words.find(self._unknown)
            return None if code is None else code if self._is_whole else float(code)
        if text in self._missing:
            return None
        return _whole(text) if self._is_whole else self._amount(text)

    def is_unknown(self, text: str) -> bool:
        """Whether it is a word that the training did not meet."""
        return self._words is not None and text not in self._words and text not in self._missing

    def _amount(self, text: str) -> float:
        _check_number(text)
        number = float(text)
        if abs(number) >= self._end:
            raise ValueError(f"{text!r} is not finite in the dtype of the model's input")
        return number


def vocabulary(cells: Iterable[str], missing: Sequence[str] = MISSING_WORDS) -> tuple[str, ...]:
    """The words of a column, each once and the missing ones left out: by amount if all are numbers, else by text.

    Of words that are the same number, as ``7`` and ``07``, the shortest is kept.
    """
    no_words = Words(missing)
    words: dict[Decimal | str, str] = {}
    for word in sorted({cell for cell in cells if cell not in no_words}, key=lambda word: (len(word), word)):
        number = _decimal(word) if _PLAIN_NUMBER.fullmatch(word) else None
        words.setdefault(word if number is None else number, word)
    numbers = [key for key in words if isinstance(key, Decimal)]
    return tuple(words[key] for key in sorted(numbers)) if len(numbers) == len(words) else tuple(sorted(words.values()))


def _decimal(text: str) -> Decimal | None:
    """The number that a text is, exactly: float64 would take long codes for one another."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def _whole(text: str) -> int:
    _check_number(text)
    number = _decimal(text)
    if number is None or number.adjusted() > 18 or number % 1:
        raise ValueError(f"{text!r} is not a whole number of 64 bits, and the model's input takes no other")
    return int(number)


def _check_number(text: str) -> None:
    if _NUMBER.fullmatch(text):
        return
    if text.lower().lstrip("+-") in ("inf", "infinity", "nan"):
        raise ValueError(f"{text!r} is not finite")
    if _SEPARATED.fullmatch(text):
        raise ValueError(f"{text!r} is not a number: write a decimal point, and no separator of thousands")
    raise ValueError(f"{text!r} is not a number")
