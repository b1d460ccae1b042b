from __future__ import annotations

import pytest

from ostinato.models.data.lexicon import Entries, Phonemes
from ostinato.models.networks.beam import Hypothesis
from ostinato.models.scores.pronunciation import Alphabet, edit_distance, error_rates

ALPHABET = Alphabet(("a", "b"), ("<start>", "<stop>", "AH0", "AH1", "B", "D"), 0, 1)


@pytest.mark.parametrize(
    ("given", "true", "expected"),
    [
        ("K AE T", "K AE T", 0),
        ("K AE", "K AE T", 1),
        ("K AE T S", "K AE T", 1),
        ("K AH T", "K AE T", 1),
        ("", "K AE T", 3),
        ("T AE K", "K AE T", 2),
        ("S K AE T", "K AE T S", 2),
    ],
)
def test_the_edit_distance_counts_insertions_deletions_and_changes(given: str, true: str, expected: int) -> None:
    assert edit_distance(tuple(given.split()), tuple(true.split())) == expected


def written(*spoken: Phonemes) -> list[Hypothesis]:
    return [Hypothesis(tuple(ALPHABET.target(phonemes)), -1.0) for phonemes in spoken]


def test_stress_is_ignored_and_any_pronunciation_is_right() -> None:
    entries: Entries = {"a": (("AH1",), ("B", "AH0")), "b": (("B",),)}
    rates = error_rates(written(("B", "AH1"), ("B",)), entries, ALPHABET)
    assert (rates.word_error, rates.phoneme_error) == (0.0, 0.0)


def test_the_nearest_pronunciation_counts() -> None:
    entries: Entries = {"a": (("AH1", "B", "D"), ("B", "D")), "b": (("B", "AH0", "B"),)}
    rates = error_rates(written(("B", "B"), ("B", "AH0", "B")), entries, ALPHABET)
    # One of two words is wrong; one change of the nearer one's 2 phonemes, beside the other word's 3.
    assert rates.word_error == 1 / 2
    assert rates.phoneme_error == 1 / 5
