from __future__ import annotations

import itertools
import random

import pytest

from ostinato.models.training.ngram import NGram


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


def test_no_discount_is_nothing_so_that_all_symbols_may_come_after_any_context() -> None:
    # Each letter is two bigrams, edge-a and a-edge: 12 counted once, 6 twice, 4 three times, 6 four times. So Y = 0.5,
    # and D(3) = 3 - 4 * 0.5 * 6 / 4 = 0: nothing would be left for b after a, which was four times the end.
    often = {"abc": 4, "de": 3, "fgh": 2, "ijklmn": 1}
    words = [letter for letters, number in often.items() for letter in letters for _ in range(number)]
    model = NGram(2, words, num_symbols=15)
    symbols = ["".join(often)[place] for place in range(14)] + [NGram.EDGE]
    # All discounts are Y. Below, each letter comes after one symbol, the end after 14: 14 once, so D = 1.
    for_end = (14 - 1) / 28 + 15 * 1 / 28 / 15
    assert model.probability("b", "a") == pytest.approx(0.5 / 4 * 15 * 1 / 28 / 15)
    assert model.probability(NGram.EDGE, "a") == pytest.approx((4 - 0.5) / 4 + 0.5 / 4 * for_end)
    assert sum(model.probability(symbol, "a") for symbol in symbols) == pytest.approx(1.0)
    assert model.perplexity(["ab"]) < 1e6


def brute_force(order: int, words: list[str], num_symbols: int, symbol: str, context: str) -> float:
    """Chen and Goodman's formula as it is written, by lists and loops alone."""
    edge = NGram.EDGE
    texts = [edge + word + edge for word in words]

    def counts(size: int) -> dict[str, int]:
        """How often each n-gram of this size counts: as it occurs where nothing longer is there, else by its left."""
        grams = sorted({text[i : i + size] for text in texts for i in range(len(text) - size + 1)})
        found = {}
        for gram in grams:
            occurs = sum(text[i : i + size] == gram for text in texts for i in range(len(text)))
            left = {text[i - 1] for text in texts for i in range(1, len(text)) if text[i : i + size] == gram}
            found[gram] = occurs if size == order or (gram[0] == edge and size > 1) else len(left)
        return found

    def probability(size: int, before: str) -> float:
        if size == 0:
            return 1 / num_symbols
        below = probability(size - 1, before[1:])
        mine = counts(size)
        followers = {gram: count for gram, count in mine.items() if gram[:-1] == before}
        if not followers:
            return below
        n = [sum(count == k for count in mine.values()) for k in (1, 2, 3, 4)]
        y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
        if size == 1:  # so few symbols are not counted once, twice, three and four times
            d = [0.0, y, y, y]
        else:
            d = [0.0, 1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]]
            assert all(0 < d[k] < k for k in (1, 2, 3)), "the toy has n-grams enough for three discounts"
        count = followers.get(before + symbol, 0)
        rest = sum(d[min(each, 3)] for each in followers.values()) * below
        return (count - d[min(count, 3)] + rest) / sum(followers.values())

    before = (edge + context)[-(order - 1) :] if order > 1 else ""
    return probability(len(before) + 1, before)


def test_three_discounts_give_what_the_formula_gives_and_add_up_to_one() -> None:
    draw = random.Random(9)
    words = ["".join(draw.choices("abcde", [9, 5, 3, 2, 1], k=draw.randint(1, 5))) for _ in range(60)]
    symbols = [*"abcde", NGram.EDGE]
    for order, context in itertools.product((2, 3, 4), ("", "a", "ba", "cab")):
        model = NGram(order, words, len(symbols))
        found = [model.probability(symbol, context) for symbol in symbols]
        expected = [brute_force(order, words, len(symbols), symbol, context) for symbol in symbols]
        assert found == pytest.approx(expected), (order, context)
        assert sum(found) == pytest.approx(1.0)
