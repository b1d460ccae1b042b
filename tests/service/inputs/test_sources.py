from __future__ import annotations

from typing import Any

import pytest

from ostinato.byte_pairs import LETTERS
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.errors import InvalidInput, TooLarge
from ostinato.service.inputs.sources import to_codes, to_source

MAX_STEPS = 3


def read(given: Any, vocabulary: Vocabulary) -> list[int]:
    num_codes = len(vocabulary.symbols)
    source = Input(name="x", dtype="int64", shape=("B", "S"), features=("symbol",), num_codes=num_codes)
    manifest = Manifest.model_construct(inputs=(source,), vocabularies={"source": vocabulary})
    codes: list[int] = to_source(given, manifest, "inputs[0]", MAX_STEPS).tolist()
    return codes


@pytest.mark.parametrize(
    ("vocabulary", "text", "codes"),
    [
        (Vocabulary(symbols=("a", "b", "c")), "cab", [2, 0, 1]),
        (Vocabulary(symbols=("THE", "CAT", "SAT"), separator=" "), "CAT SAT THE", [1, 2, 0]),
        (Vocabulary(symbols=("THE", "CAT", "SAT"), separator=" "), "  THE   CAT ", [0, 1]),
    ],
)
def test_a_text_is_as_long_as_it_has_symbols(vocabulary: Vocabulary, text: str, codes: list[int]) -> None:
    assert read(text, vocabulary) == codes
    longer = vocabulary.separator.join([*vocabulary.symbols, vocabulary.symbols[0]])
    with pytest.raises(TooLarge, match=r"inputs\[0\] has (4|over 3) steps"):
        read(longer, vocabulary)


def test_byte_pairs_are_fewer_than_characters() -> None:
    pairs = Vocabulary(symbols=(*LETTERS, "ab", "abc"), merges=(("a", "b"), ("ab", "c")))
    assert read("abcabcabc", pairs) == [257] * 3
    with pytest.raises(TooLarge, match="over 3 steps"):
        read("abcabcabcd", pairs)


def test_a_text_that_is_far_too_long_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read("?" * (MAX_STEPS + 1), Vocabulary(symbols=("a", "b")))


@pytest.mark.parametrize("text", ["", "  "])
def test_a_text_without_symbols_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="an empty input"):
        read(text, Vocabulary(symbols=("THE",), separator=" "))


WIND = Input(
    name="x",
    dtype="float32",
    shape=("B", "T", 2),
    features=("speed", "wind"),
    categories={"wind": ("NE", "NW")},
    unknown={},
)


@pytest.mark.parametrize(
    ("part", "given", "codes"),
    [
        (WIND, [[0.5, "NW"], [1, 0], [2, "NE"]], [[0.5, 1], [1, 0], [2, 0]]),
        (WIND.model_copy(update={"shape": ("B", 2)}), [0.5, "NW"], [0.5, 1]),
    ],
)
def test_words_among_the_numbers_of_a_source_stand_for_their_codes(part: Input, given: Any, codes: Any) -> None:
    manifest = Manifest.model_construct(inputs=(part,), vocabularies={})
    assert to_source(given, manifest, "inputs[0]", MAX_STEPS).tolist() == codes
    wrong = ["SW" if value == "NW" else value for value in given] if codes == [0.5, 1] else [*given[:-1], [2, "SW"]]
    with pytest.raises(InvalidInput, match="'SW' is no word of 'wind'; it has NE, NW") as refusal:
        to_source(wrong, manifest, "inputs[0]", MAX_STEPS)
    assert (refusal.value.field or "").endswith("[1]")


@pytest.mark.parametrize("code", [1.5, True, -1, 3, 3.0, "b", None])
def test_a_code_is_a_whole_number_however_it_is_written(code: Any) -> None:
    assert to_codes([2, 2.0, 1e0], None, 3, "targets[0]", MAX_STEPS) == [2, 2, 1]
    with pytest.raises(InvalidInput, match="is no code; codes are 0 to 2") as refusal:
        to_codes([2, code], None, 3, "targets[0]", MAX_STEPS)
    assert refusal.value.field == "targets[0][1]"
