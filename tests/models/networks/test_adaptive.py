from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.models.data.series import Floats, TrainingStatistics
from ostinato.models.networks.adaptive import AdaptiveForecaster
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.features import Features, Target
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import build_forecaster

STATISTICS = TrainingStatistics((5.0, 1.0), (2.0, 1.0), (0.0, 0.0), (9.0, 2.0), (0.0, 0.0))
FEATURES = Features(("level", "code"), (0, 3), STATISTICS, (Target("level", 0, 5.0, 1.0),))
RATE = 0.25


class Fixed(nn.Module):
    """After every step it forecasts 8, 10 and 14 for each of the next two; its state counts the steps."""

    state_names = ("steps",)
    forecasts = Forecasts("pinball", (0.1, 0.5, 0.9), num_steps=2, least=0.0)
    places = (0,)

    def initial_state(self, batch_size: int) -> tuple[Tensor]:
        return (torch.zeros(batch_size, 1),)

    def forward(self, x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([8.0, 10.0, 14.0] * 2).expand(*x.shape[:2], 6), steps + x.shape[1]


def factors_after(*values: float) -> list[float]:
    """The factor after each value, as the answers tell it: the upper quantile is 10 + 4 f."""
    network = AdaptiveForecaster(Fixed(), RATE)
    x = torch.tensor(values).reshape(1, -1, 1)
    y, *_ = network(x, *network.initial_state(1))
    assert torch.equal(y[0, :, 1], torch.full((len(values),), 10.0))
    torch.testing.assert_close(y[0, :, 0], 10.0 - (y[0, :, 2] - 10.0) / 2)
    return [float(upper - 10.0) / 4 for upper in y[0, :, 2]]


def test_the_factor_grows_by_misses_and_shrinks_by_what_is_held() -> None:
    # Nothing was forecast of the first; of the second one step ahead, of all later ones one and two steps ahead. Of
    # two, 0.2 may miss: a miss of both is 0.25 (2 - 0.4) / 2 = 0.2, and two that hold are 0.05.
    assert factors_after(99.0, 10.0, 10.0, 15.0) == pytest.approx([1.0, 0.975, 0.925, 1.125])


def test_a_value_is_missed_where_it_lies_outside_of_what_is_answered_now() -> None:
    # 14 is on the border and held. Then f = 0.975, the border is 13.9, and 14 is missed.
    assert factors_after(10.0, 14.0, 14.0) == pytest.approx([1.0, 0.975, 1.175])
    # 8 is the lower border; 7.9 is beyond it.
    assert factors_after(10.0, 8.0) == pytest.approx([1.0, 0.975])
    assert factors_after(10.0, 7.9) == pytest.approx([1.0, 1.1])


def test_what_is_missing_moves_nothing() -> None:
    assert factors_after(10.0, math.nan, math.nan, 99.0) == pytest.approx([1.0, 1.0, 1.0, 1.2])


def test_the_factor_stays_within_its_bounds_and_answers_above_the_least() -> None:
    assert factors_after(*[99.0] * 9)[-1] == 2.0
    assert factors_after(*[10.0] * 30)[-1] == 0.5
    bounded = Fixed()
    bounded.forecasts = replace(Fixed.forecasts, least=7.0)
    network = AdaptiveForecaster(bounded, RATE)
    *own, _ = network.initial_state(1)
    y, *_ = network(torch.zeros(1, 1, 1), *own, torch.full((1, 1), 2.0))
    assert y[0, 0].tolist() == [7.0, 10.0, 18.0] * 2


def factors_by_hand(answers: Floats, x: Floats, rate: float, allowed: float) -> Floats:
    """The equations, number by number: of a network's own ``answers [T, H, K, P]`` the factors ``[T, K]``."""
    num_ahead, num_targets, point = answers.shape[1], answers.shape[2], answers.shape[3] // 2
    factors = np.ones((len(x), num_targets), np.float32)
    for target in range(num_targets):
        factor = np.float32(1.0)
        for step, value in enumerate(x[:, target]):
            made = [answers[step - ahead, ahead - 1, target] for ahead in range(1, min(num_ahead, step) + 1)]
            if not np.isnan(value):
                missed = sum(
                    bool(
                        value - one[point] < -factor * (one[point] - one[0])
                        or value - one[point] > factor * (one[-1] - one[point])
                    )
                    for one in made
                )
                excess = np.float32(missed) - np.float32(allowed) * np.float32(len(made))
                factor = np.clip(factor + np.float32(rate / num_ahead) * excess, np.float32(0.5), np.float32(2.0))
            factors[step, target] = factor
    return factors


def test_each_target_is_judged_by_what_was_forecast_of_it_as_the_equations_say() -> None:
    torch.manual_seed(0)
    quantiles = (0.05, 0.3, 0.5, 0.7, 0.95)
    statistics = TrainingStatistics((5.0, 1.0), (2.0, 1.0), (0.0, 0.0), (9.0, 2.0), (0.0, 0.0))
    features = Features(
        ("level", "rain"), (0, 0), statistics, (Target("rain", 1, 1.0, 1.0), Target("level", 0, 5.0, 2.0))
    )
    forecasts = Forecasts("pinball", quantiles, num_steps=3)
    learned = build_forecaster(features, LayersRecipe(cell="gru", hidden_size=4), forecasts)
    nn.init.normal_(learned.head.weight)
    network = AdaptiveForecaster(learned, RATE)
    x = torch.tensor([5.0, 1.0]) + torch.tensor([1.5, 0.5]) * torch.randn(1, 40, 2)
    x[0, 0] = x[0, 7:12, 0] = x[0, 20, 1] = math.nan
    with torch.no_grad():
        own, *_ = learned(x, *learned.initial_state(1))
        y, *_, factor = network(x, *network.initial_state(1))
    answers, widened = (forecasts.apart(each, 2)[0].numpy() for each in (own, y))
    factors = factors_by_hand(answers, x[0, :, [1, 0]].numpy(), RATE, 1.0 - (quantiles[-1] - quantiles[0]))
    median = answers[..., 2:3]
    np.testing.assert_array_equal(widened, median + factors[:, None, :, None] * (answers - median))
    np.testing.assert_array_equal(factor[0].numpy(), factors[-1])
    assert len(np.unique(factors[:, 0])) > 9 < len(np.unique(factors[:, 1]))
    assert (np.diff(widened, axis=-1) >= 0.0).all()


class Scaled(Fixed):
    """It forecasts the value itself and parts of it, NaN counted as 5."""

    def forward(self, x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([0.8, 1.0, 1.4] * 2) * torch.nan_to_num(x, nan=5.0), steps + x.shape[1]


def test_pieces_of_a_sequence_are_answered_as_the_whole_to_the_bit() -> None:
    network = AdaptiveForecaster(Scaled(), RATE)
    x = 5.0 + 3.0 * torch.randn(2, 11, 1, generator=torch.Generator().manual_seed(0))
    x[0, 3:6] = math.nan
    whole, *last = network(x, *network.initial_state(2))
    states, made = network.initial_state(2), []
    for piece in (x[:, :1], x[:, 1:5], x[:, 5:6], x[:, 6:]):
        y, *after = network(piece, *states)
        states = tuple(after)
        made.append(y)
    assert torch.equal(torch.cat(made, dim=1), whole)
    assert all(map(torch.equal, states, last))
    alone, *_ = network(x[1:], *network.initial_state(1))
    assert torch.equal(alone, whole[1:])
    assert len(set(last[-1].flatten().tolist())) == 2


def test_a_network_keeps_its_states_and_medians_and_all_quantiles_are_widened() -> None:
    torch.manual_seed(0)
    forecasts = Forecasts("pinball", (0.1, 0.3, 0.5, 0.7, 0.9), num_steps=3)
    learned = build_forecaster(FEATURES, LayersRecipe(cell="gru", hidden_size=4), forecasts)
    nn.init.normal_(learned.head.weight)
    network = AdaptiveForecaster(learned, RATE)
    assert network.state_names == ("last_seen", "h", "pending", "factor")
    innermost: object = first_of(network)
    assert innermost is learned
    x = torch.randn(2, 11, 2)
    own, *_ = learned(x, *learned.initial_state(2))
    y, *_ = network(x, *network.initial_state(2))
    before, after = (answers.unflatten(-1, (3, 5)).detach() for answers in (own, y))
    assert torch.equal(after[..., 2], before[..., 2])
    ratio = (after - after[..., 2:3]) / (before - before[..., 2:3])
    factors = ratio[:, :, :1, :1].expand(2, 11, 3, 2)
    torch.testing.assert_close(ratio[..., :2], factors, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ratio[..., 3:], factors, rtol=1e-3, atol=1e-3)
    assert not torch.equal(y, own)
