from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ostinato.models.data.series import Floats, TrainingStatistics
from ostinato.models.errors import RecipeError
from ostinato.models.networks.features import Features, GivenColumns, Target
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import (
    InputEncoder,
    StaticForecaster,
    build_forecaster,
    fill_and_count_on,
    fill_last_seen,
)

# Two amounts and a code of three words.
FEATURES = Features(
    names=("level", "flow", "wind"),
    num_codes=(0, 0, 3),
    statistics=TrainingStatistics(
        mean=(10.0, 100.0, 0.6),
        std=(2.0, 50.0, 0.7),
        minimum=(5.0, 0.0, 0.0),
        maximum=(15.0, 300.0, 2.0),
        missing_fraction=(0.1, 0.0, 0.0),
    ),
    targets=(Target("level", 0, 10.0, 0.5),),
)
NAN = float("nan")


def fill_plainly(x: Floats, last_seen: Floats) -> Floats:
    """The reference: step by step, in plain Python."""
    filled = np.empty_like(x)
    for row in range(x.shape[0]):
        for feature in range(x.shape[2]):
            last = last_seen[row, feature]
            for step in range(x.shape[1]):
                value = x[row, step, feature]
                last = last if np.isnan(value) else value
                filled[row, step, feature] = last
    return filled


def draw_with_holes(seed: int, batch_size: int, num_steps: int, hole_fraction: float) -> Floats:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((batch_size, num_steps, 3)).astype(np.float32)
    x[generator.random(x.shape) < hole_fraction] = np.nan
    return x


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch_size=st.integers(1, 4),
    num_steps=st.integers(1, 20),
    hole_fraction=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
def test_filling_equals_a_plain_reference(seed: int, batch_size: int, num_steps: int, hole_fraction: float) -> None:
    x = draw_with_holes(seed, batch_size, num_steps, hole_fraction)
    before = np.random.default_rng(seed).standard_normal((batch_size, 3)).astype(np.float32)
    filled, seen = fill_last_seen(torch.from_numpy(x), torch.from_numpy(before))
    np.testing.assert_array_equal(filled.numpy(), fill_plainly(x, before))
    np.testing.assert_array_equal(seen.numpy(), ~np.isnan(x))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 29), max_size=6))
def test_filling_is_the_same_to_the_bit_however_the_steps_are_cut(seed: int, cuts: set[int]) -> None:
    x = torch.from_numpy(draw_with_holes(seed, 2, 30, 0.6))
    last = torch.zeros(2, 3)
    whole, _ = fill_last_seen(x, last)
    starts = [0, *sorted(cuts)]
    parts = []
    for start, end in zip(starts, [*starts[1:], 30], strict=True):
        filled, _ = fill_last_seen(x[:, start:end], last)
        last = filled[:, -1]
        parts.append(filled)
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_infinity_is_a_value_and_not_a_hole() -> None:
    filled, seen = fill_last_seen(torch.tensor([[[float("inf")], [NAN]]]), torch.zeros(1, 1))
    assert filled.flatten().tolist() == [float("inf"), float("inf")]
    assert seen.flatten().tolist() == [True, False]


def test_the_encoder_normalises_amounts_and_opens_codes() -> None:
    encoder = InputEncoder(FEATURES)
    encoded = encoder(torch.tensor([[[14.0, 50.0, 2.0]]]), torch.tensor([[[True, False, True]]]))
    # (14 - 10) / 2, (50 - 100) / 50, code 2 of 3, what was seen.
    assert encoded.flatten().tolist() == [2.0, -1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert encoder.encoded_size == 8


def test_the_encoder_bounds_outliers_and_takes_unknown_codes_for_none() -> None:
    encoded = InputEncoder(FEATURES)(torch.tensor([[[1e30, -1e30, 7.0]]]), torch.ones(1, 1, 3, dtype=torch.bool))
    assert encoded.flatten().tolist() == [5.0, -5.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_a_constant_feature_does_not_divide_by_zero() -> None:
    constant = TrainingStatistics((1.0,), (0.0,), (1.0,), (1.0,), (0.0,))
    encoder = InputEncoder(Features(("level",), (0,), constant))
    assert encoder(torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)).flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_untrained_network_forecasts_the_last_seen_target(cell: str) -> None:
    network = build_forecaster(FEATURES, LayersRecipe.model_validate({"cell": cell, "hidden_size": 4})).eval()
    x = torch.tensor([[[NAN, 1.0, 0.0], [12.5, 1.0, 0.0], [NAN, 1.0, 0.0]]])
    forecast, *_ = network(x, *network.initial_state(1))
    # 10 is the training mean, what stands for a target that was never seen.
    assert forecast.flatten().tolist() == [10.0, 12.5, 12.5]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_chunks_with_the_state_carried_answer_what_the_whole_does(cell: str, num_layers: int) -> None:
    recipe = LayersRecipe.model_validate(
        {"cell": cell, "hidden_size": 5, "num_layers": num_layers, "dropout": 0.5 if num_layers > 1 else 0.0}
    )
    torch.manual_seed(0)
    network = build_forecaster(FEATURES, recipe).eval()
    torch.nn.init.normal_(network.head.weight)
    x = torch.from_numpy(draw_with_holes(0, 2, 17, 0.3))
    with torch.no_grad():
        whole, *after_whole = network(x, *network.initial_state(2))
        first, *state = network(x[:, :6], *network.initial_state(2))
        second, *state = network(x[:, 6:], *state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    for part, part_of_whole in zip(state, after_whole, strict=True):
        torch.testing.assert_close(part, part_of_whole)


def test_layers_hear_the_interval_where_the_encoder_puts_it() -> None:
    """A code before it takes no place among the amounts."""
    features = replace(FEATURES, names=("level", "wind", "gap"), num_codes=(0, 3, 0))
    network = build_forecaster(features, LayersRecipe(cell="cfc", hidden_size=4, interval="gap"))
    assert network.layers.interval_place == 1
    with pytest.raises(RecipeError, match="'wind' is no feature that is an amount: level, gap"):
        build_forecaster(features, LayersRecipe(cell="cfc", interval="wind"))


def test_states_are_the_last_seen_row_and_one_hidden_row_a_layer() -> None:
    network = build_forecaster(FEATURES, LayersRecipe(cell="lstm", hidden_size=5, num_layers=2))
    shapes = [tuple(state.shape) for state in network.initial_state(7)]
    assert shapes == [(7, 3), (2, 7, 5), (2, 7, 5)]


def test_dropout_stands_between_layers_only() -> None:
    assert answers_alike(build_forecaster(FEATURES, LayersRecipe(cell="gru", hidden_size=5, num_layers=1, dropout=0.5)))
    assert not answers_alike(
        build_forecaster(FEATURES, LayersRecipe(cell="gru", hidden_size=5, num_layers=2, dropout=0.5))
    )


def answers_alike(network: torch.nn.Module) -> bool:
    """Whether two runs in training mode, where dropout works, agree."""
    network.train()
    torch.nn.init.ones_(network.head.weight)  # type: ignore[union-attr, arg-type]
    x = torch.ones(4, 3, 3)
    runs: list[Tensor] = [network(x, *network.initial_state(4))[0] for _ in range(2)]  # type: ignore[operator]
    return torch.equal(runs[0], runs[1])


HOURS = Features(
    names=("level", "hour"),
    num_codes=(0, 24),
    statistics=TrainingStatistics((10.0, 11.0), (2.0, 7.0), (5.0, 0.0), (15.0, 23.0), (0.0, 0.0)),
    targets=(Target("level", 0, 10.0, 0.5), Target("flow", None, 100.0, 50.0)),
    static=GivenColumns(
        ("shop", "area"), (3, 0), TrainingStatistics((1.2, 40.0), (1.0, 9.0), (0.0,) * 2, (2.0, 90.0), ())
    ),
)


def random_network(forecasts: Forecasts, cell: str = "gru") -> StaticForecaster:
    torch.manual_seed(0)
    recipe = LayersRecipe.model_validate({"cell": cell, "hidden_size": 6})
    network = build_forecaster(HOURS, recipe, forecasts, ("hour",)).eval()
    torch.nn.init.normal_(network.head.weight)
    assert isinstance(network, StaticForecaster)
    return network


@pytest.mark.parametrize("forecasts", [Forecasts("gaussian"), Forecasts("pinball", (0.1, 0.5, 0.9), num_steps=3)])
def test_several_targets_with_statics_answer_in_chunks_what_the_whole_does(forecasts: Forecasts) -> None:
    network = random_network(forecasts)
    x = torch.tensor([[[10.0, 22.0], [NAN, NAN], [12.0, NAN], [11.0, NAN], [NAN, 2.0]]])
    static = torch.tensor([[2.0, NAN]])
    with torch.no_grad():
        whole, *_ = network(x, static, *network.initial_state(1))
        states = network.initial_state(1)
        parts = []
        for step in range(5):
            y, *after = network(x[:, step : step + 1], static, *states)
            parts.append(y)
            states = tuple(after)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    assert whole.shape == (1, 5, len(forecasts.names(("level", "flow"))))


def test_an_hour_that_is_missing_is_the_next_one_and_counts_as_seen() -> None:
    network = random_network(Forecasts())
    static = torch.tensor([[0.0, 50.0]])
    told = torch.tensor([[[10.0, 22.0], [11.0, 23.0], [12.0, 0.0], [13.0, 1.0]]])
    left_out = told.clone()
    left_out[:, 1:, 1] = NAN
    with torch.no_grad():
        one, other = (network(x, static, *network.initial_state(1)) for x in (told, left_out))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("hour", [3e38, 1e9, -3.0, 24.0, float("inf"), float("-inf")])
def test_a_number_that_is_no_hour_counts_as_missing(hour: float) -> None:
    network = random_network(Forecasts())
    static = torch.tensor([[0.0, 50.0]])
    given = torch.tensor([[[10.0, 22.0], [11.0, hour], [12.0, NAN], [13.0, NAN]]])
    left_out = torch.tensor([[[10.0, 22.0], [11.0, NAN], [12.0, NAN], [13.0, NAN]]])
    with torch.no_grad():
        one, other = (network(x, static, *network.initial_state(1)) for x in (given, left_out))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("hour", [3e38, 5.3, 1.0 - 5.0 * 2.0**-24, -1e-9, float("inf")])
def test_counting_on_is_the_same_to_the_bit_however_the_steps_are_cut(hour: float) -> None:
    x = torch.tensor([[[hour], [NAN], [NAN], [NAN], [NAN]]])
    lengths, last = torch.tensor([24.0]), torch.tensor([[7.0]])
    whole, _ = fill_and_count_on(x, last, lengths)
    parts = []
    for step in torch.split(x, 1, dim=1):
        filled, _ = fill_and_count_on(step, last, lengths)
        last = filled[:, -1]
        parts.append(filled)
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert torch.equal(whole, torch.round(whole))


def test_what_is_known_of_a_series_changes_its_forecast_and_what_is_missing_is_the_usual() -> None:
    network = random_network(Forecasts())
    x = torch.tensor([[[10.0, 22.0]]])
    with torch.no_grad():
        shops = [network(x, torch.tensor([[shop, 50.0]]), *network.initial_state(1))[0] for shop in (0.0, 1.0)]
    assert not torch.equal(shops[0], shops[1])


def test_untrained_a_target_that_is_no_feature_is_forecast_at_its_mean() -> None:
    network = build_forecaster(HOURS, LayersRecipe(cell="rnn", hidden_size=3))
    y, *_ = network(torch.tensor([[[7.0, 1.0]]]), torch.zeros(1, 2), *network.initial_state(1))
    assert y.flatten().tolist() == [7.0, 100.0]
