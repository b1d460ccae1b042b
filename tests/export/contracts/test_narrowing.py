from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.narrowing import check_answers_in_float32, check_float32, in_float32
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input
from tests.export.modules import OneStepCell, Stacked, amounts


class Doubles(Stacked):
    """Layers in float64 whose states and arithmetic say so."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(nn.GRU, 1)
        self.double()
        self.scale = scale

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return (torch.zeros(1, batch_size, 6, dtype=torch.float64),)

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        wide = x.double() + torch.zeros(1, dtype=torch.float64)
        y, *after = super().forward(wide + self.scale - self.scale, *state)
        return (y.float(), *after)


@pytest.mark.parametrize(
    ("network", "inputs", "what"),
    [
        (Stacked(nn.GRU, 1).half(), amounts(), "float16; it is exported in float32, which holds them exactly; over 40"),
        (OneStepCell().bfloat16(), amounts("B", 3), "bfloat16; it is exported in float32, which holds them exactly; "),
        (Doubles(), amounts(), "float64; it is exported in float32, rounded; over 40 steps its answers differ from"),
    ],
)
def test_another_float_becomes_float32_and_it_is_said_what_that_changes(
    network: nn.Module, inputs: Input, what: str
) -> None:
    narrow = in_float32(network)
    contract = inspect_module(narrow, inputs)
    assert {state.dtype for state in contract.states} == {"float32"}
    assert contract.output.dtype == "float32"
    (note,) = check_float32(network, contract)
    assert what in note


def test_weights_of_half_precision_stay_what_they_are() -> None:
    network = Stacked(nn.GRU, 1).half()
    for name, weight in in_float32(network).named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight.half(), network.get_parameter(name))
    assert network.head.weight.dtype == torch.float16


def test_a_network_that_runs_as_it_is_stays_the_same_object() -> None:
    network = Stacked()
    assert in_float32(network) is network
    assert check_float32(network, inspect_module(network, amounts())) == ()


def test_a_network_that_needs_float64_is_refused() -> None:
    network = Doubles(scale=1e6)  # float32 has steps of 0.06 there
    contract = inspect_module(in_float32(network), amounts())
    with pytest.raises(ExportError, match=r"in float32 it answers differently by .*, over 0\.0001: scale"):
        check_float32(network, contract)


@pytest.mark.parametrize(("dtype", "said"), [(torch.float16, "holds them exactly"), (torch.float64, "rounded")])
def test_what_float32_changes_is_told_of_a_network_without_states(dtype: torch.dtype, said: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 4, batch_first=True)).to(dtype)
    narrow = in_float32(network)
    x = torch.randn(2, 9, 3)

    def run(module: nn.Module, cast: Callable[[Any], Any]) -> tuple[Tensor, ...]:
        return (module(cast(x))[0],)

    assert narrow(x)[0].dtype == torch.float32
    (note,) = check_answers_in_float32(network, narrow, run)
    assert said in note
    assert f"its answers differ from those in {str(dtype).removeprefix('torch.')} by" in note
    assert check_answers_in_float32(narrow, narrow, run) == ()
