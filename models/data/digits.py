"""The handwritten digits: their pictures, the letters of their names, and which of them are held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from ostinato.models.data.files import read_columns
from ostinato.models.data.lines import EDGE, Lines
from ostinato.models.data.series import Floats
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe
from ostinato.tables.cells import CellReader
from ostinato.tables.table import NamedColumns

# 8 rows of 8 pixels, each how many of 16 dots are ink.
IMAGE_SIZE = 8
MAX_INK = 16.0
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SYMBOLS = (EDGE, *sorted(set("".join(NAMES))))
PIXELS = tuple(f"pixel_{row}_{column}" for row in range(IMAGE_SIZE) for column in range(IMAGE_SIZE))


class DigitsRecipe(FileRecipe):
    """Where the digits lie, and which rows are held out.

    ``file``: a table, plain or compressed, with the columns ``pixel_0_0`` to ``pixel_7_7`` and ``digit``.
    ``validation_from``, ``test_from``: the rows, counted from 0, with which the second and third part begin.
    """

    validation_from: Count
    test_from: Count

    @model_validator(mode="after")
    def _check(self) -> DigitsRecipe:
        if self.validation_from >= self.test_from:
            raise ValueError("validation_from must be smaller than test_from")
        return self


@dataclass(frozen=True)
class Digits:
    """Pictures ``pixels`` float32 ``[N, 64]``, 0 to 16, row by row, and what they show, ``digits`` int64 ``[N]``."""

    pixels: Floats
    digits: NDArray[np.int64]

    def part(self, start: int, end: int) -> Digits:
        """The rows from ``start`` up to ``end``."""
        return Digits(self.pixels[start:end], self.digits[start:end])


def load_digits(path: Path) -> Digits:
    """All digits of a CSV, in the order of its rows.

    Raises:
        DataError: the file cannot be read, lacks a column, or a pixel or digit is not what it may be.
    """
    columns = read_columns(path, (*PIXELS, "digit"))
    pixels = np.stack([_whole_numbers(path, columns, name, int(MAX_INK)) for name in PIXELS], axis=1)
    digits = _whole_numbers(path, columns, "digit", len(NAMES) - 1)
    return Digits(pixels.astype(np.float32), digits)


def _whole_numbers(path: Path, columns: NamedColumns, name: str, maximum: int) -> NDArray[np.int64]:
    reader = CellReader(dtype="int64")
    numbers = np.empty(len(columns.lines), np.int64)
    for row, cell in enumerate(columns.cells[name]):
        try:
            number = reader.number(cell)
        except ValueError:
            number = None
        if number is None or not 0 <= number <= maximum:
            place = f"{path}: line {columns.lines[row]}, column {name!r}"
            raise DataError(f"{place}: {cell!r} is no whole number up to {maximum}")
        numbers[row] = number
    return numbers


@dataclass(frozen=True)
class Parts:
    """What teaches, what says when to stop, and what is held out."""

    training: Digits
    validation: Digits
    test: Digits


def split(recipe: DigitsRecipe, digits: Digits) -> Parts:
    """Consecutive rows: neighbours are of one hand, so that nearly all hands that teach are not held out.

    Raises:
        DataError: a part is empty.
    """
    if recipe.test_from >= len(digits.digits):
        raise DataError(f"{recipe.file}: has {len(digits.digits)} rows; data.test_from is {recipe.test_from}")
    return Parts(
        digits.part(0, recipe.validation_from),
        digits.part(recipe.validation_from, recipe.test_from),
        digits.part(recipe.test_from, len(digits.digits)),
    )


def names_to_codes(digits: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """What a network is given and what it is to answer, each int64 ``[B, T]``.

    Given: the edge and the letters. Wanted: the letters and the edge, ``IGNORED`` beyond.
    """
    codes = {symbol: code for code, symbol in enumerate(SYMBOLS)}
    names = Lines.of([[codes[letter] for letter in NAMES[digit]] for digit in digits])
    return names.batch(torch.arange(len(names)))


def shifted(pixels: Tensor, shifts: Tensor) -> Tensor:
    """Pictures moved by whole pixels, empty where nothing comes in.

    Args:
        pixels: ``[B, 64]``.
        shifts: int64 ``[B, 2]``, how far down and how far to the right; less than nothing is up and to the left.
    """
    image = pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    # Where each row, and each column, of a moved picture comes from.
    places = torch.arange(IMAGE_SIZE) - shifts.unsqueeze(-1)
    inside = (places >= 0) & (places < IMAGE_SIZE)
    rows, columns = places.clamp(0, IMAGE_SIZE - 1).unbind(1)
    moved = image[torch.arange(len(image))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return (moved * (inside[:, 0, :, None] & inside[:, 1, None, :])).flatten(1)
