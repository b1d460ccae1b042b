from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ostinato.models.networks.clockwork import Clockwork
from ostinato.models.networks.initialisers import initialise
from tests.models.networks.plain import Floats, run_layer, weights_of

F, GROUP = 3, 2


def build(*periods: int) -> Clockwork:
    torch.manual_seed(0)
    layer = Clockwork(F, GROUP * len(periods), periods)
    initialise(layer, "torch", 1)
    return layer


def plainly(x: Floats, weights: dict[str, Floats], periods: tuple[int, ...], begin: int = 0) -> Floats:
    """The paper's equations: one matrix for all, its lower blocks 0, and what does not tick left as it was."""
    size = GROUP * len(periods)
    w, u = np.zeros((size, F)), np.zeros((size, size))
    for group in range(len(periods)):
        first = group * GROUP
        block = weights[f"weights.{group}"]
        u[first : first + GROUP, first:], w[first : first + GROUP] = block[:, :-F], block[:, -F:]
    h, made = np.zeros(size), []
    for t, step in enumerate(x, begin):
        new = np.tanh(w @ step + u @ h + weights["bias"])
        ticks = np.repeat([t % period == 0 for period in periods], GROUP)
        h = np.where(ticks, new, h)
        made.append(h)
    return np.array(made)


@pytest.mark.parametrize("periods", [(1, 2, 4, 8), (1, 3, 5), (2, 3), (1,)])
def test_it_is_the_papers_equations(periods: tuple[int, ...]) -> None:
    layer = build(*periods)
    x = np.random.default_rng(0).standard_normal((40, F))
    np.testing.assert_allclose(run_layer(layer, x), plainly(x, weights_of(layer), periods), atol=1e-5)


def test_rows_have_clocks_of_their_own() -> None:
    layer = build(1, 2, 4)
    x = torch.randn(3, 7, F)
    h, _ = layer.initial_state(3)
    clocks = torch.tensor([[[0], [1], [6]]])
    together = layer(x, h, clocks)
    for row in range(3):
        alone = layer(x[row : row + 1], h[:, row : row + 1], clocks[:, row : row + 1])
        torch.testing.assert_close(together[0][row], alone[0][0])
        wanted = plainly(x[row].double().numpy(), weights_of(layer), (1, 2, 4), int(clocks[0, row, 0]))
        np.testing.assert_allclose(alone[0][0].detach().numpy(), wanted, atol=1e-5)
    assert together[2].flatten().tolist() == [3, 0, 1]


class _Products(TorchFunctionMode):
    """Counts the multiplications of linear layers."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.nn.functional.linear:
            seen, weight = args[:2]
            self.count += seen.shape[0] * weight.numel()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("clocks", "ticking"),
    [
        ([0], [1, 1, 1]),
        ([1], [1, 0, 0]),
        ([2], [1, 1, 0]),
        ([0, 1, 2, 3], [4, 2, 1]),
    ],
)
def test_a_group_is_computed_for_the_rows_at_which_it_ticks_and_no_others(
    clocks: list[int], ticking: list[int]
) -> None:
    layer = build(1, 2, 4)
    num_rows = len(clocks)
    state: tuple[Tensor, ...] = (torch.zeros(1, num_rows, 3 * GROUP), torch.tensor(clocks).view(1, -1, 1))
    with _Products() as products:
        layer(torch.randn(num_rows, 1, F), *state)
    read = [3 * GROUP + F, 2 * GROUP + F, GROUP + F]
    assert products.count == sum(rows * GROUP * size for rows, size in zip(ticking, read, strict=True))
