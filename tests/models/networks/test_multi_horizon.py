from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from ostinato.models.data.series import TrainingStatistics
from ostinato.models.networks.features import Features, Target
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork
from ostinato.models.networks.forecasts import quantiles_around, squareplus
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon, forecast, remember
from ostinato.models.networks.recurrent import States

NAN = float("nan")
CELLS: tuple[Literal["lstm", "gru"], ...] = ("lstm", "gru")
CUTS = [(1,) * 20, (7, 1, 12), (20,), (3, 17)]
MEMORY_STEPS = 6
FEATURES = Features(
    names=("level", "wind", "hour"),
    num_codes=(0, 2, 4),
    statistics=TrainingStatistics((10.0, 0.4, 1.5), (4.0, 0.5, 1.1), (0.0,) * 3, (20.0, 1.0, 3.0), (0.1, 0.0, 0.0)),
    targets=(Target("level", 0, 10.0, 2.0),),
)


def untrained(cell: Literal["lstm", "gru"], least: float | None = None) -> AnyMultiHorizon:
    recipe = ForecasterNetwork(cell=cell, forecast="attention", hidden_size=8, memory_steps=MEMORY_STEPS, memory_size=5)
    torch.manual_seed(0)
    return build_multi_horizon(FEATURES, recipe, cycles=("hour",), least=least).eval()


def learned(cell: Literal["lstm", "gru"], least: float | None = None) -> AnyMultiHorizon:
    network = untrained(cell, least)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return network


def series(batch_size: int, num_steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    level = 10 + 4 * torch.randn(batch_size, num_steps, generator=generator)
    level[torch.rand(level.shape, generator=generator) < 0.2] = NAN
    wind = torch.randint(2, level.shape, generator=generator).float()
    hour = (torch.arange(num_steps) % 4).expand(level.shape).float()
    return torch.stack([level, wind, hour], dim=-1)


@torch.no_grad()
def read(network: AnyMultiHorizon, x: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, States]:
    states: States = network.initial_state(len(x))
    answers = []
    for chunk in torch.split(x, list(lengths), dim=1):
        y, *after = network(chunk, *states)
        states = tuple(after)
        answers.append(y)
    return torch.cat(answers, dim=1), states


def test_the_newest_are_remembered_first_and_the_oldest_forgotten() -> None:
    memory = torch.tensor([[[3.0], [2.0], [1.0]]])
    assert remember(memory, torch.tensor([[[4.0], [5.0]]])).flatten().tolist() == [5, 4, 3]
    assert remember(memory, torch.tensor([[[4.0], [5.0], [6.0], [7.0]]])).flatten().tolist() == [7, 6, 5]


@pytest.mark.parametrize("lengths", CUTS)
def test_the_memory_holds_the_last_steps_however_they_came(lengths: tuple[int, ...]) -> None:
    outputs = torch.randn(2, 20, 5)
    memory = torch.zeros(2, MEMORY_STEPS, 5)
    for chunk in torch.split(outputs, list(lengths), dim=1):
        memory = remember(memory, chunk)
    assert torch.equal(memory, outputs[:, -MEMORY_STEPS:].flip(1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", CUTS)
def test_a_session_in_chunks_forecasts_what_the_whole_sequence_does(
    cell: Literal["lstm", "gru"], lengths: tuple[int, ...]
) -> None:
    network, x = learned(cell), series(3, 20)
    whole, states = read(network, x, (20,))
    chunked, chunked_states = read(network, x, lengths)
    # The input's own numbers are only moved, so they are equal; torch rounds a product of another size otherwise.
    assert torch.equal(states[0], chunked_states[0])
    assert torch.equal(states[-1], chunked_states[-1])
    assert torch.allclose(whole, chunked, rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(forecast(network, states, 9), forecast(network, chunked_states, 9), rtol=1e-5, atol=1e-4)


def test_how_much_is_remembered_is_counted_up_to_all_there_is_place_for() -> None:
    network = untrained("gru")
    for num_steps, wanted in ((1, 1), (5, 5), (6, 6), (20, 6)):
        _, states = read(network, series(2, num_steps), (num_steps,))
        assert states[-1].tolist() == [wanted, wanted]


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_places_not_filled_have_no_influence(cell: Literal["lstm", "gru"]) -> None:
    network = learned(cell)
    _, states = read(network, series(2, 4), (4,))
    *carried, memory, num_remembered = states
    spoilt = memory.clone()
    spoilt[:, 4:] = 1000.0
    assert torch.equal(forecast(network, states, 5), forecast(network, (*carried, spoilt, num_remembered), 5))


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_untrained_the_median_is_the_last_seen_value(cell: Literal["lstm", "gru"]) -> None:
    network = untrained(cell)
    x = series(2, 5)
    x[0, 3:, 0] = torch.tensor([17.5, NAN])
    x[1, 4, 0] = 3.25
    y, states = read(network, x, (5,))
    assert y[:, -1, 1].tolist() == [17.5, 3.25]
    assert forecast(network, states, 4)[..., 1].tolist() == [[17.5] * 4, [3.25] * 4]


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_quantiles_never_cross(cell: Literal["lstm", "gru"]) -> None:
    network = learned(cell)
    y, states = read(network, series(8, 20), (20,))
    for quantiles in (y, forecast(network, states, 12)):
        assert (quantiles.diff(dim=-1) > 0).all()


@torch.no_grad()
def test_nothing_is_forecast_below_what_the_target_cannot_fall_below() -> None:
    network = learned("gru", least=9.0)
    y, states = read(network, series(8, 20), (20,))
    for quantiles in (y, forecast(network, states, 12)):
        assert quantiles.min() == 9.0
        assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_without_a_correction_the_first_step_ahead_is_the_answer_to_the_last_step(cell: Literal["lstm", "gru"]) -> None:
    network = learned(cell)
    y, states = read(network, series(3, 20), (20,))
    corrected = forecast(network, states, 1)[:, 0]
    assert not torch.allclose(corrected, y[:, -1], atol=0.1)
    network.correction.weight.zero_()
    network.correction.bias.zero_()
    assert torch.allclose(forecast(network, states, 1)[:, 0], y[:, -1], rtol=1e-5, atol=1e-4)


def test_quantiles_lie_around_the_last_value_by_hand() -> None:
    # In units of 2 around 10: the median 10 + 2 x 1 = 12; squareplus(0) = 0.5 and squareplus(3) = 3.0811 beyond it.
    quantiles = quantiles_around(torch.tensor([10.0]), torch.tensor([0.0, 1.0, 3.0]), 2.0)
    assert quantiles.tolist() == pytest.approx([11.0, 12.0, 18.1623], abs=1e-4)


def test_squareplus_is_positive_and_nearly_the_positive_part() -> None:
    # (0 + sqrt(1)) / 2 = 0.5; (3 + sqrt(10)) / 2 = 3.0811; (-3 + sqrt(10)) / 2 = 0.0811.
    x = torch.tensor([0.0, 3.0, -3.0], requires_grad=True)
    y = squareplus(x)
    assert y.tolist() == pytest.approx([0.5, 3.0811, 0.0811], abs=1e-4)
    # Its slope is (1 + x / sqrt(x^2 + 1)) / 2, and a half at 0, where every head begins.
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.5, 0.9743, 0.0257], abs=1e-4)


@torch.no_grad()
def test_a_forecast_reads_its_own_median_and_moves_cycles_on() -> None:
    network = learned("gru")
    _, states = read(network, series(2, 20), (20,))
    last_seen, hidden, memory, num_remembered = states
    # The hours of the series are 0 1 2 3 0 1 ...: the 20th is 3, and 0 comes after it.
    values: States = (last_seen, hidden)
    for hour in (0.0, 1.0, 2.0, 3.0, 0.0):
        quantiles, values, _ = network.decode(None, values, (memory,), num_remembered)
        assert torch.equal(values[0][:, 0], quantiles[:, 1])
        assert torch.equal(values[0][:, 1], last_seen[:, 1])
        assert values[0][:, 2].tolist() == [hour, hour]


@torch.no_grad()
def test_attention_lies_on_what_is_remembered() -> None:
    network = learned("lstm")
    _, states = read(network, series(2, 4), (4,))
    last_seen, h, c, memory, num_remembered = states
    _, _, attention = network.decode(None, (last_seen, h, c), (memory,), num_remembered)
    assert attention.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert (attention[:, 4:] == 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_what_the_decoder_begins_with_are_states_of_the_session(cell: Literal["lstm", "gru"]) -> None:
    names = ("last_seen", "h", "c", "memory", "num_remembered") if cell == "lstm" else ("last_seen", "h", "memory")
    network = untrained(cell)
    assert {*network.decoder_begins.values(), *network.decoder_memory.values()} <= set(names)
    assert network.decoder_lengths == "num_remembered"
