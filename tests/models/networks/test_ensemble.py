from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.models.networks.caption import Captioner
from ostinato.models.networks.ensemble import ForecastingEnsemble, first_of, joined
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.networks.seq2seq import Seq2Seq, Seq2SeqRecipe


def test_one_network_is_itself() -> None:
    network = nn.Linear(1, 1)
    assert joined([network]) is network
    assert first_of(network) is network


def test_the_answer_is_the_mean_of_the_members_each_with_a_state_of_its_own() -> None:
    recipe = LanguageModelRecipe(embedding_size=3, hidden_size=4, cell="lstm")
    members = [LanguageModel(5, recipe) for _ in range(3)]
    ensemble = joined(members)
    assert first_of(ensemble) is members[0]
    assert ensemble.state_names == tuple(f"{name}_member_{number}" for number in range(3) for name in "hc")
    codes = torch.randint(5, (2, 6))
    scores, *after = ensemble(codes, *ensemble.initial_state(2))
    alone = [member(codes, *member.initial_state(2)) for member in members]
    first, second, third = (made[0].detach().numpy() for made in alone)
    np.testing.assert_array_equal(scores.detach().numpy(), (first + second + third) / np.float32(3))
    states = [state for _, *own in alone for state in own]
    assert all(torch.equal(given, true) for given, true in zip(after, states, strict=True))


def test_all_attend_to_memories_of_their_own_and_are_fed_what_is_written() -> None:
    recipe = Seq2SeqRecipe(embedding_size=3, encoder_size=4, decoder_size=4, input_feeding=True)
    members = [Seq2Seq(nn.Embedding(5, 3), 3, 6, recipe) for _ in range(2)]
    ensemble = joined(members)
    source, lengths = torch.randint(5, (2, 7)), torch.tensor([7, 4])
    memory, states = ensemble.encode(source, lengths)
    assert (len(memory), len(states)) == (4, 6)
    begun = [member.encode(source, lengths) for member in members]
    for code in (0, 3):
        previous = torch.tensor([code, code])
        scores, states, weights = ensemble.decode(previous, states, memory, lengths)
        made = [member.decode(previous, own[1], own[0], lengths) for member, own in zip(members, begun, strict=True)]
        begun = [(own[0], after) for own, (_, after, _) in zip(begun, made, strict=True)]
        assert weights is not None
        assert torch.equal(scores, (made[0][0] + made[1][0]) / 2)
        assert torch.equal(weights, (made[0][2] + made[1][2]) / 2)  # type: ignore[operator]


def test_a_source_without_lengths_is_encoded_too() -> None:
    members = [Captioner(4, 2, 3, 5, shape=(1, 8, 8), most=16.0).eval() for _ in range(2)]
    ensemble = joined(members)
    memory, states = ensemble.encode(torch.rand(3, 8, 8))
    scores, after, weights = ensemble.decode(torch.zeros(3, dtype=torch.int64), states, memory)
    assert (memory, weights, len(after)) == ((), None, 2)
    assert scores.shape == (3, 4)


class Halving(nn.Module):
    """Forecasts what it read last times a factor, again and again; its memory is the last step."""

    state_names = ("last", "memory", "count")
    decoder_begins = {"value": "last"}  # noqa: RUF012 - as the exporter has it
    decoder_memory = {"attended": "memory"}  # noqa: RUF012
    decoder_lengths = "count"

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return torch.zeros(batch_size, 1), torch.zeros(batch_size, 1, 1), torch.zeros(batch_size, dtype=torch.int64)

    def forward(self, x: Tensor, _last: Tensor, _memory: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        return self.factor * x, x[:, -1], x[:, -1:], count + x.shape[1]

    def decoder_start(self, states: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        return states[:1], states[1:2], states[2]

    def decode(
        self, _previous: None, states: tuple[Tensor, ...], memory: tuple[Tensor, ...], lengths: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        value = self.factor * states[0]
        return value, (value,), memory[0][:, :, 0] * 0 + lengths[:, None]


def test_each_member_feeds_its_own_forecast_back() -> None:
    ensemble = ForecastingEnsemble([Halving(0.5), Halving(0.25)])
    assert type(joined(list(ensemble.members))) is ForecastingEnsemble
    assert ensemble.decoder_begins == {"value_member_0": "last_member_0", "value_member_1": "last_member_1"}
    assert ensemble.decoder_memory == {"attended_member_0": "memory_member_0", "attended_member_1": "memory_member_1"}
    assert ensemble.decoder_lengths == "count_member_0"
    y, *states = ensemble(torch.tensor([[[8.0], [16.0]]]), *ensemble.initial_state(1))
    assert y.flatten().tolist() == [3.0, 6.0]
    carried, memory, lengths = ensemble.decoder_start(tuple(states))
    found = []
    for _ in range(2):
        value, carried, _ = ensemble.decode(None, carried, memory, lengths)
        found.append(value.item())
    # (8 + 4) / 2, then (4 + 1) / 2.
    assert found == [6.0, 2.5]
