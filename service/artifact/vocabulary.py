"""A vocabulary: which text stands for which codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ostinato.byte_pairs import LONGEST_PIECE, BytePairs
from ostinato.service.errors import InvalidInput


class Vocabulary(BaseModel):
    """Symbols and their codes: ``symbols[i]`` has the code ``i``.

    ``symbols``: the symbols in the order of their codes.
    ``separator``: what is between symbols in text; empty where each character is a symbol.
    ``special``: symbols that no text holds, as those for start, stop and padding.
    ``lowercase``: whether text is read in lower case.
    ``unknown``: the symbol that represents all that is no symbol; it may be special. None = such text is refused.
    ``merges``: of byte pairs (see ``ostinato/byte_pairs.py``), which pairs of symbols become one symbol, in this order.
    None = each character, or what is between separators, is a symbol.

    The last two are left out of the file where they are None: an older release refuses keys that it does not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbols: Annotated[tuple[str, ...], Field(min_length=1)]
    separator: str = ""
    special: tuple[str, ...] = ()
    lowercase: bool = False
    unknown: str | None = None
    merges: tuple[tuple[str, str], ...] | None = None

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        return {key: value for key, value in content.items() if key not in ("unknown", "merges") or value is not None}

    @model_validator(mode="after")
    def _check(self) -> Vocabulary:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("a symbol occurs twice")
        if unknown := sorted(set(self.special) - set(self.symbols)):
            raise ValueError(f"special: {unknown} are not among the symbols")
        if self.unknown is not None and self.unknown not in self.symbols:
            raise ValueError(f"unknown: {self.unknown!r} is not among the symbols")
        if self.byte_pairs is not None:
            if self.separator or self.unknown is not None:
                raise ValueError("merges: of byte pairs nothing is unknown, and there is no separator between them")
            return self
        for symbol in self.symbols:
            if symbol in self.special:
                continue
            if not symbol or (self.separator and self.separator in symbol):
                raise ValueError(f"{symbol!r} cannot be distinguished from its neighbours in text")
            if not self.separator and len(symbol) != 1:
                raise ValueError(f"{symbol!r} is more than a character; give a separator")
        return self

    @cached_property
    def byte_pairs(self) -> BytePairs | None:
        """What cuts text into byte pairs; None where it is cut into characters or words."""
        return None if self.merges is None else BytePairs(self.symbols, self.merges, self.special)

    @property
    def is_of_characters(self) -> bool:
        """Whether each character of a text is a symbol."""
        return not self.separator and self.merges is None

    @cached_property
    def codes(self) -> dict[str, int]:
        """The code of each symbol that text may hold."""
        special = set(self.special)
        return {symbol: code for code, symbol in enumerate(self.symbols) if symbol not in special}

    @cached_property
    def _special_codes(self) -> frozenset[int]:
        special = set(self.special)
        return frozenset(code for code, symbol in enumerate(self.symbols) if symbol in special)

    @cached_property
    def _unknown_code(self) -> int | None:
        return None if self.unknown is None else self.symbols.index(self.unknown)

    @cached_property
    def _are_words(self) -> bool:
        return self.separator == " " and all(symbol.split() == [symbol] for symbol in self.codes)

    def encode(self, text: str, field: str, most: int | None = None) -> list[int]:
        """The codes of a text.

        Args:
            most: of a longer text, so many codes and one are read: anyone who cannot use more need not wait for them.

        Raises:
            InvalidInput: a symbol is unknown, and none stands for such; names it and its place: the character's, or the
                word's, counted from 0.
        """
        end = None if most is None else most + 1
        if self.is_of_characters and text.isascii() and (most is None or len(text) <= most):
            # The same in one go; where a character is none, below, which says so.
            codes = list(map(self.codes.get, text.lower() if self.lowercase else text))
            if None not in codes:
                return cast(list[int], codes)
        if self.byte_pairs is None:
            return list(islice(self._codes(text, field), end))
        # A longer text has as many codes in its beginning.
        text = text if end is None else text[: end * LONGEST_PIECE]
        given = "".join(map(str.lower, text)) if self.lowercase else text
        try:
            return list(islice(self.byte_pairs.encode(given), end))
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{given[error.start]!r} is half a surrogate pair, and no character", field) from error

    def _codes(self, text: str, field: str) -> Iterator[int]:
        known, of_unknown = self.codes, self._unknown_code
        # Character by character: some capitals become two small letters, and places must stay those of the caller.
        for place, written in enumerate(self._cut(text)):
            code = known.get(written.lower() if self.lowercase else written, of_unknown)
            if code is None:
                what = "symbol" if self.separator else "character"
                raise InvalidInput(
                    f"unknown {what} {written[:60]!r} at position {place}; this model knows {self._known()}", field
                )
            yield code

    def _cut(self, text: str) -> Iterable[str]:
        """A text as it is written, symbol by symbol; words are cut at any space, where no word holds one."""
        if not self.separator:
            return text
        if self._are_words:
            return text.split()
        return [part for part in text.split(self.separator) if part]

    def decode(self, codes: Iterable[int]) -> str:
        """The text of codes; special symbols are left out."""
        if self.byte_pairs is not None:
            return self.byte_pairs.decode(codes)
        symbols, special = self.symbols, self._special_codes
        return self.separator.join([symbols[code] for code in codes if code not in special])

    def _known(self) -> str:
        symbols = sorted(self.codes)
        listed = " ".join(symbols[:60])
        return f"{listed} and {len(symbols) - 60} more" if len(symbols) > 60 else listed
