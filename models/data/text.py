"""Text to learn from: one running text, or lines that have nothing to do with each other, as codes in three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import model_validator

from ostinato.models.data.files import read_text_lines
from ostinato.models.data.lexicon import read_lexicon
from ostinato.models.data.lines import EDGE
from ostinato.models.data.parts import PARTS, PartFraction, PartName, split_by_name
from ostinato.models.data.symbols import Symbols, TextUnit, Units, cut
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe

# A part of a running text that has fewer symbols tells nothing.
_LEAST_HELD_OUT = 20
_NUM_BYTES = 256
_MAX_SYMBOLS: dict[TextUnit, int] = {"characters": 10_000, "words": 10_000, "byte_pairs": 1_000}


class TextData(FileRecipe):
    """The text.

    ``file``: a file in UTF-8, plain or compressed (``.xz``, ``.gz``, ``.bz2``).
    ``form``: ``text``, or ``cmudict``, whose words are lines and whose phonemes are left out.
    ``unit``: what is predicted in a step: ``characters`` (code points); ``words``, which are between spaces and ends of
    lines; or ``byte_pairs``, parts of words that are learned first.
    ``lines``: whether each line that is not blank is a text of its own, which ends; otherwise the whole file is one
    text.
    ``lowercase``: whether capital letters are read as small letters.
    ``min_count``: symbols that are less frequent are unknown, and byte pairs that are less frequent are not merged.
    ``max_symbols``: how many symbols there are at most, the most frequent ones; without it 10,000, or 1,000 of byte
    pairs.
    ``unknown``: whether a symbol represents all that the training part does not have; otherwise a service refuses such
    text. Of byte pairs nothing is unknown.
    ``validation_fraction``: this part is taken from a running text near its end, or of lines drawn by their content.
    ``test_fraction``: this part is taken from a running text at its end, or of lines drawn by their content.
    """

    form: Literal["text", "cmudict"] = "text"
    unit: TextUnit = "characters"
    lines: bool = False
    lowercase: bool = False
    min_count: Count = 1
    max_symbols: Count | None = None
    unknown: bool = True
    validation_fraction: PartFraction = 0.05
    test_fraction: PartFraction = 0.05

    @model_validator(mode="after")
    def _check(self) -> TextData:
        if self.unit == "byte_pairs" and self.max_symbols is not None and self.max_symbols < _NUM_BYTES:
            raise ValueError(f"max_symbols: byte pairs are {_NUM_BYTES} at least, one for each byte")
        return self


@dataclass(frozen=True)
class Text:
    """Texts as codes, in parts.

    ``parts``: texts without their ends; a running text is one in each part.
    ``held_out``: whether the parts differ; too little text is all of them at once.
    """

    parts: dict[PartName, list[list[int]]]
    symbols: Symbols
    is_running: bool
    held_out: bool
    sha256: str

    def content(self) -> dict[str, Any]:
        """What a run says of its data."""
        return {
            "sha256": self.sha256,
            "num_texts": {part: len(texts) for part, texts in self.parts.items()},
            "num_symbols": {part: sum(map(len, texts)) for part, texts in self.parts.items()},
            "held_out": self.held_out,
        }


def load_text(recipe: TextData) -> Text:
    """Read a text and cut it into parts and symbols; symbols are those of the training part.

    Raises:
        DataError: the file cannot be read, or holds nothing to learn from.
    """
    parts = _lines(recipe) if recipe.lines or recipe.form == "cmudict" else _running(recipe)
    # Byte pairs can write whatever the other parts have.
    known = PARTS if not recipe.unknown and recipe.unit != "byte_pairs" else ("training",)
    symbols = Symbols.learn(
        (units for part in known for units in parts[part]),
        recipe.unit,
        lowercase=recipe.lowercase or recipe.form == "cmudict",
        special=(EDGE,),
        min_count=recipe.min_count,
        max_symbols=recipe.max_symbols or _MAX_SYMBOLS[recipe.unit],
        unknown=recipe.unknown,
    )
    return Text(
        {part: [symbols.encode(units) for units in parts[part]] for part in PARTS},
        symbols,
        is_running=not (recipe.lines or recipe.form == "cmudict"),
        held_out=parts["test"] != parts["training"],
        sha256=hashlib.sha256(recipe.file.read_bytes()).hexdigest(),
    )


def _lines(recipe: TextData) -> dict[PartName, list[Units]]:
    if recipe.form == "cmudict":
        lines: Sequence[str] = list(read_lexicon(recipe.file, stress=False))
    else:
        lines = [text for line in read_text_lines(recipe.file) if (text := line.strip())]
    if not lines:
        raise DataError(f"{recipe.file}: has no text")
    where = split_by_name(lines, recipe.validation_fraction, recipe.test_fraction)
    return {part: [cut(line, recipe.unit, recipe.lowercase) for line in lines if part in where[line]] for part in PARTS}


def _running(recipe: TextData) -> dict[PartName, list[Units]]:
    """The text cut where the fractions say."""
    units = cut("\n".join(read_text_lines(recipe.file)).strip("\n"), recipe.unit, recipe.lowercase)
    if not units:
        raise DataError(f"{recipe.file}: has no text")
    num_test = round(len(units) * recipe.test_fraction)
    num_validation = round(len(units) * recipe.validation_fraction)
    if min(num_test, num_validation) < _LEAST_HELD_OUT:
        return {part: [units] for part in PARTS}
    validation, test = len(units) - num_test - num_validation, len(units) - num_test
    return {"training": [units[:validation]], "validation": [units[validation:test]], "test": [units[test:]]}
