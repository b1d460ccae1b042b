from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ostinato.models.data.series import Dataset, load_dataset
from ostinato.models.errors import DataError
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork, Recipe
from ostinato.models.networks.recurrent import Forecaster
from ostinato.models.rivals.forecasts import PERSISTENCE
from ostinato.models.rivals.rival import NETWORK
from ostinato.models.training.forecasting import run, training_stretches
from tests.training import judged, train

SMALL: dict[str, Any] = {"cell": "echo_state", "hidden_size": 30, "washout_steps": 20, "ridge": 1e-3}


def echoing(recipe: Recipe, loss: str = "squared", horizon_steps: int = 1, **network: Any) -> Recipe:
    training = recipe.training.model_copy(update={"loss": loss, "horizon_steps": horizon_steps})
    return recipe.model_copy(update={"network": ForecasterNetwork(**(SMALL | network)), "training": training})


@torch.no_grad()
def cost(network: Forecaster, dataset: Dataset, washout_steps: int, ridge: float) -> float:
    """What ridge regression makes least: squared errors in units of the target, and the squared weights, float64."""
    total = ridge * float(network.head.weight.double().square().sum())
    for series in training_stretches(dataset, network.forecasts.num_steps):
        x, static = series.inputs[None], series.static[None]
        answers, *_ = run(network, x, static, network.initial_state(1))
        error = (answers[0].double() - series.targets.double())[washout_steps:]
        total += float(error.nan_to_num(0).square().sum() / float(network.units[0, 0]) ** 2)
    return total


@pytest.mark.parametrize("horizon_steps", [1, 3])
def test_no_other_readout_costs_less(wave_recipe: Recipe, horizon_steps: int) -> None:
    recipe = echoing(wave_recipe, horizon_steps=horizon_steps, forecast="direct" if horizon_steps > 1 else "fed_back")
    dataset = load_dataset(recipe.data)
    # A second series, shorter, with holes of its own: its steps are learned from as those of the first.
    [series] = dataset.series
    other = replace(series, name="other", validation_start=90, truth=series.truth.copy())
    other.truth[40:50] = torch.nan
    dataset = replace(dataset, series=(series, other))
    network, _ = train(recipe, dataset)
    least = cost(network, dataset, 20, 1e-3)
    generator = torch.Generator().manual_seed(3)
    for weights in (network.head.weight, network.head.bias):
        kept = weights.detach().clone()
        for _ in range(10):
            with torch.no_grad():
                weights += 1e-2 * torch.randn(weights.shape, generator=generator)
                assert cost(network, dataset, 20, 1e-3) > least
                weights.copy_(kept)


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_a_wave_is_learned_in_one_step(wave_recipe: Recipe, loss: str) -> None:
    recipe = echoing(wave_recipe, loss)
    dataset = load_dataset(recipe.data)
    told: list[str] = []
    network, fitted = train(recipe, dataset, lambda _done, _total, text: told.append(text))
    [scores] = judged(network, recipe, dataset)
    assert scores.mean_mae(NETWORK) < 0.1 * scores.mean_mae(PERSISTENCE)
    assert (fitted.num_epochs, fitted.history) == (0, ())
    assert "found in one step" in fitted.sentence()
    sentence, _ = told
    assert "max_epochs, learning_rate and whatever else is of a gradient do not apply" in sentence


@pytest.mark.parametrize(
    ("loss", "network"), [("pinball", {}), ("squared", {"cell": ("echo_state", "gru"), "hidden_size": 4})]
)
def test_what_has_no_closed_form_is_learned_by_epochs(wave_recipe: Recipe, loss: str, network: dict[str, Any]) -> None:
    recipe = echoing(wave_recipe, loss, **network)
    short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_epochs": 1})})
    assert train(short, load_dataset(recipe.data))[1].num_epochs == 1


def test_a_washout_that_leaves_nothing_is_refused(wave_recipe: Recipe) -> None:
    recipe = echoing(wave_recipe, washout_steps=300)
    with pytest.raises(DataError, match=r"behind its first 300 steps: lower network\.washout_steps"):
        train(recipe, load_dataset(recipe.data))


def test_keys_of_a_reservoir_are_of_no_other_cell() -> None:
    with pytest.raises(ValueError, match="ridge: is of echo_state"):
        ForecasterNetwork(cell="gru", ridge=1e-3)
