from __future__ import annotations

import random
import sys

import pytest
from tokenizers.models import BPE

from ostinato.byte_pairs import LETTERS, LONGEST_PIECE, PIECES, BytePairs
from ostinato.models.data.learned_pairs import byte_tokenizer, learn_byte_pairs

LEARNED_FROM = ["the clouds are in the sky; they are the sky's own: 雲雲雲 🙂🙂 aaaa aaaa\n\n    naïve 1234 1234"] * 3
SYMBOLS, MERGES = learn_byte_pairs(LEARNED_FROM, 330, 1)
PAIRS = BytePairs(SYMBOLS, MERGES)


def some_text(rng: random.Random) -> str:
    """Characters of all of Unicode, halves of surrogate pairs left out, among words that are known."""
    drawn = [
        rng.choice([" ", "\t", "\n", "the", " sky", "aaa", "🙂", "雲雲", "12", chr(rng.randrange(128))])
        if rng.random() < 0.8
        else chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, sys.maxunicode + 1)]))
        for _ in range(rng.randrange(60))
    ]
    return "".join(drawn)


def test_any_text_is_cut_as_the_library_cuts_it_and_comes_back() -> None:
    library = byte_tokenizer(BPE({symbol: code for code, symbol in enumerate(SYMBOLS)}, list(MERGES)))
    rng = random.Random(11)
    for text in [*LEARNED_FROM, "", " " * 70, "a" * 200, "\0\x7f", *(some_text(rng) for _ in range(1500))]:
        codes = list(PAIRS.encode(text))
        assert codes == library.encode(text).ids
        assert PAIRS.decode(codes) == text


def test_what_is_frequent_is_one_code() -> None:
    codes = list(PAIRS.encode("the sky 🙂🙂"))
    assert [PAIRS.decode([code]) for code in codes] == ["the", " sky", " 🙂🙂"]
    assert len(list(PAIRS.encode("xqz"))) == 3


def test_a_piece_has_a_length_within_which_pairs_are_sought() -> None:
    text = (
        "".join(chr(number) for number in range(0xD800))
        + "雲" * 500
        + "-" * 500
        + " and" * 50
        + " "
        + "x" * 50
        + " " * 100
    )
    pieces = PIECES.findall(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) == LONGEST_PIECE


def test_half_a_surrogate_pair_is_named_by_its_place() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        list(PAIRS.encode("the sky, \ud83d and"))
    assert caught.value.start == 9


def test_bytes_that_are_no_character_are_told_apart_from_those_that_are() -> None:
    cloud = [SYMBOLS.index(LETTERS[byte]) for byte in "雲".encode()]
    assert PAIRS.to_bytes(cloud[:2]) == "雲".encode()[:2]
    assert PAIRS.decode([*cloud[:2], *cloud]) == "\N{REPLACEMENT CHARACTER}雲"


@pytest.mark.parametrize(
    ("symbols", "merges", "message"),
    [
        (LETTERS[1:], (), "'Ā' is not among the symbols"),
        (LETTERS, (("a", "b"),), "'ab' is not among the symbols"),
        ((*LETTERS, "a b"), (), "'a b' is not written in letters of bytes"),
        ((*LETTERS, ""), (), "'' is not written"),
    ],
)
def test_symbols_that_do_not_fit_are_refused(
    symbols: tuple[str, ...], merges: tuple[tuple[str, str], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BytePairs(symbols, merges)
