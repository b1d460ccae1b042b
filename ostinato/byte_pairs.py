"""Byte pairs: text as the UTF-8 bytes of its pieces, merged pair by pair as a training has learned it.

Sennrich et al. (2016), "Neural Machine Translation of Rare Words with Subword Units", over bytes, as Radford et al.
(2019) have it: any text can be written, and none is unknown. A leaf: what trains and what serves cut text alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

Merges: TypeAlias = Sequence[tuple[str, str]]

PIECES = re.compile(
    " ?[^\x00-@\\[-`{-\x7f]{1,32}"  # letters, and all that is not ASCII
    "| ?[0-9]{1,32}"
    "| ?[!-/:-@\\[-`{-~]{1,32}"
    "|[\x00- \x7f]{1,32}(?![^\x00- \x7f])"  # spaces; the last one goes to the word behind it
    "|[\x00- \x7f]{1,32}"
)
"""Pieces of text, across which nothing is merged; together they are the text. By ASCII alone, so that no release of
Unicode cuts it otherwise; of a length within which a search for pairs is cheap, whatever a client sends."""
LONGEST_PIECE = 33

_KNOWN_PIECES = 8192


def _letters() -> str:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


LETTERS = _letters()
"""The character that each byte is written as, the field's own: ``Ġ`` is a space. So symbols are text that can be read,
also where they are a part of a character."""


class BytePairs:
    """Text to codes and back.

    Args:
        symbols: ``symbols[i]`` has the code i; each byte as one of ``LETTERS``, and each pair that is merged.
        merges: pairs of symbols, the first one learned first.
        special: symbols that no text holds.

    Raises:
        ValueError: a symbol is lacking, or is none of bytes.
    """

    def __init__(self, symbols: Sequence[str], merges: Merges, special: Iterable[str] = ()) -> None:
        others = set(special)
        code_of = {symbol: code for code, symbol in enumerate(symbols) if symbol not in others}
        byte_of = {letter: byte for byte, letter in enumerate(LETTERS)}
        needed = {*LETTERS, *(part for pair in merges for part in (*pair, "".join(pair)))}
        if lacking := sorted(needed - code_of.keys()):
            raise ValueError(f"byte pairs: {lacking[0]!r} is not among the symbols")
        if strange := [symbol for symbol in code_of if not symbol or not byte_of.keys() >= set(symbol)]:
            raise ValueError(f"byte pairs: {strange[0]!r} is not written in letters of bytes")
        self._bytes = [b"" if symbol in others else bytes(map(byte_of.__getitem__, symbol)) for symbol in symbols]
        self._of_byte = [code_of[letter] for letter in LETTERS]
        self._ranks: dict[tuple[int, int], int] = {}
        self._merged = []
        for rank, (left, right) in enumerate(merges):
            self._ranks.setdefault((code_of[left], code_of[right]), rank)
            self._merged.append(code_of[left + right])
        self._codes_of = lru_cache(_KNOWN_PIECES)(self._merge)

    def encode(self, text: str) -> Iterator[int]:
        """The codes of a text, one by one.

        Raises:
            UnicodeEncodeError: at half a surrogate pair, which is no character; ``start`` is its place in the text.
        """
        for piece in PIECES.finditer(text):
            try:
                yield from self._codes_of(piece[0])
            except UnicodeEncodeError as error:
                raise UnicodeEncodeError(
                    "utf-8", text, piece.start() + error.start, piece.end(), error.reason
                ) from None

    def decode(self, codes: Iterable[int]) -> str:
        """The text of codes; bytes that are no character become U+FFFD."""
        return self.to_bytes(codes).decode(errors="replace")

    def to_bytes(self, codes: Iterable[int]) -> bytes:
        """The bytes of codes, which may end within a character; special symbols have none."""
        return b"".join([self._bytes[code] for code in codes])

    def _merge(self, piece: str) -> tuple[int, ...]:
        codes = [self._of_byte[byte] for byte in piece.encode()]
        none = len(self._merged)
        ranks = [self._ranks.get(pair, none) for pair in pairwise(codes)]
        while (first := min(ranks, default=none)) < none:
            place = ranks.index(first)
            codes[place : place + 2] = [self._merged[first]]
            around = codes[max(0, place - 1) : place + 2]
            ranks[max(0, place - 1) : place + 2] = [self._ranks.get(pair, none) for pair in pairwise(around)]
        return tuple(codes)
