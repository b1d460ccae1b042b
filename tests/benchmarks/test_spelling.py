from __future__ import annotations

import argparse

import pytest

from benchmarks.figures import Figures
from benchmarks.inside_generation import SpellingHouse, generation
from benchmarks.spelling import RELEASE, Speller, draw_words, encoded_length, padded_length
from ostinato.service.engine.generation import graphs


@pytest.fixture(scope="module")
def speller() -> Speller:
    return Speller()


def test_words_are_cmudict_s_and_the_same_each_time() -> None:
    words = draw_words(5_000)
    assert len(set(words)) == 5_000
    assert words[:100] == draw_words(100)
    assert words[:100] != draw_words(100, seed=18)
    # The mean spelling of all 126,052 words has 7.49 letters.
    assert sum(map(len, words)) / len(words) == pytest.approx(7.49, abs=0.15)


def test_words_are_padded_as_the_service_pads_them() -> None:
    assert [padded_length(number) for number in range(1, 130)] == [
        graphs.padded_length(number) for number in range(1, 130)
    ]
    assert [encoded_length(number) for number in range(1, 130)] == [
        graphs.encoded_length(number) for number in range(1, 130)
    ]


def test_a_static_batch_spells_what_each_word_alone_spells(speller: Speller) -> None:
    words = draw_words(40)
    longest = max(map(len, words))
    together, alone = speller.batch(words, longest), [speller.alone(word) for word in words]
    assert [(one.phonemes, one.num_tokens) for one in together] == [(one.phonemes, one.num_tokens) for one in alone]
    # Another padding may round otherwise, as a static server's answers do.
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-4)
    assert all(one.num_tokens == len(one.phonemes.split()) + 1 for one in alone)


async def test_the_engine_spells_what_the_graphs_alone_spell(speller: Speller) -> None:
    house = SpellingHouse(RELEASE)
    waits: list[float] = []
    for word in draw_words(20):
        assert await house.spell(word) == (expected := speller.alone(word))
        num_iterations = house.num_iterations
        assert await house.first_step(word, waits) == expected.num_tokens
        assert house.num_iterations == num_iterations + expected.num_tokens
    assert len(waits) == 20
    house.engine.close()


async def test_a_round_measures_all_that_is_compared() -> None:
    figures = Figures()
    await generation(argparse.Namespace(directory=RELEASE, rounds=1, seconds=0.2), figures)
    assert {name: len(values) for name, values in figures.values.items()} == dict.fromkeys(figures.values, 1)
    for name in ("raw", "graphs", "static", "engine", "engine_stream"):
        assert figures.values[f"generation/{name}/rate"][0] > 0
    # The longest of 64 outputs against their mean, over a few batches.
    assert 1.4 < figures.values["generation/static/steps_per_token"][0] < 2.6
