from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch

from ostinato.models.data.series import TrainingStatistics
from ostinato.models.networks.boosted import BoostedForecaster, BoostedTrees, TreeForecaster
from ostinato.models.networks.ensemble import first_of, joined
from ostinato.models.networks.features import Features, Target
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.networks.recurrent import build_forecaster

STATISTICS = TrainingStatistics((5.0, 1.0), (2.0, 1.0), (0.0, 0.0), (9.0, 2.0), (0.0, 0.0))
FEATURES = Features(("level", "code"), (0, 3), STATISTICS, (Target("level", 0, 5.0, 1.0),))


def test_a_tree_is_followed_to_the_side_on_which_each_number_lies() -> None:
    trees = BoostedTrees(num_trees=(1, 2), depth=2)
    # The first output: x_1 <= 5, then x_0 <= 1 or x_0 <= 2. The second has two
    # trees, of branches that end at once: always their leaves.
    trees.feature[0] = torch.tensor([1, 0, 0])
    trees.threshold[0] = torch.tensor([5.0, 1.0, 2.0])
    trees.leaf[0] = torch.tensor([10.0, 20.0, 30.0, 40.0])
    trees.leaf[1] = torch.tensor([7.0, -1.0, -1.0, -1.0])
    trees.leaf[2] = torch.tensor([0.5, -1.0, -1.0, -1.0])
    rows = torch.tensor([[1.0, 5.0], [1.5, 5.0], [2.0, 6.0], [2.5, 6.0]])
    assert trees(rows).tolist() == [[10.0, 7.5], [20.0, 7.5], [30.0, 7.5], [40.0, 7.5]]


def test_rows_hold_lags_differences_the_step_and_changes_of_what_was_last_seen() -> None:
    forecaster = TreeForecaster(FEATURES, Forecasts(), num_lags=3, num_trees=(1,), depth=1)
    past = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [4.0, 2.0]]])
    rows, steps = forecaster.rows(torch.tensor([[[math.nan, 1.0], [9.0, math.nan]]]), past)
    assert steps[0, 3:].tolist() == [[4.0, 1.0], [9.0, 1.0]]
    # Lags 0 to 3, now less each of lags 1 to 3, the step, the level's changes since 1 and 3 steps before.
    assert rows[0, 0].tolist() == [4, 4, 2, 1, 0, 2, 3, 4, 1, 0, 3]
    assert rows[0, 1].tolist() == [9, 4, 4, 2, 5, 5, 7, 9, 1, 5, 7]


def test_codes_of_a_cycle_count_on_where_they_are_missing() -> None:
    forecaster = TreeForecaster(FEATURES, Forecasts(), num_lags=2, num_trees=(1,), depth=1, cycles=("code",))
    told = torch.tensor([[[7.0, 1.0], [8.0, 2.0], [9.0, 0.0], [9.5, 1.0]]])
    hidden = told.clone()
    hidden[0, 1:, 1] = math.nan
    begun = forecaster.initial_state(1)
    torch.testing.assert_close(forecaster.rows(hidden, *begun), forecaster.rows(told, *begun), rtol=0, atol=0)
    # In a session, too: the last step is all that the next one counts on from.
    _, past = forecaster(told[:, :2], *begun)
    after = forecaster.rows(hidden[:, 2:], past)[0]
    torch.testing.assert_close(after, forecaster.rows(told, *begun)[0][:, 2:], rtol=0, atol=0)


def network_with_trees(forecasts: Forecasts, weight: float) -> BoostedForecaster:
    torch.manual_seed(0)
    members = [build_forecaster(FEATURES, LayersRecipe(cell="gru", hidden_size=4), forecasts) for _ in range(2)]
    # Of each number some other number of trees.
    num_trees = [2 + place % 3 for place in range(forecasts.num_steps * len(forecasts.parts))]
    trees = TreeForecaster(FEATURES, forecasts, num_lags=3, num_trees=num_trees, depth=3)
    num_columns = trees.rows(torch.zeros(1, 1, 2), *trees.initial_state(1))[0].shape[-1]
    trees.trees.feature.random_(num_columns)
    trees.trees.threshold.normal_()
    trees.trees.leaf.copy_(torch.randint(-64, 64, trees.trees.leaf.shape) / 32)
    both = BoostedForecaster(joined(members), trees)
    both.weight.fill_(weight)
    return both.eval()


def test_the_answer_is_the_weighted_mean_and_the_state_that_of_both() -> None:
    both = network_with_trees(Forecasts(), 0.25)
    network, trees = both.members
    assert both.state_names == ("last_seen_member_0", "h_member_0", "last_seen_member_1", "h_member_1", "tree_past")
    x = torch.randn(2, 7, 2)
    y, *after = both(x, *both.initial_state(2))
    own, *_ = network(x, *network.initial_state(2))  # type: ignore[operator]
    theirs, past = trees(x, *trees.initial_state(2))  # type: ignore[operator]
    np.testing.assert_array_equal(y.detach(), (0.25 * own + 0.75 * theirs[:, :, 0, :, 0]).detach())
    assert torch.equal(after[-1], past)
    assert torch.equal(past[:, -1], x[:, -1])
    assert type(first_of(both)).__name__ == "Forecaster"


@pytest.mark.parametrize("cell", get_args(CellName))
def test_no_cell_has_a_state_of_the_name_of_the_trees(cell: CellName) -> None:
    network = build_forecaster(FEATURES, LayersRecipe(cell=cell, hidden_size=8))
    names = BoostedForecaster(network, TreeForecaster(FEATURES, Forecasts(), 1, (1,), 1)).state_names
    assert len(set(names)) == len(names)


def test_pieces_of_a_sequence_are_answered_as_the_whole_by_the_trees() -> None:
    both = network_with_trees(Forecasts(), 0.0)
    x = torch.randn(1, 9, 2)
    x[0, 3:6, 0] = math.nan
    whole, *_ = both(x, *both.initial_state(1))
    states, made = both.initial_state(1), []
    for piece in (x[:, :2], x[:, 2:3], x[:, 3:]):
        y, *after = both(piece, *states)
        states = tuple(after)
        made.append(y)
    assert torch.equal(torch.cat(made, dim=1), whole)


def test_quantiles_of_trees_that_cross_are_put_in_order_and_nothing_falls_below_the_least() -> None:
    both = network_with_trees(Forecasts("pinball", (0.1, 0.5, 0.9), num_steps=2, least=-1.0), 0.1)
    y, *_ = both(torch.randn(3, 8, 2), *both.initial_state(3))
    quantiles = y.reshape(3, 8, 2, 3)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert (quantiles >= -1.0).all()
