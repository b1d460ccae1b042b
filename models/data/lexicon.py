"""A pronouncing dictionary: words, how each of them is spoken, and to which part of the data it belongs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ostinato.models.data.files import read_text_lines
from ostinato.models.data.parts import PARTS, PartName
from ostinato.models.errors import DataError

Phonemes: TypeAlias = tuple[str, ...]
# word -> its pronunciations, each once, in the order of the file
Entries: TypeAlias = dict[str, tuple[Phonemes, ...]]

# Where, between 0 and 1, the words of the validation and of the test part begin: 90 %, 5 % and 5 % of the words.
_VALIDATION_FROM, _TEST_FROM = 0.90, 0.95

_ALTERNATIVE = re.compile(r"\(\d+\)$")
_PHONEME = re.compile(r"^[A-Z]+[0-2]?$")


@dataclass(frozen=True)
class Lexicon:
    """A pronouncing dictionary cut by word: all pronunciations of a word are in one part."""

    parts: dict[PartName, Entries]
    sha256: str

    @property
    def letters(self) -> tuple[str, ...]:
        """The characters that words are spelled with, in any part, sorted."""
        return tuple(sorted({letter for entries in self.parts.values() for word in entries for letter in word}))

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The phonemes that words are spoken with, in any part, sorted."""
        spoken = (spoken for entries in self.parts.values() for all_spoken in entries.values() for spoken in all_spoken)
        return tuple(sorted({phoneme for phonemes in spoken for phoneme in phonemes}))


def load_lexicon(path: Path, stress: bool) -> Lexicon:
    """Read a dictionary as CMUdict is written, plain or compressed: ``word P1 P2 ... # comment``, ``word(2) ...``.

    Args:
        stress: whether vowels keep their digit (0 none, 1 primary, 2 secondary stress). Without it, pronunciations
            that differ by nothing else are one.

    Raises:
        DataError: the file cannot be read, a line is not of that form, or a part has no word.
    """
    parts: dict[PartName, dict[str, dict[Phonemes, None]]] = {part: {} for part in PARTS}
    for number, line in enumerate(read_text_lines(path), start=1):
        entry, *phonemes = line.partition("#")[0].split() or [""]
        if not entry:
            continue
        if not phonemes or not all(_PHONEME.match(phoneme) for phoneme in phonemes):
            raise DataError(f"{path}: line {number}: {line!r} is not a word and its phonemes")
        word = _ALTERNATIVE.sub("", entry).lower()
        spoken = tuple(phonemes) if stress else without_stress(phonemes)
        parts[part_of(word)].setdefault(word, {})[spoken] = None
    for part, entries in parts.items():
        if not entries:
            raise DataError(f"{path}: no word falls into the {part} part: give more words")
    return Lexicon(
        parts={part: {word: tuple(spoken) for word, spoken in entries.items()} for part, entries in parts.items()},
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def part_of(word: str) -> PartName:
    """The part of a word, from its own letters alone: words that are added or removed move no other."""
    place = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") / 2**64
    if place < _VALIDATION_FROM:
        return "training"
    return "validation" if place < _TEST_FROM else "test"


def without_stress(phonemes: Phonemes | list[str]) -> Phonemes:
    """Phonemes without their stress digits: ``AH0`` is ``AH``."""
    return tuple(phoneme.rstrip("012") for phoneme in phonemes)
