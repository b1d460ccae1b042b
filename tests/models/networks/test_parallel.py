from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.networks.parallel import ParallelLayer, linear_scan

CELLS = ("min_gru", "min_lstm", "mlstm", "rg_lru", "lru", "s5", "mamba", "rwkv7")


@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize("num_steps", [1, 2, 37])
@pytest.mark.parametrize("cell", CELLS)
def test_all_steps_at_once_answer_as_one_after_the_other(
    cell: str, num_steps: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, where rounding hides nothing; from states that are not those at first."""
    monkeypatch.setattr("ostinato.models.networks.parallel._FEW", few)
    torch.manual_seed(num_steps)
    (layer,) = build_layers(LayersRecipe.model_validate({"cell": cell, "hidden_size": 8}), 3).double().layers
    assert isinstance(layer, ParallelLayer)
    states = tuple(torch.randn_like(state) for state in layer.initial_state(2))
    x = 2 * torch.randn(2, num_steps, 3, dtype=torch.float64)
    at_once, one_by_one = (layer.train(is_training)(x, *states) for is_training in (True, False))
    assert len(at_once) == 1 + len(states)
    for ours, wanted in zip(at_once, one_by_one, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_both_forms_have_the_same_gradients(cell: str) -> None:
    torch.manual_seed(0)
    (layer,) = build_layers(LayersRecipe.model_validate({"cell": cell, "hidden_size": 8}), 3).double().layers
    assert isinstance(layer, ParallelLayer)
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    gradients: list[tuple[Tensor, ...]] = []
    for is_training in (True, False):
        y, *_ = layer.train(is_training)(x, *layer.initial_state(2))
        gradients.append(torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    for ours, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 12])
def test_a_scan_of_matrices_applies_the_later_one_to_the_earlier(
    num_steps: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it goes about it: one step after the other, or by pairs."""
    monkeypatch.setattr("ostinato.models.networks.parallel._FEW", few)
    torch.manual_seed(0)
    shape = (2, num_steps, 3)
    a, b, h = torch.randn(*shape, 3).double(), torch.randn(*shape, 4).double(), torch.randn(2, 3, 4).double()
    made = linear_scan(a, b, h, torch.matmul)
    assert made.shape == b.shape
    for step in range(num_steps):
        h = a[:, step] @ h + b[:, step]
        torch.testing.assert_close(made[:, step], h, rtol=1e-10, atol=1e-10)


def test_one_factor_for_all_rows_is_that_of_each() -> None:
    a, b, h = torch.rand(1, 9, 3), torch.randn(2, 9, 3), torch.randn(2, 3)
    torch.testing.assert_close(linear_scan(a, b, h), linear_scan(a.expand(2, -1, -1), b, h))
