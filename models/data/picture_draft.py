"""Drafts of recipes for pictures with texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.models.data.frame_lists import is_picture, listed_rows
from ostinato.models.data.pictures import are_coloured
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.tables.cells import CellReader

_BATCH_SIZE, _UPDATES = 16, 3000
_LOOKED_AT = 50
_TEXTS = ("text", "caption", "label", "name", "description", "title", "class", "target")


def draft_of_pictures(file: Path) -> Draft:
    """A recipe for a table of pixels and texts, or of files and texts.

    Raises:
        DataError: no column can be the text, or the rest is neither pixels nor files.
    """
    if file.is_dir():
        lists = sorted(found for found in file.iterdir() if found.suffix.lower() in (".csv", ".tsv", ".txt"))
        advice = f"give {lists[0]} in place of it" if lists else "write a table (CSV) with the columns picture and text"
        raise DataError(f"{file}: is a folder; a recipe reads the table that lists its pictures: {advice}")
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
        # A number to be written, such as a digit: the column of fewest values that is not a pixel's.
        candidates = [header[-1]]
    if not candidates:
        raise DataError(f"{file}: no column looks like the pictures' text; name one 'text'")
    data: dict[str, Any] = {"text": candidates[-1]}
    if files:
        looked_at = columns[files[0]][:: max(1, len(rows) // _LOOKED_AT)]
        data |= {"picture": files[0], "colour": are_coloured(file.parent / name for name in looked_at)}
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
            "network.unit": "or characters" if has_words else "or words",
            "training.max_shift": "pixels by which pictures are moved at most, each time anew",
        },
    )


def _are_numbers(cells: list[str]) -> bool:
    reader = CellReader((), ())
    try:
        return all(reader.number(cell) is not None for cell in cells)
    except ValueError:
        return False
