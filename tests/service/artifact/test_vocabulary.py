from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ostinato.byte_pairs import LETTERS as BYTES
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.errors import InvalidInput

LETTERS: dict[str, Any] = {"symbols": ("<unk>", "a", "b"), "special": ("<unk>",)}
WORDS: dict[str, Any] = {"symbols": ("the", "cat", "other"), "separator": " "}


@pytest.mark.parametrize(
    ("members", "text", "codes"),
    [
        ({**LETTERS, "unknown": "<unk>"}, "aXb", [1, 0, 2]),
        ({**LETTERS, "unknown": "<unk>", "lowercase": True}, "AxB", [1, 0, 2]),
        ({**LETTERS, "unknown": "b"}, "a?b", [1, 2, 2]),
        ({**WORDS, "unknown": "other"}, "the  dog cat", [0, 2, 1]),
    ],
)
def test_what_is_no_symbol_gets_the_code_of_the_unknown_symbol(
    members: dict[str, Any], text: str, codes: list[int]
) -> None:
    vocabulary = Vocabulary(**members)
    assert vocabulary.encode(text, "inputs[0]") == codes
    assert vocabulary == Vocabulary.model_validate_json(vocabulary.model_dump_json())


@pytest.mark.parametrize(("members", "text"), [(LETTERS, "aXb"), (WORDS, "the dog")])
def test_without_an_unknown_symbol_it_is_refused_by_its_place(members: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match="at position 1"):
        Vocabulary(**members).encode(text, "inputs[0]")


def test_a_special_symbol_is_no_text_and_so_is_unknown_itself() -> None:
    vocabulary = Vocabulary(symbols=("<s>", "<unk>", "a"), special=("<s>", "<unk>"), separator=" ", unknown="<unk>")
    assert vocabulary.encode("a <s> <unk>", "inputs[0]") == [2, 1, 1]
    assert vocabulary.decode([2, 1, 0]) == "a"


def test_the_unknown_symbol_is_one_of_the_symbols() -> None:
    with pytest.raises(ValidationError, match="unknown: '<unk>' is not among the symbols"):
        Vocabulary(symbols=("a",), unknown="<unk>")


def test_a_file_without_one_has_no_such_key() -> None:
    assert "unknown" not in Vocabulary(**LETTERS).model_dump(mode="json")
    assert Vocabulary(**LETTERS, unknown="a").model_dump(mode="json")["unknown"] == "a"


def test_words_are_cut_at_any_space_where_no_word_holds_one() -> None:
    assert Vocabulary(symbols=("sky", "the"), separator=" ").encode(" the\tsky\n\u00a0the", "text") == [1, 0, 1]
    spaced = Vocabulary(symbols=("a\tb", "c"), separator=" ")
    assert spaced.encode("c a\tb", "text") == [1, 0]


PAIRS: dict[str, Any] = {
    "symbols": ("<edge>", *BYTES, "th", "the"),
    "special": ("<edge>",),
    "merges": (("t", "h"), ("th", "e")),
}


def test_text_is_cut_into_byte_pairs_and_comes_back() -> None:
    vocabulary = Vocabulary.model_validate_json(Vocabulary(**PAIRS, lowercase=True).model_dump_json())
    assert vocabulary.encode("The", "inputs[0]") == [258]
    assert vocabulary.decode([0, *vocabulary.encode("THE İ 雲🙂\n", "inputs[0]"), 0]) == "the i̇ 雲🙂\n"
    assert not vocabulary.is_of_characters


def test_of_a_long_text_no_more_is_read_than_can_be_used() -> None:
    for vocabulary in (Vocabulary(**PAIRS), Vocabulary(symbols=("the",), separator=" "), Vocabulary(symbols=("t",))):
        text = {"": "t" * 99, " ": "the " * 99}[vocabulary.separator]
        assert len(vocabulary.encode(text, "inputs[0]", 5)) == 6
    # Each piece of 33 characters may be one code.
    spaces = Vocabulary(
        symbols=(*BYTES, *("Ġ" * 2**power for power in range(1, 6))),
        merges=tuple(("Ġ" * 2**power, "Ġ" * 2**power) for power in range(5)),
    )
    assert len(spaces.encode(" " * 9999, "inputs[0]", 5)) == 6


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(InvalidInput, match=r"'\\ud83d' is half a surrogate pair"):
        Vocabulary(**PAIRS).encode("the \ud83d", "inputs[0]")


@pytest.mark.parametrize("members", [{"separator": " "}, {"unknown": "a"}, {"merges": (("q", "u"),)}])
def test_byte_pairs_that_do_not_fit_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"merges: of byte pairs|'qu' is not among the symbols"):
        Vocabulary(**{**PAIRS, **members})
