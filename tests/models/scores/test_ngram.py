from __future__ import annotations

import pytest

from ostinato.models.scores.ngram import NGram


def test_a_unigram_model_is_the_discounted_counts_and_an_equal_share_of_the_rest() -> None:
    model = NGram(1, ["aab"], num_symbols=4)
    # a 2, b 1, end 1: two counted once, one twice, D = 2 / (2 + 2 * 1) = 0.5; the rest, 3 * 0.5 / 4, is shared by 4.
    rest = 3 * 0.5 / 4 / 4
    assert model.probability("a", "") == pytest.approx(1.5 / 4 + rest)
    assert model.probability("b", "a") == pytest.approx(0.5 / 4 + rest)
    assert model.probability("z", "") == pytest.approx(rest)


def test_a_bigram_model_falls_back_on_how_many_symbols_come_before() -> None:
    model = NGram(2, ["ab", "cb", "ab"], num_symbols=4)
    # Bigrams: edge-a 2, a-b 2, b-edge 3, edge-c 1, c-b 1: D = 2 / (2 + 2 * 2) = 1/3.
    # Below, b comes after 2 symbols, a, c and the end after 1 each: D = 3 / (3 + 2 * 1) = 3/5 of 5, 4 distinct.
    below = (2 - 3 / 5) / 5 + 3 / 5 * 4 / 5 / 4
    assert model.probability("b", "a") == pytest.approx((2 - 1 / 3) / 2 + 1 / 3 * 1 / 2 * below)


def test_a_beginning_counts_as_often_as_it_occurs() -> None:
    model = NGram(3, ["ab", "ab", "ac"], num_symbols=4)
    # After the edge alone: a three times, nothing else; counted neither once nor twice among the beginnings, but with
    # a-b, b-end, a-c and c-end, before each of which one symbol stands: 4 once, D = 1.
    # Below that: a after 1 symbol, b after 1, c after 1, the end after 2: D = 3 / (3 + 2 * 1) = 3/5 of 5, 4 distinct.
    below = (1 - 3 / 5) / 5 + 3 / 5 * 4 / 5 / 4
    assert model.probability("a", "") == pytest.approx((3 - 1) / 3 + 1 / 3 * below)


@pytest.mark.parametrize("context", ["", "a", "ab", "xyz"])
def test_probabilities_add_up_to_one_after_any_context(context: str) -> None:
    model = NGram(3, ["abba", "baab", "cab"], num_symbols=4)
    assert sum(model.probability(symbol, context) for symbol in ("a", "b", "c", NGram.EDGE)) == pytest.approx(1.0)


def test_a_model_that_learned_nothing_is_as_perplexed_as_there_are_symbols() -> None:
    assert NGram(3, [], num_symbols=7).perplexity(["ab", "c"]) == pytest.approx(7.0)
