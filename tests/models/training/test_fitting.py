from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ostinato.models.errors import Diverged
from ostinato.models.training.fitting import FittingRecipe, fit


def silent(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def test_each_row_comes_once_an_epoch_whoever_shares_its_batch() -> None:
    network = nn.Linear(1, 1)
    seen: list[list[int]] = []

    def loss(rows: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return network.weight.square().sum()

    torch.manual_seed(0)
    fit(network, 10, FittingRecipe(batch_size=4, num_epochs=2), loss, lambda: 1.0, silent, "error")
    # 10 rows in batches of 4: 4, 4, 2, and again.
    assert [len(rows) for rows in seen] == [4, 4, 2, 4, 4, 2]
    first, second = ([row for batch in epoch for row in batch] for epoch in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


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

    recipe = FittingRecipe(batch_size=1, num_epochs=3)
    fitted = fit(network, 2, recipe, loss, validate, lambda *step: shown.append(step), "error")
    assert (fitted.num_epochs, fitted.best_epoch, fitted.validation) == (3, 2, 0.2)
    assert network.weight.item() == after[1] != after[2]
    assert shown == [(1, 3, "error 0.5000"), (2, 3, "error 0.2000"), (3, 3, "error 0.3000")]


def test_a_gradient_is_shortened_and_a_loss_that_is_no_number_is_told_with_what_to_change() -> None:
    network = nn.Linear(1, 1, bias=False)
    recipe = FittingRecipe(num_epochs=1, max_gradient_norm=0.5)
    fit(network, 1, recipe, lambda _rows: 1e6 * network.weight.sum(), lambda: 1.0, silent, "error")
    assert network.weight.grad is not None
    # The loss is a million times the weight.
    assert network.weight.grad.norm().item() == pytest.approx(0.5)
    with pytest.raises(Diverged, match=r"the loss is nan in epoch 1: lower training\.learning_rate"):
        fit(network, 1, recipe, lambda _rows: math.nan * network.weight.sum(), lambda: 1.0, silent, "error")
