from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from ostinato.models.networks import recurrent
from ostinato.models.networks.features import GivenColumns
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork, Recipe
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import Forecaster, build_forecaster
from ostinato.models.networks.steps_ahead import StepsAhead
from tests.models.networks.test_recurrent import FEATURES, HOURS, NAN

NUM_STEPS = 4
QUANTILES = Forecasts("pinball", (0.1, 0.5, 0.9), num_steps=NUM_STEPS)


def random_steps(cycle_lengths: Tensor) -> StepsAhead:
    torch.manual_seed(1)
    return StepsAhead(5, NUM_STEPS, 0.0, cycle_lengths).eval()


def told(steps: StepsAhead, hidden: NDArray[np.float64], known: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The reference: the equations, a step ahead at a time, for one row and one step."""
    weights = {name: weight.detach().double().numpy() for name, weight in steps.layers.named_parameters()}
    made = []
    for ahead, codes in enumerate(known, start=1):
        x = np.concatenate([[ahead / len(known)], codes])
        given = weights["weight_ih_l0"] @ x + weights["bias_ih_l0"]
        carried = weights["weight_hh_l0"] @ hidden + weights["bias_hh_l0"]
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(given, 3), np.split(carried, 3)
        r, z = (1.0 / (1.0 + np.exp(-gate)) for gate in (r_x + r_h, z_x + z_h))
        hidden = (1.0 - z) * np.tanh(n_x + r * n_h) + z * hidden
        made.append(hidden)
    return np.stack(made)


def test_it_is_its_equations_and_the_cycle_goes_on_past_its_end() -> None:
    steps = random_steps(torch.tensor([0.0, 24.0]))
    hidden = torch.randn(2, 3, 5)
    filled = torch.tensor([[[1.0, 22.0], [2.0, 0.0], [3.0, 9.0]], [[0.0, 23.0], [5.0, 1.0], [9.0, 20.0]]])
    made = steps(hidden, filled).detach()
    assert made.shape == (2, 3, NUM_STEPS, 5)
    for row in range(2):
        for step in range(3):
            hours = [(int(filled[row, step, 1]) + ahead) % 24 for ahead in range(1, NUM_STEPS + 1)]
            by_hand = told(steps, hidden[row, step].double().numpy(), [np.eye(24)[hour] for hour in hours])
            np.testing.assert_allclose(made[row, step], by_hand, atol=1e-5)


def test_without_cycles_it_is_told_how_far_ahead_it_is() -> None:
    steps = random_steps(torch.zeros(2))
    hidden = torch.randn(1, 1, 5)
    made = steps(hidden, torch.zeros(1, 1, 2)).detach()
    by_hand = told(steps, hidden[0, 0].double().numpy(), [np.zeros(0)] * NUM_STEPS)
    np.testing.assert_allclose(made[0, 0], by_hand, atol=1e-5)


def with_recurrent_head(static: bool) -> Forecaster:
    torch.manual_seed(2)
    features = HOURS if static else replace(HOURS, static=GivenColumns((), (), HOURS.static.statistics))
    recipe = LayersRecipe.model_validate({"cell": "gru", "hidden_size": 5})
    network = build_forecaster(features, recipe, QUANTILES, ("hour",), "recurrent").eval()
    torch.nn.init.normal_(network.head.weight)
    return network


@pytest.mark.parametrize("static", [True, False])
def test_several_targets_answer_in_chunks_what_the_whole_does(static: bool) -> None:
    network = with_recurrent_head(static)
    of_series = (torch.tensor([[2.0, NAN]]),) if static else ()
    x = torch.tensor([[[10.0, 22.0], [NAN, NAN], [12.0, NAN], [11.0, NAN], [NAN, 2.0]]])
    with torch.no_grad():
        whole, *_ = network(x, *of_series, *network.initial_state(1))
        states, parts = network.initial_state(1), []
        for chunk in torch.split(x, [2, 1, 2], dim=1):
            y, *after = network(chunk, *of_series, *states)
            parts.append(y)
            states = tuple(after)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    assert whole.shape == (1, 5, len(QUANTILES.names(("level", "flow"))))


def test_of_long_series_few_rows_go_through_their_steps_ahead_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = with_recurrent_head(static=False)
    x = torch.randn(3, 20, 2)
    whole, *_ = network(x, *network.initial_state(3))
    assert network.steps_ahead is not None
    rows: list[int] = []
    network.steps_ahead.layers.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    monkeypatch.setattr(recurrent, "_ROWS_AHEAD", 24)
    with torch.no_grad():
        in_parts, *_ = network(x, *network.initial_state(3))
    assert rows == [24, 24, 12]
    torch.testing.assert_close(in_parts, whole)


def test_untrained_it_is_persistence() -> None:
    recipe = LayersRecipe(cell="gru", hidden_size=4)
    network = build_forecaster(FEATURES, recipe, Forecasts(num_steps=NUM_STEPS), head="recurrent").eval()
    y, *_ = network(torch.tensor([[[7.0, 1.0, 0.0], [NAN, 1.0, 0.0]]]), *network.initial_state(1))
    assert y.flatten().tolist() == [7.0] * 2 * NUM_STEPS


@pytest.mark.parametrize(
    ("network", "cause"),
    [
        ({"forecast": "fed_back"}, "a recurrent one is of forecast = 'direct'"),
        ({"forecast": "attention"}, "a recurrent one is of forecast = 'direct'"),
    ],
)
def test_a_head_that_cannot_be_is_refused(network: dict[str, str], cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        ForecasterNetwork.model_validate({"cell": "gru", "head": "recurrent"} | network)


@pytest.mark.parametrize("loss", ["absolute", "squared", "pinball"])
def test_of_echo_states_it_is_linear_where_the_weights_are_found_without_a_gradient(loss: str) -> None:
    content = {
        "name": "own",
        "data": {"file": "own.csv", "target": "level", "features": ["level"], "validation_from": 50, "test_from": 70},
        "network": {"cell": "echo_state", "forecast": "direct", "head": "recurrent"},
        "training": {"loss": loss, "horizon_steps": 2},
    }
    if loss == "pinball":
        assert Recipe.model_validate(content).network.head == "recurrent"
        return
    with pytest.raises(ValidationError, match=f"of echo_state and the loss '{loss}' it is linear"):
        Recipe.model_validate(content)
