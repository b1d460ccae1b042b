"""Symbols: into which units text is cut, and the code of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from ostinato.byte_pairs import PIECES, BytePairs
from ostinato.models.errors import DataError

Unit: TypeAlias = Literal["characters", "words"]
TextUnit: TypeAlias = Literal["characters", "words", "byte_pairs"]
Units: TypeAlias = tuple[str, ...]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for all that is no symbol; a character, so that it is seen where it is written."""


def cut(text: str, unit: TextUnit, lowercase: bool) -> Units:
    """A text's characters (code points), its words, what is between spaces, or pieces within which bytes are merged.

    Character by character, as the service does: some capitals become two small letters.
    """
    units = text if unit == "characters" else text.split() if unit == "words" else PIECES.findall(text)
    return tuple(one.lower() if lowercase else one for one in units)


@dataclass(frozen=True)
class Symbols:
    """What the codes of a text stand for: ``names[i]`` has the code ``i``.

    ``special``: those that no text holds.
    ``merges``: of byte pairs, which of them become one, the first pair first.
    """

    names: Units
    unit: TextUnit
    lowercase: bool = False
    special: Units = ()
    merges: tuple[tuple[str, str], ...] = ()

    @classmethod
    def learn(
        cls,
        texts: Iterable[Iterable[str]],
        unit: TextUnit,
        *,
        lowercase: bool = False,
        special: Sequence[str] = (),
        min_count: int = 1,
        max_symbols: int | None = None,
        unknown: bool = True,
    ) -> Symbols:
        """The symbols of texts, sorted behind the special ones; of too many, the most frequent.

        Args:
            texts: cut into units.
            special: what they are to be called; a name that a text has is put into brackets until none has it.
            unknown: whether there is one that stands for all others; also where some of the texts' own are left out.
                Of byte pairs there is none: each byte is a symbol.
        """
        if unit == "byte_pairs":
            from ostinato.models.data.learned_pairs import learn_byte_pairs

            symbols, merges = learn_byte_pairs(map("".join, texts), max_symbols or 0, min_count)
            own = _names(special, symbols)
            return cls((*own, *symbols), unit, lowercase, own, merges)
        counts = Counter(one for units in texts for one in units)
        allowed = [one for one in counts if unit == "words" or len(one) == 1]
        kept = [one for one in allowed if counts[one] >= min_count and one != UNKNOWN]
        if max_symbols is not None and len(kept) > max_symbols:
            kept = sorted(kept, key=lambda one: (-counts[one], one))[:max_symbols]
        if unknown or len(kept) < len(counts):
            kept.append(UNKNOWN)
        names = _names(special, counts)
        return cls((*names, *sorted(kept)), unit, lowercase, names)

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Symbols:
        """As a run keeps them."""
        return cls(
            tuple(content["symbols"]),
            "byte_pairs" if "merges" in content else "words" if content["separator"] else "characters",
            content.get("lowercase", False),
            tuple(content["special"]),
            tuple((left, right) for left, right in content.get("merges", ())),
        )

    def content(self) -> dict[str, Any]:
        """As a run keeps them, which is a vocabulary of the service's."""
        content: dict[str, Any] = {
            "symbols": self.names,
            "separator": self.separator,
            "special": self.special,
            "lowercase": self.lowercase,
        }
        if self.byte_pairs is not None:
            content["merges"] = self.merges
        return content if self.unknown is None else {**content, "unknown": UNKNOWN}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def separator(self) -> str:
        """What stands between symbols in text."""
        return " " if self.unit == "words" else ""

    @cached_property
    def byte_pairs(self) -> BytePairs | None:
        """What byte pairs are encoded by; None of other units."""
        return BytePairs(self.names, self.merges, self.special) if self.unit == "byte_pairs" else None

    @cached_property
    def codes(self) -> dict[str, int]:
        """The code of each symbol that text may hold."""
        special = set(self.special)
        return {name: code for code, name in enumerate(self.names) if name not in special}

    @property
    def unknown(self) -> int | None:
        """The code that stands for all that is no symbol, if there is one."""
        return self.codes.get(UNKNOWN)

    def encode(self, units: Iterable[str]) -> list[int]:
        """The codes of a text that has been cut.

        Raises:
            DataError: one is no symbol, and none stands for such.
        """
        if self.byte_pairs is not None:
            return list(self.byte_pairs.encode("".join(units)))
        known, unknown = self.codes, self.unknown
        codes = [known.get(one, unknown) for one in units]
        if None in codes:
            raise DataError(f"{list(units)[codes.index(None)]!r} is no symbol, and data.unknown = false")
        return codes  # type: ignore[return-value]

    def units(self, codes: Iterable[int]) -> Units:
        """The symbols of codes, special ones left out."""
        special = len(self.special)
        return tuple(self.names[code] for code in codes if code >= special)

    def text(self, codes: Iterable[int]) -> str:
        """The text of codes, special symbols left out."""
        if self.byte_pairs is not None:
            return self.byte_pairs.decode(codes)
        return self.separator.join(self.units(codes))


def _names(special: Iterable[str], taken: Container[str]) -> Units:
    """What special symbols are called: a name that is taken is put into brackets until none has it."""
    names: list[str] = []
    for name in special:
        while name in taken or name in names:
            name = f"<{name}>"
        names.append(name)
    return tuple(names)
