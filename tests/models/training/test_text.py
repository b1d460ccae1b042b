from __future__ import annotations

import math

import pytest
import torch

from ostinato.models.data.symbols import Symbols
from ostinato.models.data.text import Text
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.training.text import continue_text, perplexity, stream_windows

EDGE, A, B, C, UNKNOWN = range(5)


def text(*, is_running: bool = False) -> Text:
    symbols = Symbols(("<edge>", "a", "b", "c", "\N{REPLACEMENT CHARACTER}"), "characters", special=("<edge>",))
    return Text({"training": [], "validation": [], "test": []}, symbols, is_running, held_out=True, sha256="")


def network_of(*weights: float) -> LanguageModel:
    """A network by which each symbol has a probability of its own, whatever came before."""
    network = LanguageModel(5, LanguageModelRecipe(hidden_size=3))
    torch.nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor(weights).log())
    return network


def test_a_network_that_knows_nothing_is_as_perplexed_as_there_are_symbols() -> None:
    assert perplexity(network_of(1, 1, 1, 1, 1), [[A, B], [C], [A, B, C, A]], text()) == pytest.approx(5.0)


def test_perplexity_is_that_of_all_symbols_and_the_ends_and_not_of_padding_or_unknown_ones() -> None:
    # The end has probability 1/2, each letter 1/6. Lines of 1 and 4 letters, and one that is unknown: 2 ends.
    wanted = math.exp((5 * math.log(6) + 2 * math.log(2)) / 7)
    network = network_of(3, 1, 1, 1, 1e-30)
    assert perplexity(network, [[A], [B, C, UNKNOWN, A, B]], text()) == pytest.approx(wanted)


@pytest.mark.parametrize("num_symbols", [1, 249, 250, 2_600])
def test_a_running_text_is_scored_whole_however_it_is_cut(num_symbols: int) -> None:
    codes = [1 + place % 3 for place in range(num_symbols)]
    wanted = math.exp((num_symbols * math.log(6) + math.log(2)) / (num_symbols + 1))
    assert perplexity(network_of(3, 1, 1, 1, 1e-30), [codes], text(is_running=True)) == pytest.approx(wanted)


def test_streams_begin_behind_the_edge_and_go_on_from_window_to_window() -> None:
    windows = list(stream_windows(torch.tensor([1, 2, 3, 4, 5, 6, 7]), num_streams=2, window=2))
    assert [given.tolist() for given, _ in windows] == [[[EDGE, 1], [EDGE, 4]], [[2], [5]]]
    assert [wanted.tolist() for _, wanted in windows] == [[[1, 2], [4, 5]], [[3], [6]]]


def test_the_likeliest_is_written_until_the_end_or_long_enough() -> None:
    assert continue_text(network_of(1, 1, 4, 1, 1), [A], max_steps=3) == [B, B, B]
    assert continue_text(network_of(4, 1, 1, 1, 1), [A], max_steps=3) == []
