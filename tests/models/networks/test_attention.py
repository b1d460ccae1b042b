from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ostinato.models.networks.attention import SCORES, Attention, ScoreFunction, masked_softmax

QUERY = torch.tensor([[1.0, 2.0]])
# Three steps, of which the last is padding.
MEMORY = torch.tensor([[[3.0, 0.0], [0.0, 1.0], [7.0, 7.0]]])
LENGTHS = torch.tensor([2])


def attend(attention: Attention, query: Tensor, memory: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    context, weights = attention(query, memory, attention.keys(memory), lengths)
    return context, weights


def two_step_weights(first: float, second: float) -> list[float]:
    """The softmax of two scores, and 0 for the padding."""
    share = 1.0 / (1.0 + math.exp(second - first))
    return [share, 1.0 - share, 0.0]


def test_dot_scores_are_products_of_query_and_memory() -> None:
    _, weights = attend(Attention("dot", 2, 2), QUERY, MEMORY, LENGTHS)
    # 1*3 + 2*0 = 3 and 1*0 + 2*1 = 2.
    assert weights[0].tolist() == pytest.approx(two_step_weights(3.0, 2.0))


def test_general_scores_are_bilinear() -> None:
    attention = Attention("general", 2, 2)
    attention.key.weight.data = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    _, weights = attend(attention, QUERY, MEMORY, LENGTHS)
    # W h_1 = (0, 1.5) and W h_2 = (1, 0): 2*1.5 = 3 and 1*1 = 1.
    assert weights[0].tolist() == pytest.approx(two_step_weights(3.0, 1.0))


def test_cosine_scores_are_scaled_cosines() -> None:
    attention = Attention("cosine", 2, 2)
    attention.scale.data = torch.tensor(4.0)
    _, weights = attend(attention, QUERY, MEMORY, LENGTHS)
    # (1, 2) has the length sqrt(5): cosines 3 / (3 sqrt 5) and 2 / sqrt 5.
    expected = two_step_weights(4 / math.sqrt(5), 8 / math.sqrt(5))
    assert weights[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_additive_scores_are_those_of_a_small_network() -> None:
    attention = Attention("additive", 2, 2, attention_size=1)
    attention.key.weight.data = torch.tensor([[0.5, 1.0]])
    attention.query.weight.data = torch.tensor([[1.0, -1.0]])
    attention.query.bias.data = torch.tensor([0.5])
    attention.weight.weight.data = torch.tensor([[2.0]])
    _, weights = attend(attention, QUERY, MEMORY, LENGTHS)
    # U q + b = 1 - 2 + 0.5 = -0.5; W h_1 = 1.5 and W h_2 = 1.
    assert weights[0].tolist() == pytest.approx(two_step_weights(2 * math.tanh(1.0), 2 * math.tanh(0.5)))


def test_the_context_is_the_weighted_sum_of_the_memory() -> None:
    context, weights = attend(Attention("dot", 2, 2), QUERY, MEMORY, LENGTHS)
    first, second, _ = weights[0].tolist()
    assert context[0].tolist() == pytest.approx([3.0 * first, 1.0 * second])


@pytest.mark.parametrize("score", SCORES)
def test_rows_sum_to_one_over_the_true_length_and_are_zero_beyond(score: ScoreFunction) -> None:
    torch.manual_seed(1)
    attention, memory, query = Attention(score, 6, 6), torch.randn(4, 5, 6), torch.randn(4, 6)
    lengths = torch.tensor([1, 2, 4, 5])
    _, weights = attend(attention, query, memory, lengths)
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    for row, length in enumerate(lengths.tolist()):
        assert (weights[row, :length] > 0).all()
        assert weights[row, length:].tolist() == [0.0] * (5 - length)


@pytest.mark.parametrize("score", SCORES)
def test_padding_of_any_content_has_no_influence(score: ScoreFunction) -> None:
    torch.manual_seed(2)
    attention, memory, query = Attention(score, 6, 6), torch.randn(2, 5, 6), torch.randn(2, 6)
    lengths = torch.tensor([3, 3])
    other = memory.clone()
    other[:, 3:] = 1000.0
    for padded in (other, memory[:, :3]):
        context, weights = attend(attention, query, padded, lengths)
        expected, expected_weights = attend(attention, query, memory, lengths)
        torch.testing.assert_close(context, expected)
        torch.testing.assert_close(weights[:, :3], expected_weights[:, :3])


@pytest.mark.parametrize("score", SCORES)
def test_all_steps_at_once_attend_as_one_after_the_other(score: ScoreFunction) -> None:
    torch.manual_seed(3)
    attention, memory, queries = Attention(score, 6, 6), torch.randn(3, 5, 6), torch.randn(3, 4, 6)
    lengths, keys = torch.tensor([2, 5, 3]), attention.keys(memory)
    contexts, weights = attention.over_steps(queries, memory, keys, lengths)
    assert weights.shape == (3, 4, 5)
    for step in range(4):
        context, step_weights = attention(queries[:, step], memory, keys, lengths)
        torch.testing.assert_close(contexts[:, step], context)
        torch.testing.assert_close(weights[:, step], step_weights)


def test_a_masked_softmax_is_that_of_the_true_steps_alone() -> None:
    weights = masked_softmax(torch.tensor([[[0.0, math.log(3.0), 50.0]]]), torch.tensor([2]))
    # exp: 1 and 3, of 4 together.
    assert weights[0, 0].tolist() == pytest.approx([0.25, 0.75, 0.0])


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_vectors_of_different_sizes_are_refused(score: ScoreFunction) -> None:
    with pytest.raises(ValueError, match=f"the score '{score}' needs a query of 3 features, as the memory; 2"):
        Attention(score, 2, 3)
