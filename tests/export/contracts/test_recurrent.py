from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from tests.export.modules import ManyToOne, Stacked, amounts


class Wrong(nn.Module):
    """Right until a subclass breaks one thing."""

    def initial_state(self, batch_size: int) -> object:
        return torch.zeros(batch_size, 3)

    def forward(self, x: Tensor, last: Tensor) -> object:
        return x, last + x[:, -1]


class NoState(Wrong):
    def initial_state(self, batch_size: int) -> object:  # noqa: ARG002 - the contract's signature
        return ()


class OnlyOutput(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:  # noqa: ARG002 - the contract's signature
        return x


class GrowingState(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:
        return x, torch.cat([last, last], dim=1)


class OtherDtype(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:
        return x, last.double()


class StateWithoutBatch(Wrong):
    def initial_state(self, batch_size: int) -> object:  # noqa: ARG002 - the contract's signature
        return torch.zeros(1, 3)

    def forward(self, x: Tensor, last: Tensor) -> object:
        return x, last


class UnequalRows(Wrong):
    def initial_state(self, batch_size: int) -> object:
        return torch.arange(batch_size * 3.0).reshape(batch_size, 3)


class NotFinite(Wrong):
    def initial_state(self, batch_size: int) -> object:
        return torch.full((batch_size, 3), float("inf"))


class NotANumber(Wrong):
    def initial_state(self, batch_size: int) -> object:
        return torch.full((batch_size, 3), float("nan"))


class OutputWithoutBatch(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:
        return x.sum(), last + x[:, -1]


class WrongInput(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:
        return x @ torch.zeros(5, 5), last


class TwoInputs(Wrong):
    def forward(self, x: Tensor, mask: Tensor, last: Tensor) -> object:  # type: ignore[override]
        return x * mask, last


class NoStateTaken(Wrong):
    def forward(self, x: Tensor) -> object:  # type: ignore[override]
        return x


class Half(Wrong):
    def forward(self, x: Tensor, last: Tensor) -> object:
        return x.bfloat16(), last + x[:, -1]


class EncodesAndDecodes(nn.Module):
    encode = decode = forward = nn.Identity.forward


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (EncodesAndDecodes(), "EncodesAndDecodes is an encoder-decoder: call .*export_encoder_decoder"),
        (nn.Linear(3, 3), r"Linear has no initial_state\(batch_size\): add one"),
        (NoState(), r"NoState\.initial_state\(1\) must return one tensor or more"),
        (OnlyOutput(), r"OnlyOutput\.forward must return the output and 1 states.*it returned Tensor"),
        (GrowingState(), r"state 'last' is .*\[3, 3\] in initial_state and .*\[3, 6\] after a run"),
        (OtherDtype(), r"state 'last' is torch\.float32 .* and torch\.float64"),
        (StateWithoutBatch(), r"state 'last' has shapes .*exactly one axis must have the size of the batch"),
        (UnequalRows(), r"state 'last': initial_state gives the rows of a batch different values"),
        (NotFinite(), r"state 'last': initial_state holds a value that is not finite"),
        (NotANumber(), r"state 'last': initial_state holds a value that is not finite"),
        (
            TwoInputs(),
            r"TwoInputs\.forward must take one sequence input, then the states, of which initial_state gives 1; "
            r"its signature is forward\(x, mask, last\): .*'last'\. Say of each input which it is",
        ),
        (NoStateTaken(), r"initial_state gives 1; its signature is forward\(x\): too many positional arguments"),
        (OutputWithoutBatch(), r"the output has shapes .*exactly one axis"),
        (WrongInput(), r"WrongInput fails on an input of shape \[3, 5, 3\] and dtype float32: RuntimeError"),
        (Half(), r"the output has dtype bfloat16; the service knows float16"),
    ],
)
def test_a_broken_contract_is_named_with_its_place(module: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        inspect_module(module, amounts())


def test_states_are_named_as_given_or_as_forward_names_them() -> None:
    def names(module: nn.Module, *given: str) -> list[str]:
        return [state.name for state in inspect_module(module, amounts(), state_names=given).states]

    assert names(ManyToOne()) == ["memory"]
    assert names(Stacked()) == ["state_0", "state_1"]
    assert names(Stacked(), "h", "c") == ["h", "c"]
    with pytest.raises(ExportError, match=r"1 state names for the 2 states of Stacked\.initial_state"):
        names(Stacked(), "h")
    with pytest.raises(ExportError, match=r"states: two are named 'h'; each needs a name of its own"):
        names(Stacked(), "h", "h")


class Numbers(nn.Module):
    """What is given to each step is its output, and what is carried."""

    def __init__(self, output: Callable[[Tensor], Tensor], carried: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.output, self.carried = output, carried

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 3)

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return self.output(x), self.carried(x)[:, -1] + 0.0 * last


@pytest.mark.parametrize(
    ("output", "carried", "found"),
    [
        (lambda x: x, lambda x: x, (False, False, False)),
        (lambda x: torch.log(torch.relu(x)), lambda x: x, (True, False, False)),
        (lambda x: x, lambda x: torch.log(x), (False, True, False)),
        (lambda x: x, lambda x: torch.log(torch.relu(x)), (False, False, True)),
        # Rows that are answered with NaN fail, so that their states are nobody's.
        (lambda x: torch.log(x), lambda x: torch.log(x), (False, False, False)),
    ],
    ids=["finite", "output", "missing", "infinite", "failed"],
)
def test_what_is_not_finite_in_outputs_and_states_is_found(
    output: Callable[[Tensor], Tensor], carried: Callable[[Tensor], Tensor], found: tuple[bool, bool, bool]
) -> None:
    contract = inspect_module(Numbers(output, carried), amounts())
    (state,) = contract.states
    assert (contract.made[0].minus_infinity, state.missing, state.infinite) == found


def test_plus_infinity_as_an_output_is_refused() -> None:
    with pytest.raises(ExportError, match="the network's output is plus infinity for likely inputs"):
        inspect_module(Numbers(lambda x: -torch.log(torch.relu(x)), lambda x: x), amounts())


def test_output_features_must_be_as_many_as_the_output_has_numbers() -> None:
    with pytest.raises(ExportError, match=r"the output: 'outputs': 3 feature names for 2 features"):
        inspect_module(Stacked(), amounts(), ("a", "b", "c"))
