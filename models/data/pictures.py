"""Pictures with a text for each: a table of pixels, or a table that names files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.models.data.frame_lists import file_of, listed_rows, position_of
from ostinato.models.data.parts import PARTS, PartName
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe, Fraction
from ostinato.tables.cells import CellReader

Pixels: TypeAlias = NDArray[np.float32]
# Larger ones are made smaller: a small network sees no more in them.
MAX_SIDE = 128
_MAX_FILE_PIXELS = 50_000_000


class PicturesRecipe(FileRecipe):
    """Where pictures and their texts are.

    ``file``: a table, plain or compressed; a row is a picture.
    ``text``: the column of the texts. If the first row is a picture and not a header, columns are called ``1``, ``2``,
    ...
    ``spelled``: what is written for a cell of that column, as ``one`` for ``1``.
    ``picture``: the column with the pictures' files (PNG, JPEG, ...); their paths start at the table. Without it, every
    other column that is not ``left_out`` is a pixel, row by row from the top left.
    ``left_out``: columns that are no pixels.
    ``height``: of the pictures; files are resized to it. None = the pixels are a square, or as in the first file.
    ``width``: of the pictures; files are resized to it. None = the pixels are a square, or as in the first file.
    ``colour``: whether files are read with three channels, and not in grey.
    ``validation_from``: the first row of the validation part, counted from 0. Without it, rows are drawn by their
    content.
    ``test_from``: the first row of the test part, counted from 0. Without it, rows are drawn by their content.
    ``validation_fraction``: the part of the rows that is drawn for validation.
    ``test_fraction``: the part of the rows that is drawn for the test.
    """

    text: str
    spelled: dict[str, str] = Field(default_factory=dict)
    picture: str = ""
    left_out: tuple[str, ...] = ()
    height: Annotated[int, Field(ge=4, le=MAX_SIDE)] | None = None
    width: Annotated[int, Field(ge=4, le=MAX_SIDE)] | None = None
    colour: bool = False
    validation_from: Count | None = None
    test_from: Count | None = None
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("validation_from and test_from: give both, or none of them")
        if self.validation_from is not None and self.test_from is not None and self.validation_from >= self.test_from:
            raise ValueError("validation_from must be smaller than test_from")
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width: give both, or none of them")
        return self


@dataclass(frozen=True)
class Pictures:
    """Pictures ``pixels`` float32 ``[N, C, H, W]`` in raw units, and the text of each."""

    pixels: Pixels
    texts: tuple[str, ...]

    def rows(self, rows: Sequence[int]) -> Pictures:
        """Some of them."""
        return Pictures(self.pixels[list(rows)], tuple(self.texts[row] for row in rows))


@dataclass(frozen=True)
class PictureParts:
    """Pictures cut into parts. ``names``: of the numbers of a picture, in order. ``most``: the largest number."""

    parts: dict[PartName, Pictures]
    names: tuple[str, ...]
    most: float
    sha256: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.parts["training"].pixels.shape[1:]
        return channels, height, width

    def content(self) -> dict[str, Any]:
        """SHA-256, and how many pictures are in each part."""
        return {"sha256": self.sha256, "num_pictures": {part: len(own.texts) for part, own in self.parts.items()}}


def load_pictures(recipe: PicturesRecipe) -> PictureParts:
    """Read, check and cut into parts.

    Raises:
        DataError: the table or a file cannot be read, pictures have not one size, or a part is empty.
    """
    header, rows = listed_rows(recipe.file)
    lines = [row.line for row in rows]
    pixels = (
        () if recipe.picture else tuple(column for column in header if column not in (recipe.text, *recipe.left_out))
    )
    wanted = (recipe.text, *((recipe.picture,) if recipe.picture else pixels))
    places = {name: position_of(recipe.file, header, name) for name in wanted}
    cells = {name: [row.cells[place] for row in rows] for name, place in places.items()}
    texts = _texts(recipe, cells[recipe.text], lines)
    if recipe.picture:
        drawn, sha256 = _of_files(recipe, cells[recipe.picture], lines)
        names = _names(drawn.shape[1:])
    else:
        drawn = _of_columns(recipe, [cells[name] for name in pixels], pixels, lines)
        names, sha256 = pixels, hashlib.sha256(recipe.file.read_bytes()).hexdigest()
    whole = Pictures(drawn, texts)
    return PictureParts(_cut(recipe, whole), names, float(drawn.max()) or 1.0, sha256)


def _texts(recipe: PicturesRecipe, cells: Sequence[str], lines: Sequence[int]) -> tuple[str, ...]:
    for cell, line in zip(cells, lines, strict=True):
        if not cell:
            raise DataError(f"{recipe.file}: line {line}: has no text in column {recipe.text!r}")
        if recipe.spelled and cell not in recipe.spelled:
            raise DataError(
                f"{recipe.file}: line {line}: {cell!r} is not among data.spelled: {', '.join(recipe.spelled)}"
            )
    return tuple(recipe.spelled.get(cell, cell) for cell in cells)


def _of_columns(
    recipe: PicturesRecipe, cells: Sequence[Sequence[str]], names: Sequence[str], lines: Sequence[int]
) -> Pixels:
    height, width = recipe.height, recipe.width
    if height is None or width is None:
        height = width = round(len(names) ** 0.5)
    if not names or height * width != len(names):
        raise DataError(
            f"{recipe.file}: has {len(names)} columns besides {recipe.text!r}, and a picture {height} x {width} "
            "pixels: say height and width, or which column names the pictures' files, under [data]"
        )
    reader = CellReader((), ())
    flat = np.empty((len(lines), len(names)), np.float32)
    for place, (name, column) in enumerate(zip(names, cells, strict=True)):
        for row, cell in enumerate(column):
            try:
                flat[row, place] = reader.number(cell)
            except (ValueError, TypeError) as error:
                raise DataError(f"{recipe.file}: line {lines[row]}, column {name!r}: {cell!r} is no number") from error
    return flat.reshape(len(lines), 1, height, width)


def _of_files(recipe: PicturesRecipe, names: Sequence[str], lines: Sequence[int]) -> tuple[Pixels, str]:
    digest = hashlib.sha256(recipe.file.read_bytes())
    size = None if recipe.height is None or recipe.width is None else (recipe.width, recipe.height)
    pictures = []
    for name, line in zip(names, lines, strict=True):
        path = recipe.file.parent / file_of(name)
        try:
            digest.update(path.read_bytes())
            with Image.open(path) as opened:
                if opened.width * opened.height > _MAX_FILE_PIXELS:
                    raise DataError(
                        f"{recipe.file}: line {line}: {path} has {opened.width} x {opened.height} pixels: too many"
                    )
                image: Image.Image = opened.convert("RGB" if recipe.colour else "L")
                if size is None:
                    shrunk = min(1.0, MAX_SIDE / max(image.size))
                    size = (max(4, round(image.width * shrunk)), max(4, round(image.height * shrunk)))
                if image.size != size:
                    image = image.resize(size, Image.Resampling.BILINEAR)
                pictures.append(np.asarray(image, np.float32))
        except OSError as error:
            reason = "is no picture" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
            raise DataError(f"{recipe.file}: line {line}: {path}: {reason}") from error
    drawn = np.stack(pictures)
    return (np.moveaxis(drawn, -1, 1) if recipe.colour else drawn[:, None]).copy(), digest.hexdigest()


def are_coloured(paths: Iterable[Path]) -> bool:
    """Whether one of some pictures has colours.

    Raises:
        DataError: a file cannot be read.
    """
    return any(map(_is_coloured, paths))


def _is_coloured(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;"):
                return False
            red, green, blue = image.convert("RGB").split()
            return red.tobytes() != green.tobytes() or green.tobytes() != blue.tobytes()
    except OSError as error:
        reason = "is no picture" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
        raise DataError(f"{path}: {reason}") from error


def _names(shape: tuple[int, ...]) -> tuple[str, ...]:
    channels, height, width = shape
    colours = ("red", "green", "blue") if channels == 3 else ("pixel",)
    return tuple(f"{colour}_{row}_{column}" for colour in colours for row in range(height) for column in range(width))


def _cut(recipe: PicturesRecipe, whole: Pictures) -> dict[PartName, Pictures]:
    count = len(whole.texts)
    if recipe.validation_from is not None and recipe.test_from is not None:
        ends = (0, recipe.validation_from, recipe.test_from, count)
        rows = [list(range(start, end)) for start, end in pairwise(ends)]
    else:
        order = sorted(
            range(count),
            key=lambda row: hashlib.sha256(whole.pixels[row].tobytes() + whole.texts[row].encode()).digest(),
        )
        num_test, num_validation = round(count * recipe.test_fraction), round(count * recipe.validation_fraction)
        rows = [order[num_test + num_validation :], order[num_test : num_test + num_validation], order[:num_test]]
    for part, own in zip(PARTS, rows, strict=True):
        if not own:
            raise DataError(f"{recipe.file}: has {count} rows, of which none falls into the {part} part")
    return {part: whole.rows(own) for part, own in zip(PARTS, rows, strict=True)}


def shifted(pixels: Tensor, shifts: Tensor) -> Tensor:
    """Pictures moved by whole pixels, 0 where nothing comes in.

    Args:
        pixels: ``[B, C, H, W]``.
        shifts: int64 ``[B, 2]``, how far down and how far to the right; less than nothing is up and to the left.
    """
    height, width = pixels.shape[-2:]
    rows, row_inside = _sources(shifts[:, 0], height)
    columns, column_inside = _sources(shifts[:, 1], width)
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    moved = pixels[batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
    return moved * (row_inside[:, None, :, None] & column_inside[:, None, None, :])


def turned(pixels: Tensor, shifts: Tensor, degrees: Tensor, sizes: Tensor) -> Tensor:
    """Pictures turned around their middle, resized and moved, by bilinear sampling; 0 where nothing comes in.

    Args:
        pixels: ``[B, C, H, W]``.
        shifts: ``[B, 2]``, pixels down and to the right, parts of one too.
        degrees: ``[B]``, anticlockwise.
        sizes: ``[B]``, how many times as large a picture becomes.
    """
    height, width = pixels.shape[-2:]
    across, up = torch.cos(torch.deg2rad(degrees)) / sizes, torch.sin(torch.deg2rad(degrees)) / sizes
    down, right = shifts.unbind(1)
    # Where each pixel comes from, in the units of torch: the height and the width are 2 each.
    rows = [
        torch.stack([across, -up * height / width, -(across * right - up * down) * 2 / width], dim=1),
        torch.stack([up * width / height, across, -(up * right + across * down) * 2 / height], dim=1),
    ]
    places = nn.functional.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    return nn.functional.grid_sample(pixels, places, align_corners=False)


def _sources(shifts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each row, or column, of moved pictures comes from, ``[B, size]``, and whether that is within them."""
    places = torch.arange(size, device=shifts.device) - shifts.unsqueeze(1)
    return places.clamp(0, size - 1), (places >= 0) & (places < size)
