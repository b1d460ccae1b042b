from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ostinato.models.errors import Diverged, RecipeError
from ostinato.models.recipe import TrainingRecipe
from ostinato.models.training.fitting import fit_rows, reproducible
from ostinato.models.training.job import Job
from tests.training import NOBODY


def test_each_row_comes_once_an_epoch_whoever_shares_its_batch() -> None:
    network = nn.Linear(1, 1)
    seen: list[list[int]] = []

    def loss(rows: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return network.weight.square().sum()

    torch.manual_seed(0)
    fit_rows(network, 10, TrainingRecipe(batch_size=4, max_epochs=2), loss, lambda: 1.0, NOBODY, "error")
    # 10 rows in batches of 4: 4, 4, 2, and again.
    assert [len(rows) for rows in seen] == [4, 4, 2, 4, 4, 2]
    first, second = ([row for batch in epoch for row in batch] for epoch in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_losses_are_computed_in_the_precision_of_the_recipe_and_learned_from_in_float32() -> None:
    found: dict[str, tuple[torch.dtype, torch.dtype, torch.dtype]] = {}
    for precision in ("float32", "bfloat16"):
        network = nn.Linear(3, 1)
        in_training: list[torch.dtype] = []

        def loss(rows: Tensor, network: nn.Linear = network, seen: list[torch.dtype] = in_training) -> Tensor:
            answers: Tensor = network(torch.ones(len(rows), 3))
            seen.append(answers.dtype)
            return answers.square().mean()

        def validate(network: nn.Linear = network) -> float:
            answers: Tensor = network(torch.ones(1, 3))
            assert answers.dtype == torch.float32
            return 1.0

        recipe = TrainingRecipe.model_validate({"batch_size": 2, "max_epochs": 2, "precision": precision})
        fit_rows(network, 4, recipe, loss, validate, NOBODY, "error")
        assert network.weight.grad is not None
        found[precision] = (in_training[-1], network.weight.dtype, network.weight.grad.dtype)
    assert found["float32"] == (torch.float32, torch.float32, torch.float32)
    assert found["bfloat16"] == (torch.bfloat16, torch.float32, torch.float32)


def test_the_weights_of_the_epoch_with_the_least_error_stay() -> None:
    network = nn.Linear(1, 1, bias=False)
    errors, after = iter([0.5, 0.2, 0.3]), []
    shown: list[tuple[int, int, str]] = []

    def validate() -> float:
        assert not network.training
        after.append(network.weight.item())
        return next(errors)

    def loss(_rows: Tensor) -> Tensor:
        assert network.training
        return (network.weight - 7).square().sum()

    recipe = TrainingRecipe(batch_size=1, max_epochs=3)
    fitted = fit_rows(network, 2, recipe, loss, validate, Job(lambda *step: shown.append(step)), "error")
    assert (fitted.num_epochs, fitted.best_epoch, fitted.validation) == (3, 2, 0.2)
    assert network.weight.item() == after[1] != after[2]
    assert shown == [(1, 3, "error 0.5000"), (2, 3, "error 0.2000"), (3, 3, "error 0.3000")]


def test_a_batch_learns_from_its_own_gradient_alone() -> None:
    network = nn.Linear(1, 1, bias=False)
    gradients: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        [weight] = optimizer.param_groups[0]["params"]
        gradients.append(weight.grad.item())

    hook = register_optimizer_step_pre_hook(note)
    try:
        recipe = TrainingRecipe(batch_size=1, max_epochs=2, max_gradient_norm=1e9)
        fit_rows(network, 3, recipe, lambda _rows: 2 * network.weight.sum(), lambda: 1.0, NOBODY, "error")
    finally:
        hook.remove()
    # Of twice the weight it is 2, in each of three batches and two epochs.
    assert gradients == [2.0] * 6


def test_the_callers_threads_and_random_numbers_come_back() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)

    def train() -> None:
        with reproducible(TrainingRecipe(seed=9, num_threads=threads + 1)):
            assert torch.get_num_threads() == threads + 1
            torch.rand(1)
            raise Diverged

    with pytest.raises(Diverged):
        train()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_validation_error_that_is_no_number_ends_training_with_what_to_change(error: float) -> None:
    network = nn.Linear(1, 1)
    recipe = TrainingRecipe(max_epochs=2)
    with pytest.raises(Diverged, match=r"the validation error is (nan|inf) in epoch 1: lower training\.learning_rate"):
        fit_rows(network, 1, recipe, lambda _rows: network.weight.sum(), lambda: error, NOBODY, "error")


def test_a_gradient_is_shortened_and_a_loss_that_is_no_number_is_told_with_what_to_change() -> None:
    network = nn.Linear(1, 1, bias=False)
    recipe = TrainingRecipe(max_epochs=1, max_gradient_norm=0.5)
    fit_rows(network, 1, recipe, lambda _rows: 1e6 * network.weight.sum(), lambda: 1.0, NOBODY, "error")
    assert network.weight.grad is not None
    # The loss is a million times the weight.
    assert network.weight.grad.norm().item() == pytest.approx(0.5)
    with pytest.raises(Diverged, match=r"the loss is nan in epoch 1: lower training\.learning_rate"):
        fit_rows(network, 1, recipe, lambda _rows: math.nan * network.weight.sum(), lambda: 1.0, NOBODY, "error")


def test_members_that_the_caller_does_not_train_are_refused_before_any_is() -> None:
    def loss(_rows: Tensor) -> Tensor:
        pytest.fail("a network was trained")

    with pytest.raises(RecipeError, match=r"training\.members: a recipe of this kind trains one network"):
        fit_rows(nn.Linear(1, 1), 4, TrainingRecipe(members=2), loss, lambda: 1.0, NOBODY, "error")
