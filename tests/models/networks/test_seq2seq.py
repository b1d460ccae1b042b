from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.models.data.pairs import padded
from ostinato.models.networks.attention import SCORES
from ostinato.models.networks.beam import write
from ostinato.models.networks.seq2seq import Seq2Seq, Seq2SeqRecipe

NUM_LETTERS, NUM_CODES, START, STOP = 7, 5, 0, 1
SIZES: dict[str, Any] = {"embedding_size": 4, "encoder_size": 3, "decoder_size": 6}
# Every context, score, cell and direction, with and without input feeding, stacked and not.
NETWORKS: list[dict[str, Any]] = [
    *({"score": score} for score in SCORES),
    {"score": "additive", "input_feeding": True, "cell": "gru"},
    {"input_feeding": True, "decoder_layers": 2, "encoder_layers": 2},
    {"cell": "gru", "bidirectional": False},
    {"context": "last"},
    {"context": "q_last", "cell": "gru", "decoder_layers": 2},
    {"context": "q_all"},
]


def network_of(choices: dict[str, Any], seed: int = 1) -> Seq2Seq:
    torch.manual_seed(seed)
    recipe = Seq2SeqRecipe(**{**SIZES, **choices})
    network = Seq2Seq(nn.Embedding(NUM_LETTERS, 4), 4, NUM_CODES, recipe)
    # Larger weights than those a network begins with, so that what it reads shows in what it writes.
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2.0)
    return network.eval()


def sources() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randint(NUM_LETTERS, (3, 5)), torch.tensor([5, 2, 4])


@torch.no_grad()
def write_given(
    network: Seq2Seq, source: Tensor, lengths: Tensor, target_in: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """Scores ``[B, T, V]`` of one step after the other, as a service runs them, and what each attended to."""
    memory, states = network.encode(source, lengths)
    scores, attended = [], []
    for step in range(target_in.shape[1]):
        shapes = [state.shape for state in states]
        output, states, attention = network.decode(target_in[:, step], states, memory, lengths)
        assert [state.shape for state in states] == shapes
        scores.append(output)
        attended.append(attention)
    return torch.stack(scores, dim=1), attended


@pytest.mark.parametrize("choices", NETWORKS)
def test_one_step_after_the_other_is_the_training_forward(choices: dict[str, Any]) -> None:
    network, (source, lengths) = network_of(choices), sources()
    target_in = torch.randint(NUM_CODES, (3, 6))
    with torch.no_grad():
        expected = network(source, lengths, target_in)
    assert expected.shape == (3, 6, NUM_CODES)
    scores, _ = write_given(network, source, lengths, target_in)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choices", NETWORKS)
def test_padding_changes_neither_memory_nor_states_nor_scores(choices: dict[str, Any]) -> None:
    network, (source, lengths) = network_of(choices), sources()
    other = torch.cat([source, torch.randint(NUM_LETTERS, (3, 11))], dim=1)
    for row, length in enumerate(lengths.tolist()):
        other[row, length:] = (other[row, length:] + 3) % NUM_LETTERS
    with torch.no_grad():
        memory, states = network.encode(source, lengths)
        other_memory, other_states = network.encode(other, lengths)
    for part, other_part in zip(memory, other_memory, strict=True):
        assert other_part.shape[1] == 16
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(other_part[row, :length], part[row, :length])
    for state, other_state in zip(states, other_states, strict=True):
        torch.testing.assert_close(other_state, state)
    target_in = torch.randint(NUM_CODES, (3, 4))
    scores, _ = write_given(network, source, lengths, target_in)
    other_scores, _ = write_given(network, other, lengths, target_in)
    torch.testing.assert_close(other_scores, scores)


@pytest.mark.parametrize("choices", NETWORKS)
def test_the_source_shows_in_the_scores(choices: dict[str, Any]) -> None:
    network, (source, lengths) = network_of(choices), sources()
    other = source.clone()
    other[0, 4] = (other[0, 4] + 1) % NUM_LETTERS
    with torch.no_grad():
        changed = network(other, lengths, torch.zeros(3, 1, dtype=torch.int64))
        scores = network(source, lengths, torch.zeros(3, 1, dtype=torch.int64))
    assert (changed[0] - scores[0]).abs().max() > 1e-4
    torch.testing.assert_close(changed[1:], scores[1:])


def test_attention_rows_are_over_the_true_source_at_each_step() -> None:
    network, (source, lengths) = network_of({"score": "additive"}), sources()
    _, attended = write_given(network, source, lengths, torch.zeros(3, 3, dtype=torch.int64))
    for weights in attended:
        assert weights is not None
        assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
        for row, length in enumerate(lengths.tolist()):
            assert weights[row, length:].tolist() == [0.0] * (5 - length)


@pytest.mark.parametrize("context", ["last", "q_last", "q_all"])
def test_a_fixed_context_stays_the_same_and_needs_no_memory(context: str) -> None:
    network, (source, lengths) = network_of({"context": context}), sources()
    memory, states = network.encode(source, lengths)
    assert memory == ()
    _, after, attention = network.decode(torch.zeros(3, dtype=torch.int64), states, memory, lengths)
    assert attention is None
    assert torch.equal(after[-1], states[-1])
    assert states[-1].shape == (3, 6)


def test_the_last_context_is_the_encoders_last_state() -> None:
    network, (source, lengths) = network_of({"context": "last"}), sources()
    _, h_last = network.encoder(network.source(source), lengths)
    assert torch.equal(network.encode(source, lengths)[1][-1], h_last)


def test_the_pooled_context_is_a_weighted_mean_of_the_true_steps() -> None:
    network, (source, lengths) = network_of({"context": "q_all"}), sources()
    # A pool that prefers no step takes the plain mean.
    network.bridge.pool.weight.data.zero_()
    outputs, _ = network.encoder(network.source(source), lengths)
    expected = [torch.tanh(network.bridge.q(outputs[row, :length].mean(0))) for row, length in enumerate(lengths)]
    torch.testing.assert_close(network.encode(source, lengths)[1][-1], torch.stack(expected))


@pytest.mark.parametrize("choices", [{}, {"input_feeding": True}, {"context": "q_all", "cell": "gru"}])
def test_scheduled_sampling_at_rate_0_is_teacher_forcing(choices: dict[str, Any]) -> None:
    network, (source, lengths) = network_of(choices), sources()
    target_in = torch.randint(NUM_CODES, (3, 6))
    with torch.no_grad():
        # A rate this small never draws, and takes the way of one step after the other.
        stepwise = network(source, lengths, target_in, sampling_rate=1e-30)
        forced = network(source, lengths, target_in, sampling_rate=0.0)
    torch.testing.assert_close(stepwise, forced, atol=1e-5, rtol=1e-5)


def test_scheduled_sampling_at_rate_1_is_what_the_network_writes_itself() -> None:
    network, (source, lengths) = network_of({}), sources()
    with torch.no_grad():
        first = network(source, lengths, torch.tensor([[START, 2, 3, 4]] * 3), sampling_rate=1.0)
        other = network(source, lengths, torch.tensor([[START, 4, 1, 2]] * 3), sampling_rate=1.0)
        own = torch.cat([torch.full((3, 1), START), first.argmax(dim=-1)[:, :-1]], dim=1)
        expected = network(source, lengths, own)
    assert torch.equal(first, other)
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-5)


def test_beams_enough_for_all_find_the_most_probable_output() -> None:
    network, (source, lengths) = network_of({"input_feeding": True}, seed=5), sources()
    # More beams than there are outputs of at most three codes: none is dropped.
    found = write(network, source, lengths, START, STOP, num_beams=NUM_CODES**3, max_steps=3)
    others = [code for code in range(NUM_CODES) if code != STOP]
    whole = [(*first, last) for first in itertools.product(others, repeat=2) for last in range(NUM_CODES)]
    outputs = [(STOP,), *((code, STOP) for code in others), *whole]
    for row in range(3):
        scores = log_probabilities(network, source[row], lengths[row], outputs)
        best = max(range(len(outputs)), key=scores.__getitem__)
        assert found[row].codes == tuple(code for code in outputs[best] if code != STOP)
        assert found[row].log_probability == pytest.approx(scores[best], abs=1e-4)


def log_probabilities(network: Seq2Seq, source: Tensor, length: Tensor, outputs: list[tuple[int, ...]]) -> list[float]:
    """Of each output, teacher-forced: the sum over its own codes."""
    codes, _ = padded(outputs)
    target_in = torch.cat([torch.full((len(outputs), 1), START), codes[:, :-1]], dim=1)
    with torch.no_grad():
        scores = network(source.expand(len(outputs), -1), length.expand(len(outputs)), target_in)
    steps = torch.log_softmax(scores, dim=-1)
    return [sum(steps[row, step, code].item() for step, code in enumerate(one)) for row, one in enumerate(outputs)]


def test_greedy_takes_the_best_code_of_each_step() -> None:
    network, (source, lengths) = network_of({}, seed=3), sources()
    for row, written in enumerate(write(network, source, lengths, START, STOP, max_steps=6)):
        codes: list[int] = []
        while len(codes) < 6:
            with torch.no_grad():
                scores = network(source[row : row + 1], lengths[row : row + 1], torch.tensor([[START, *codes]]))
            code = int(scores[0, -1].argmax())
            if code == STOP:
                break
            codes.append(code)
        assert written.codes == tuple(codes)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"score": "euclid"}, "Input should be 'dot', 'general', 'cosine' or 'additive'"),
        ({"context": "none"}, "Input should be 'attention', 'last', 'q_last' or 'q_all'"),
        (
            {"score": "dot", "decoder_size": 5},
            "score: 'dot' compares vectors of one size: decoder_size is 5, .* have 6",
        ),
        ({"context": "last", "input_feeding": True}, "input_feeding: the context 'last' has no attention"),
        ({"layers": 2}, "layers\n  Extra inputs are not permitted"),
    ],
)
def test_wrong_choices_are_refused_with_their_cause(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Seq2SeqRecipe(**{**SIZES, **choices})
