from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ostinato.models.data.series import Dataset, Floats, TrainingStatistics
from ostinato.models.data.series_recipe import NetworkRecipe
from ostinato.models.networks.recurrent import Features, InputEncoder, build_forecaster, fill_last_seen

# Two amounts and a code of three words.
FEATURES = Features(
    names=("level", "flow", "wind"),
    num_codes=(0, 0, 3),
    target_index=0,
    statistics=TrainingStatistics(
        mean=(10.0, 100.0, 0.6),
        std=(2.0, 50.0, 0.7),
        minimum=(5.0, 0.0, 0.0),
        maximum=(15.0, 300.0, 2.0),
        missing_fraction=(0.1, 0.0, 0.0),
    ),
    change_std=0.5,
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
    encoder = InputEncoder(Features(("level",), (0,), 0, constant, 1.0))
    assert encoder(torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)).flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_untrained_network_forecasts_the_last_seen_target(cell: str) -> None:
    network = build_forecaster(FEATURES, NetworkRecipe.model_validate({"cell": cell, "hidden_size": 4})).eval()
    x = torch.tensor([[[NAN, 1.0, 0.0], [12.5, 1.0, 0.0], [NAN, 1.0, 0.0]]])
    forecast, *_ = network(x, *network.initial_state(1))
    # 10 is the training mean, what stands for a target that was never seen.
    assert forecast.flatten().tolist() == [10.0, 12.5, 12.5]


def test_what_stands_for_a_code_never_seen_is_a_code() -> None:
    assert FEATURES.initial_values() == [10.0, 100.0, 1.0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_chunks_with_the_state_carried_answer_what_the_whole_does(cell: str, num_layers: int) -> None:
    recipe = NetworkRecipe.model_validate(
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


def test_states_are_the_last_seen_row_and_one_hidden_row_a_layer() -> None:
    network = build_forecaster(FEATURES, NetworkRecipe(cell="lstm", hidden_size=5, num_layers=2))
    shapes = [tuple(state.shape) for state in network.initial_state(7)]
    assert shapes == [(7, 3), (2, 7, 5), (2, 7, 5)]


def test_dropout_stands_between_layers_only() -> None:
    one = build_forecaster(FEATURES, NetworkRecipe(cell="gru", hidden_size=5, num_layers=1, dropout=0.5))
    two = build_forecaster(FEATURES, NetworkRecipe(cell="gru", hidden_size=5, num_layers=2, dropout=0.5))
    assert (one.layers.dropout, two.layers.dropout) == (0.0, 0.5)
    assert answers_alike(one)
    assert not answers_alike(two)


def answers_alike(network: torch.nn.Module) -> bool:
    """Whether two runs in training mode, where dropout works, agree."""
    network.train()
    torch.nn.init.ones_(network.head.weight)  # type: ignore[union-attr, arg-type]
    x = torch.ones(4, 3, 3)
    runs: list[Tensor] = [network(x, *network.initial_state(4))[0] for _ in range(2)]  # type: ignore[operator]
    return torch.equal(runs[0], runs[1])


def unit_of(target: list[float]) -> float:
    """``change_std`` of a training part."""
    dataset = Dataset(
        features=("level",),
        target="level",
        values=np.array(target, np.float32)[:, None],
        times=np.arange(len(target)).astype("datetime64[s]"),
        validation_start=len(target),
        test_start=len(target),
        categories={},
        statistics=FEATURES.statistics,
        sha256="",
    )
    return Features.of(dataset).change_std


def test_the_unit_of_changes_is_their_spread_and_where_they_are_one_their_size() -> None:
    # By 4 up and by 2 down: 3 from the mean each.
    assert unit_of([0.0, 4.0, 2.0, 6.0, 4.0]) == pytest.approx(3.0)
    assert unit_of([0.1 * step for step in range(50)]) == pytest.approx(0.1, rel=1e-3)
    assert unit_of([1.0, NAN, 2.0]) == unit_of([1.0, 1.0]) == 1.0
