from __future__ import annotations

import torch

from ostinato.models.data.pairs import IGNORED
from ostinato.models.data.spellings import EDGE, Spellings

SYMBOLS = (EDGE, "a", "b", "c")


def test_a_word_is_given_behind_the_edge_and_wanted_before_it() -> None:
    spellings = Spellings.of(["b", "ca"], SYMBOLS)
    assert spellings.given.tolist() == [[0, 2, 0], [0, 3, 1]]
    assert spellings.wanted.tolist() == [[2, 0, IGNORED], [3, 1, 0]]
    assert spellings.lengths.tolist() == [2, 3]
    # Three letters and two ends.
    assert spellings.num_symbols == 5


def test_words_of_like_length_share_a_batch_no_longer_than_its_longest() -> None:
    spellings = Spellings.of(["cab", "a", "b", "abcabc"], SYMBOLS)
    batches = [(given.tolist(), wanted.tolist()) for given, wanted in spellings.batches(torch.tensor([2, 0, 1]), 2)]
    assert batches == [([[0, 2], [0, 1]], [[2, 0], [1, 0]]), ([[0, 3, 1, 2]], [[3, 1, 2, 0]])]
