"""Drafts of recipes for pictures with texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ostinato.models.data.frame_lists import PICTURES, file_of, is_picture, listed_rows
from ostinato.models.data.pictures import are_coloured
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.tables.cells import CellReader
from ostinato.tables.text import plain_suffix

_IDS = ("id", "index", "", "unnamed: 0", "row", "image_id")
_LEAST_PIXELS = 16
_BATCH_SIZE, _UPDATES = 16, 3000
_LOOKED_AT = 50
_TEXTS = ("text", "caption", "label", "name", "description", "title", "class", "target")


def draft_of_pictures(file: Path) -> Draft:
    """A recipe for a table of pixels and texts, or of files and texts.

    Raises:
        DataError: no column can be the text, or the rest is neither pixels nor files.
    """
    if file.is_dir():
        listed_in = next((found for found in sorted(file.iterdir()) if _is_list(found)), None)
        if listed_in is None:
            raise DataError(
                f"{file}: has no table that lists pictures: write one (CSV) with the columns picture and text"
            )
        return replace(draft_of_pictures(listed_in), beside={"file": f"{file.name}/{listed_in.name}"})
    if file.suffix.lower() in (".npz", ".npy"):
        raise DataError(
            f"{file}: holds arrays; pictures with texts are a table of pixels or of files: write PNG files and a list"
        )
    header, listed = listed_rows(file)
    if not listed:
        raise DataError(f"{file}: has no row below its header")
    rows = [row.cells for row in listed]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    files = [name for name, cells in columns.items() if is_picture(cells[0])]
    words = [name for name in columns if name not in files and not _are_numbers(columns[name])]
    named = [name for name in columns if name.lower() in _TEXTS and name not in files]
    candidates = named or words
    if not candidates and not files:
        # A number to be written, such as a digit: the first or the last column, and the one of fewest values.
        ends = [name for name in (header[0], header[-1]) if len(set(columns[name])) > 1]
        candidates = [min(ends or header[-1:], key=lambda name: len(set(columns[name])))]
    if not candidates:
        raise DataError(f"{file}: no column looks like the pictures' text; name one 'text'")
    data: dict[str, Any] = {"text": candidates[-1]}
    if files:
        looked_at = columns[files[0]][:: max(1, len(rows) // _LOOKED_AT)]
        data |= {"picture": files[0], "colour": are_coloured(file.parent / file_of(name) for name in looked_at)}
    else:
        data |= _of_pixels(file, columns, candidates[-1])
    data |= {"validation_fraction": 0.15, "test_fraction": 0.15}
    # Few pictures are looked at more often.
    max_epochs = min(100, max(10, _UPDATES * _BATCH_SIZE // len(rows)))
    has_words = any(" " in cell for cell in columns[candidates[-1]])
    return Draft(
        f"A text for each picture of {file.name}",
        {
            "data": data,
            "network": {
                "unit": "words" if has_words else "characters",
                "num_channels": 32,
                "embedding_size": 16,
                "hidden_size": 64,
                "dropout": 0.3,
            },
            "training": {
                "batch_size": _BATCH_SIZE,
                "max_epochs": max_epochs,
                "learning_rate": 6e-3,
                "warm_up_epochs": max_epochs / 10,
                "max_shift": 1,
            },
        },
        {
            "data.text": "what is written of a picture",
            "data.picture": "the pictures' files; paths start at the table",
            "data.colour": "true: three channels; false: grey",
            "data.left_out": "columns that are no pixels",
            "data.height": "by how many pixels there are; see whether it is so",
            "network.unit": "or characters" if has_words else "or words",
            "training.max_shift": "pixels by which pictures are moved at most, drawn again each time",
        },
    )


def _of_pixels(file: Path, columns: dict[str, list[str]], text: str) -> dict[str, Any]:
    """What columns of pixels need to be said of: those that are none, and sides that are not those of a square."""
    left_out = [name for name in columns if name != text and name.lower() in _IDS and _are_numbers(columns[name])]
    pixels = [name for name in columns if name not in (text, *left_out)]
    for name in pixels:
        if not _are_numbers(columns[name]):
            raise DataError(
                f"{file}: no column names pictures ({', '.join(PICTURES[:3])}, ...), and {name!r} holds no pixels but "
                f"{columns[name][0]!r:.40}"
            )
    if len(pixels) < _LEAST_PIXELS:
        raise DataError(
            f"{file}: no column names pictures ({', '.join(PICTURES[:3])}, ...), and {len(pixels)} columns besides "
            f"{text!r:.40} are too few pixels; cells are cut by commas, semicolons, tabs or bars"
        )
    height = next(side for side in range(round(len(pixels) ** 0.5), 0, -1) if len(pixels) % side == 0)
    sides = {} if height**2 == len(pixels) else {"height": height, "width": len(pixels) // height}
    return {**({"left_out": left_out} if left_out else {}), **sides}


def _is_list(file: Path) -> bool:
    """Whether a file is a table whose rows name pictures."""
    if plain_suffix(file) not in (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet"):
        return False
    try:
        header, rows = listed_rows(file)
    except DataError:
        return False
    return len(header) > 1 and bool(rows) and any(map(is_picture, rows[0].cells))


def _are_numbers(cells: list[str]) -> bool:
    reader = CellReader((), ())
    try:
        return all(reader.number(cell) is not None for cell in cells)
    except ValueError:
        return False
