from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ostinato.models.recipe import Schedule, TrainingRecipe
from ostinato.models.training.fitting import fit_rows
from ostinato.models.training.optimisation import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    num_plateaus,
    penalty,
)
from tests.training import NOBODY


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        # After 2, 6 and 10 of 10 epochs, of which 2 warm up.
        ("cosine", (1.0, 0.5, 0.0)),
        ("linear", (1.0, 0.5, 0.0)),
        ("constant", (1.0, 1.0, 1.0)),
        ("step", (1.0, 0.25, 0.0625)),
        ("exponential", (1.0, 0.25, 0.0625)),
    ],
)
def test_the_learning_rate_falls_as_its_schedule_says(schedule: Schedule, wanted: tuple[float, ...]) -> None:
    recipe = TrainingRecipe(
        learning_rate=8.0, schedule=schedule, max_epochs=10, warm_up_epochs=2, decay_epochs=2, decay_factor=0.5
    )
    assert learning_rate(recipe, 1, ()) == pytest.approx(4.0)
    found = [learning_rate(recipe, epochs, ()) for epochs in (2, 6, 10)]
    assert found == pytest.approx([8 * part for part in wanted])


def test_stairs_are_stairs_and_a_plateau_is_so_many_epochs_without_a_better_error() -> None:
    stairs = TrainingRecipe(learning_rate=1.0, schedule="step", decay_epochs=2, decay_factor=0.5)
    assert [learning_rate(stairs, epochs, ()) for epochs in (1.9, 2.0, 3.9, 4.0)] == [1.0, 0.5, 0.5, 0.25]
    errors = [5.0, 4.0, 4.0, 4.5, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert [num_plateaus(errors[:count], 2) for count in range(10)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    plateau = TrainingRecipe(learning_rate=1.0, schedule="plateau", decay_epochs=2, decay_factor=0.1)
    assert learning_rate(plateau, 9, errors) == pytest.approx(1e-3)


def test_penalties_are_of_matrices_and_not_of_biases() -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[3.0, -4.0]]))
        network.bias.fill_(100.0)
    added = penalty(network, TrainingRecipe(l1=0.5, l2=0.25))
    assert isinstance(added, torch.Tensor)
    assert added.item() == pytest.approx(0.5 * 7 + 0.25 * 25)
    assert penalty(network, TrainingRecipe()) == 0.0


def test_gradients_are_cut_by_value_then_shortened_and_their_length_told() -> None:
    network = nn.Linear(2, 1, bias=False)

    def clipped(**limits: float | None) -> tuple[float, list[float]]:
        gradient = torch.tensor([[3.0, -4.0]])
        network.weight.grad = gradient
        length = clip_gradients(network, TrainingRecipe.model_validate(limits))
        return length, gradient.flatten().tolist()

    assert clipped(max_gradient_norm=None) == (5.0, [3.0, -4.0])
    length, gradient = clipped(max_gradient_norm=1.0)
    assert length == 5.0
    assert gradient == pytest.approx([0.6, -0.8], rel=1e-5)
    length, gradient = clipped(max_gradient_norm=None, max_gradient_value=2.0)
    assert length == pytest.approx(8**0.5)
    assert gradient == [2.0, -2.0]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "nadam", "rmsprop", "adagrad", "sgd"])
def test_every_optimiser_learns_and_leaves_frozen_weights_alone(optimizer: str) -> None:
    torch.manual_seed(1)
    last = nn.Linear(1, 1)
    network = nn.Sequential(nn.Linear(1, 1), last)
    last.requires_grad_(False)
    frozen = last.weight.clone()
    recipe = TrainingRecipe.model_validate({"optimizer": optimizer, "learning_rate": 0.05, "max_epochs": 20})
    x = torch.ones(1, 1)

    def loss(_rows: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = network(x)
        return (answer - 2).square().sum()

    before = loss(x).item()
    fit_rows(network, 1, recipe, loss, lambda: loss(x).item(), NOBODY, "error")
    assert loss(x).item() < 0.9 * before
    assert torch.equal(last.weight, frozen)
    assert len(build_optimizer(network, recipe).param_groups[0]["params"]) == 2


def test_a_learning_rate_is_a_number_that_an_update_can_hold() -> None:
    with pytest.raises(ValueError, match="less than or equal"):
        TrainingRecipe(learning_rate=1e38)
    assert math.isfinite(TrainingRecipe(learning_rate=1e36).learning_rate)
