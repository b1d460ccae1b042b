"""A pronouncing dictionary: words, and how each of them is spoken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from ostinato.models.data.files import read_text_lines
from ostinato.models.errors import DataError

Phonemes: TypeAlias = tuple[str, ...]
# word -> its pronunciations, each once, in the order of the file
Spoken: TypeAlias = dict[str, tuple[Phonemes, ...]]

_ALTERNATIVE = re.compile(r"\(\d+\)$")
_PHONEME = re.compile(r"^[A-Z]+[0-2]?$")


def read_lexicon(path: Path, stress: bool) -> Spoken:
    """Read a dictionary as CMUdict is written, plain or compressed: ``word P1 P2 ... # comment``, ``word(2) ...``.

    Args:
        stress: whether vowels keep their digit (0 none, 1 primary, 2 secondary stress). Without it, pronunciations
            that differ by nothing else are one.

    Returns:
        the words in small letters.

    Raises:
        DataError: the file cannot be read, or a line is not of that form.
    """
    entries: dict[str, dict[Phonemes, None]] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        if line.startswith(";;;"):
            continue
        entry, *phonemes = line.partition("#")[0].split() or [""]
        if not entry:
            continue
        if not phonemes or not all(_PHONEME.match(phoneme) for phoneme in phonemes):
            raise DataError(f"{path}: line {number}: {line!r} is not a word and its phonemes")
        word = _ALTERNATIVE.sub("", entry).lower()
        spoken = tuple(phonemes) if stress else without_stress(phonemes)
        entries.setdefault(word, {})[spoken] = None
    if not entries:
        raise DataError(f"{path}: has no word")
    return {word: tuple(spoken) for word, spoken in entries.items()}


def looks_like_lexicon(lines: Iterable[str]) -> bool:
    """Whether lines of a file may be those of such a dictionary."""
    entries = [line.partition("#")[0].split() for line in lines if not line.startswith(";;;")]
    entries = [entry for entry in entries if entry]
    return (
        len(entries) > 0
        and all(len(entry) > 1 and all(_PHONEME.match(phoneme) for phoneme in entry[1:]) for entry in entries)
        and any(phoneme[-1].isdigit() for entry in entries for phoneme in entry[1:])
    )


def without_stress(phonemes: Phonemes | list[str]) -> Phonemes:
    """Phonemes without their stress digits: ``AH0`` is ``AH``."""
    return tuple(phoneme.rstrip("012") for phoneme in phonemes)
