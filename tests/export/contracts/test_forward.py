from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.forward import attempt, check_signature, initial_states
from ostinato.export.errors import ExportError
from tests.export.modules import HIDDEN_SIZE, NUM_FEATURES

X = torch.zeros(2, 5, NUM_FEATURES)
STATE = torch.zeros(1, 2, HIDDEN_SIZE)


class Layered(nn.Module):
    """An LSTM whose forward a test gives."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.layers = nn.LSTM(NUM_FEATURES, HIDDEN_SIZE, batch_first=True)
        self.forward = run.__get__(self)


def states_in_a_tuple(self: Any, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    return self.layers(x, state)


def states_in_a_list(self: Any, x: Tensor, state: list[Tensor] | None = None) -> Any:
    return self.layers(x, None if state is None else (state[0], state[1]))


def by_keyword(self: Any, x: Tensor, *, h: Tensor, c: Tensor) -> Any:
    return self.layers(x, (h, c))


def with_a_mask(self: Any, x: Tensor, h: Tensor, c: Tensor, *, mask: Tensor) -> Any:
    return self.layers(x * mask, (h, c))


def with_lengths(self: Any, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor) -> Any:
    return self.layers(x[:, : int(lengths.max())], (h, c))


UNPACK = r"takes the states as one tuple; unpack the tuple: forward\(x, h, c\) -> \(y, h, c\)"


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (states_in_a_tuple, UNPACK),
        (states_in_a_list, UNPACK),
        (by_keyword, "h and c can be given by keyword only: make a state a positional argument"),
        (with_a_mask, "'mask'.* mask can be given by keyword only: .* give anything else a default"),
        (with_lengths, "'lengths'.* Say of each input which it is .*, and give anything else a default"),
    ],
)
def test_a_forward_that_cannot_be_called_is_named_with_its_way_out(forward: Callable[..., Any], sentence: str) -> None:
    with pytest.raises(ExportError, match=f"Layered.forward must take one sequence input, .*{sentence}"):
        check_signature(Layered(forward), X, (STATE, STATE))


def returning(shape: Callable[[Tensor, Tensor, Tensor], Any]) -> nn.Module:
    def forward(self: Any, x: Tensor, h: Tensor, c: Tensor) -> Any:
        y, (h, c) = self.layers(x, (h, c))
        return shape(y, h, c)

    return Layered(forward)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (lambda y, _h, _c: y, "it returned Tensor$"),
        (lambda y, h, c: (y, (h, c)), r"it returned 2 values \(Tensor, 2 values .*: unpack .* return y, h, c in place"),
        (lambda y, h, c: ((y, y), h, c), r"it returned 3 values .*: unpack what holds several"),
        (lambda y, h, c: {"y": y, "h": h, "c": c}, "it returned dict with y, h, c: return .* one by one"),
        (lambda y, h, _c: (y, h, None), r"it returned 3 values \(Tensor, Tensor, NoneType\)$"),
        (lambda y, h, c: (y, {"h": h}, c), r"it returned 3 values \(Tensor, dict with h, Tensor\): unpack"),
    ],
)  # fmt: skip
def test_what_is_returned_otherwise_is_named_with_its_way_out(shape: Callable[..., Any], sentence: str) -> None:
    with pytest.raises(ExportError, match=f"must return the output and 2 states, as initial_state gives; {sentence}"):
        attempt(returning(shape), X, (STATE, STATE))


def fails(_batch_size: int) -> Tensor:
    return torch.zeros(2) @ torch.zeros(3)


@pytest.mark.parametrize(
    ("begin", "sentence"),
    [
        (lambda _: ((STATE, STATE),), r"it returned 1 values \(2 values \(Tensor, Tensor\)\): unpack"),
        (lambda _: {"h": STATE, "c": STATE}, "it returned dict with h, c: return .* one by one, as in return h, c$"),
        (lambda _: None, "it returned NoneType$"),
        (lambda _batch_size, _device: STATE, r"initial_state\(1\) fails: TypeError: .*the size of the batch alone"),
        (fails, r"initial_state\(1\) fails: RuntimeError: "),
    ],
)  # fmt: skip
def test_initial_states_that_are_none_are_named_with_their_way_out(begin: Callable[..., Any], sentence: str) -> None:
    module = nn.Identity()
    module.initial_state = begin  # type: ignore[assignment]
    with pytest.raises(ExportError, match=sentence):
        initial_states(module, 1)


class Multiplies(nn.Module):
    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.by, state


@pytest.mark.parametrize(
    ("by", "way_out"),
    [
        (torch.eye(NUM_FEATURES, dtype=torch.float64), r"export network\.float\(\), or say the input's dtype"),
        (torch.eye(NUM_FEATURES + 1), r"shapes cannot be multiplied .*$"),
    ],
)
def test_a_run_that_fails_says_what_torch_says_and_what_helps(by: Tensor, way_out: str) -> None:
    with pytest.raises(ExportError, match=rf"Multiplies fails on an input of shape \[2, 5, 3\] and dtype .*{way_out}"):
        attempt(Multiplies(by), X, (STATE,))


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_that_is_given_steps_is_told_that_it_takes_one(cell: Callable[..., nn.Module]) -> None:
    with pytest.raises(ExportError, match=r"a cell takes one step a run: say --input x:B,F"):
        attempt(cell(NUM_FEATURES, 4), X, ())
