from __future__ import annotations

from ostinato.byte_pairs import LETTERS
from ostinato.models.data.learned_pairs import learn_byte_pairs


def test_the_most_frequent_pair_is_merged_first() -> None:
    symbols, merges = learn_byte_pairs(["abab abab ab cd cd"], 1000, 1)
    assert set(symbols[:256]) == set(LETTERS)
    assert merges[0] == ("a", "b")
    assert symbols[256] == "ab"


def test_what_is_seen_once_is_not_merged() -> None:
    assert learn_byte_pairs(["abcdef"], 1000, 1) == (tuple(sorted(LETTERS)), ())
    assert learn_byte_pairs(["ab.ab.cd.cd.cd"], 1000, 3)[1] == (("c", "d"),)


def test_there_are_no_more_symbols_than_asked_for() -> None:
    assert len(learn_byte_pairs(["abab abab"], 257, 1)[0]) == 257
