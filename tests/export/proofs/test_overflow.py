from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.proofs.overflow import check_overflow
from ostinato.service.artifact.tensors import Input
from tests.export.modules import Stacked, amounts

INFINITE_AFTER = 128
"""Steps: 2^127 is the last power of two in float32."""


class Doubling(nn.Module):
    """Its state begins with 1, and is twice as much after each step; so is its output."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.ones(batch_size, 1)

    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        totals = []
        for _ in range(x.shape[1]):
            total = self.next(total)
            totals.append(total)
        return self.answer(torch.stack(totals, dim=1)), total

    def next(self, total: Tensor) -> Tensor:
        return 2.0 * total

    def answer(self, totals: Tensor) -> Tensor:
        return totals


class UnseenDoubling(Doubling):
    def answer(self, totals: Tensor) -> Tensor:
        return torch.tanh(totals)


class LastDoubling(Doubling):
    def answer(self, totals: Tensor) -> Tensor:
        return totals[:, -1]


class Cancelling(Doubling):
    """Twice, as what is left of twenty times: of 2^124 both are infinite, and infinity less infinity is NaN."""

    def next(self, total: Tensor) -> Tensor:
        return 20.0 * total - 18.0 * total


class OneStepDoubling(Doubling):
    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :1] + 2.0 * total, 2.0 * total


@pytest.mark.parametrize(
    ("module", "inputs", "place", "num_steps"),
    [
        (Doubling(), amounts(), "the output", INFINITE_AFTER),
        (LastDoubling(), amounts(), "the output", INFINITE_AFTER),
        (OneStepDoubling(), amounts("B", 3), "the output", INFINITE_AFTER),
        (UnseenDoubling(), amounts(), "state 'total'", INFINITE_AFTER),
        (Cancelling(), amounts(), "the output", INFINITE_AFTER - 3),
    ],
)
def test_numbers_that_leave_float32_are_told_by_place_and_step(
    module: nn.Module, inputs: Input, place: str, num_steps: int
) -> None:
    contract = inspect_module(module, inputs)
    sentence = f"{place} is no longer finite after {num_steps} steps of likely inputs: its numbers grow beyond float32"
    with pytest.raises(ExportError, match=f"{re.escape(sentence)}.* be bounded, as by tanh or clamp"):
        check_overflow(contract)


class Logarithm(Stacked):
    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, *after = super().forward(x, *state)
        return (y + torch.log(x[..., :1]), *after)


class Impossible(Stacked):
    """Its output is a logarithm of something's probability, which may be 0."""

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, *after = super().forward(x, *state)
        return (torch.where(x[..., :1] > 0, y, -torch.inf), *after)


@pytest.mark.parametrize("module", [Stacked(), Logarithm(), Impossible()])
def test_a_network_that_stays_finite_or_gives_nan_for_some_inputs_is_let_pass(module: nn.Module) -> None:
    check_overflow(inspect_module(module, amounts()))
