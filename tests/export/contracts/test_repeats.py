from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.errors import ExportError
from tests.export.modules import HIDDEN_SIZE, NUM_FEATURES, Stacked, amounts

X = torch.ones(1, 4, NUM_FEATURES)


class Own(nn.Module):
    """Whatever a test makes of the input; it may keep something as an attribute, and a count as a buffer."""

    def __init__(self, answer: Callable[..., Tensor]) -> None:
        super().__init__()
        self.answer = answer
        self._kept: Any = None
        self.drop = nn.Dropout(0.5)
        self.layers = nn.GRU(NUM_FEATURES, HIDDEN_SIZE, batch_first=True)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self, x)


def adds_what_was(self: Any, x: Tensor) -> Tensor:
    before, self._kept = self._kept, [{"last": x.mean()}]
    return x if before is None else x + before[0]["last"]


def goes_on(self: Any, x: Tensor) -> Any:
    y, self._kept = self.layers(x, self._kept)
    return y


def counts(self: Any, x: Tensor) -> Any:
    self.count += 1
    return x * self.count


def dropped_in_training(self: Any, x: Tensor) -> Any:
    self.train()
    return self.drop(x)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (adds_what_was, r"a second time with the same, and keeps _kept in itself: .* must be a state"),
        (goes_on, "and keeps _kept in itself"),
        (counts, "and keeps count in itself"),
        (dropped_in_training, "as random numbers do, and dropout that is left on: use nn.Dropout, or pass training="),
        (lambda _, x: functional.dropout(x), "as random numbers do"),
        (lambda _, x: x + torch.randn_like(x), "as random numbers do"),
        (lambda _, x: x + float(np.random.default_rng().normal()), "as random numbers do"),
    ],
)  # fmt: skip
def test_a_second_run_that_differs_is_told_by_its_cause(answer: Callable[..., Tensor], sentence: str) -> None:
    module = Own(answer).eval()
    with torch.no_grad(), pytest.raises(ExportError, match=rf"Own\.forward gives something else .*{sentence}"):
        check_repeats(module, lambda: [module(X)])


def fills_a_cache(self: Any, x: Tensor) -> Any:
    if self._kept is None:
        self._kept = torch.arange(10.0)
    return x + self._kept[: x.shape[1], None]


@pytest.mark.parametrize("answer", [fills_a_cache, lambda self, x: self.drop(x), lambda _, x: torch.log(-x)])
def test_what_is_kept_and_changes_no_answer_is_let_pass(answer: Callable[..., Tensor]) -> None:
    module = Own(answer).eval()
    random_before = torch.random.get_rng_state()
    check_repeats(module, lambda: [module(X)])
    assert torch.equal(torch.random.get_rng_state(), random_before)


class DrawnState(Stacked):
    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return tuple(torch.randn(2, 1, HIDDEN_SIZE).expand(2, batch_size, HIDDEN_SIZE) for _ in range(2))


class Noisy(Stacked):
    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return super().forward(x + 0.1 * torch.randn_like(x), *state)


def test_a_module_is_tried_before_it_is_exported() -> None:
    with pytest.raises(ExportError, match=r"DrawnState\.initial_state gives something else each time"):
        inspect_module(DrawnState(), amounts())
    with pytest.raises(ExportError, match=r"Noisy\.forward gives something else each time"):
        inspect_module(Noisy(), amounts())
