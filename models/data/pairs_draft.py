"""Drafts of recipes for pairs: which columns are source and target, and what they are written in."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from ostinato.models.data.files import read_text_lines
from ostinato.models.data.lexicon import looks_like_lexicon
from ostinato.models.data.symbols import Unit
from ostinato.models.data.written_pairs import is_cut_at_tabs, read_rows
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.tables.json_lines import is_json
from ostinato.tables.parquet import is_parquet

_SOURCES = re.compile(
    r"^(.*\.)?(source|src|input|inputs|x|from|text|question|prompt|instruction|word|words|english|en|original|quelle|sentence1)$",
    re.IGNORECASE,
)
_TARGETS = re.compile(
    r"^(target|tgt|output|outputs|y|to|label|answer|completion|response|summary|translation|phonemes|pronunciation|iso|"
    r"normalised|normalized|ziel|sentence2)$",
    re.IGNORECASE,
)
_LOOKED_AT = 20_000
_FEW_SYMBOLS = 200
# So many updates teach a small network short pairs.
_LEAST_UPDATES = 600
# What two minutes of training read and write.
_SYMBOLS = 6_000_000


def draft_of_pairs(file: Path) -> Draft:
    """A recipe for a table with two columns of text, or for a dictionary as CMUdict is written.

    Raises:
        DataError: the file cannot be read, or has no two columns.
    """
    if file.is_dir():
        raise DataError(
            f"{file}: is a folder; pairs are one table with two columns (paste A B > pairs.tsv joins two files)"
        )
    has_keys = is_parquet(file) or is_json(file)
    if not has_keys:
        lines = [line for line in read_text_lines(file) if line.strip()]
        first = lines[:_FEW_SYMBOLS]
        if looks_like_lexicon(first) and not is_cut_at_tabs(first):
            return _draft(file, {"form": "cmudict", "stress": False}, len(lines), sum(map(len, lines)))
    written = (list(cells) for _, cells in read_rows(file))
    rows = list(islice(written, _LOOKED_AT))
    if not any(rows):
        raise DataError(f"{file}: is empty")
    num_more = sum(1 for _ in written)
    width = len(rows[0])
    if width < 2:
        raise DataError(
            f"{file}: line 1: {' '.join(rows[0])[:60]!r} has one column; a source and a target are needed, cut by a "
            "comma, a semicolon, a tab or a bar"
        )
    header = has_keys or _is_header(rows)
    names = rows[0] if header else [str(number) for number in range(1, width + 1)]
    cells = [[row[place] for row in rows[header:] if place < len(row)] for place in range(width)]
    source, target = _columns(names, cells)
    data = {
        "header": header,
        "source_column": names[source],
        "target_column": names[target],
        "source_unit": _unit(cells[source]),
        "target_unit": _unit(cells[target]),
        "source_lowercase": False,
        "target_lowercase": False,
    }
    num_symbols = sum(
        len(cell) if data[unit] == "characters" else len(cell.split())
        for place, unit in ((source, "source_unit"), (target, "target_unit"))
        for cell in cells[place]
    )
    num_rows = len(rows) + num_more - header
    return _draft(file, data, num_rows, num_symbols * num_rows // max(1, len(rows) - header))


def _draft(file: Path, data: dict[str, Any], num_rows: int, num_symbols: int) -> Draft:
    batch_size = 16 if num_rows < 2_000 else 64
    num_updates = max(1.0, 0.9 * num_rows / batch_size)
    max_epochs = min(200, max(3, min(20, _SYMBOLS // max(1, num_symbols)), math.ceil(_LEAST_UPDATES / num_updates)))
    network = {
        "cell": "lstm",
        "context": "attention",
        "score": "general",
        "embedding_size": 32,
        "encoder_size": 64,
        "bidirectional": True,
        "decoder_size": 128,
        "dropout": 0.1,
    }
    training = {
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "patience_epochs": max(4, max_epochs // 3),
        "learning_rate": 5e-3,
        "seed": 0,
    }
    return Draft(
        f"What to write for what is read, from {file.name}",
        {
            "data": {**data, "validation_fraction": 0.05, "test_fraction": 0.05},
            "network": network,
            "training": training,
        },
        {
            "data.header": "whether the first row says what the columns are called; else they are 1, 2, ...",
            "data.source_column": "what is read",
            "data.target_column": "what is written",
            "data.source_unit": "characters, or words: what is between spaces",
            "data.stress": "whether vowels have their stress digits",
            "data.test_fraction": "held out and scored; all targets of a source are in one part",
            "network.context": "or last, q_last, q_all: one fixed context",
            "network.score": "or dot, additive, cosine",
        },
    )


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row says what columns are called: known words, or such as no other cell looks like."""
    first, others = rows[0], rows[1:]
    if any(_SOURCES.match(cell) or _TARGETS.match(cell) for cell in first):
        return True
    if not others or len(set(first)) < len(first):
        return False
    for place, name in enumerate(first):
        cells = [row[place] for row in others if place < len(row)]
        if not re.fullmatch(r"[^\W\d]\w*( \w+)?", name) or name in cells:
            return False
        marks = [bool(re.search(r"[^\w\s]|\d", cell)) for cell in cells]
        if any(marks) and all(marks):
            return True
    return True


def _columns(names: Sequence[str], cells: Sequence[Sequence[str]]) -> tuple[int, int]:
    """The places of source and target: by their names, else the first two columns that are not numbered rows."""
    known = [place for place in range(len(names)) if any(cells[place])]
    sources = [place for place in known if _SOURCES.match(names[place])]
    targets = [place for place in known if _TARGETS.match(names[place])]
    places = [place for place in known if len(known) == 2 or not _counts(cells[place])]
    if len(known) == 2 and not targets:
        # One name alone turns nothing round.
        sources = known[:1]
    source = sources[0] if sources else next((place for place in places if place not in targets), 0)
    left = [place for place in [*targets, *places, *range(len(names))] if place != source]
    return source, left[0]


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers, none twice: they number rows."""
    return all(cell.isdigit() for cell in cells) and len(set(cells)) == len(cells)


def _unit(cells: Sequence[str]) -> Unit:
    """Words where there are several of them in a cell, and few different ones."""
    words = [cell.split() for cell in cells if cell]
    flat = [word for own in words for word in own]
    different = set(flat)
    if not flat or fmean(map(len, words)) < 3 or len(different) > 0.2 * len(flat):
        return "characters"
    numbers = any(any(letter.isdigit() for letter in word) for word in different)
    return "characters" if numbers and len(different) > _FEW_SYMBOLS else "words"
