from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, States
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.proofs.recurrent import prove
from tests.export.modules import Stacked, amounts


@pytest.fixture(scope="module")
def contract() -> Contract:
    return inspect_module(Stacked(nn.GRU, 1), amounts())


class Puppet:
    """The network itself as its graph, with a fault that begins at some size."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        return self.contract(x, states)


def test_a_graph_fails_the_proof_if_one_row_of_a_large_batch_is_off(contract: Contract) -> None:
    class LastRowOff(Puppet):
        def __call__(self, x: Array, states: States) -> tuple[Array, States]:
            y, after = super().__call__(x, states)
            y = y.copy()
            if len(x) == 64:
                y[-1, -1, 0] += 1e-3
            return y, after

    with pytest.raises(ExportError, match=r"differs .* by 0\.001 in the output.* for 64 sequences of 1 steps"):
        prove(contract, LastRowOff(contract))


def test_a_graph_fails_the_proof_if_only_its_state_is_off(contract: Contract) -> None:
    class StateOff(Puppet):
        def __call__(self, x: Array, states: States) -> tuple[Array, States]:
            y, after = super().__call__(x, states)
            return y, tuple(state + np.float32(1e-3) for state in after)

    with pytest.raises(ExportError, match="in state 'state_0'"):
        prove(contract, StateOff(contract))


def test_a_graph_fails_the_proof_if_it_is_wrong_in_chunks_only(contract: Contract) -> None:
    class ForgetsState(Puppet):
        def __call__(self, x: Array, states: States) -> tuple[Array, States]:
            return super().__call__(x, tuple(np.zeros_like(state) for state in states))

    with pytest.raises(ExportError, match="in 200 chunks"):
        prove(contract, ForgetsState(contract))


@pytest.mark.parametrize("axis", ["B", "T"])
def test_a_graph_that_fails_at_another_size_is_told_by_its_static_axis(contract: Contract, axis: str) -> None:
    class Static(Puppet):
        def __call__(self, x: Array, states: States) -> tuple[Array, States]:
            if (x.shape[0] if axis == "B" else x.shape[1]) != {"B": 3, "T": 5}[axis]:
                raise RuntimeError("Got: 1 Expected: other")
            return super().__call__(x, states)

    with pytest.raises(ExportError, match=rf"axis {axis} is secretly static: .*Got: 1 Expected"):
        prove(contract, Static(contract))


class Totals(nn.Module):
    """Running totals of whole numbers: exact, and so the same in any batch and any chunks."""

    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        totals = torch.cumsum(torch.round(8 * x), dim=1) + total.unsqueeze(1)
        return totals, totals[:, -1]

    def initial_state(self, batch_size: int) -> tuple[Tensor]:
        return (torch.zeros(batch_size, 3),)


@pytest.fixture(scope="module")
def totals() -> Contract:
    return inspect_module(Totals(), amounts())


def test_a_network_that_is_the_same_in_any_run_is_proved_so(totals: Contract) -> None:
    proof = prove(totals, Puppet(totals))
    assert proof.batch_invariant
    assert all(line.bit_identical for line in proof.lines)
    assert proof.parity.max_difference == 0


@pytest.mark.parametrize("place", ["the output", "the state"])
@pytest.mark.parametrize(
    ("size", "lines"),
    [
        ((17, 24), {"B 1 to 64, T 24"}),
        ((64, 7), {"B 1 to 64, T 7"}),
        ((1, 200), {"B 1 to 64, T 200", "12 chunkings of T 200"}),
        ((2, 1000), {"B 2, T 1000"}),
    ],
)
def test_a_last_bit_that_depends_on_the_run_is_found_and_tolerated(
    place: str, size: tuple[int, int], lines: set[str], totals: Contract
) -> None:
    class LastBit(Puppet):
        """One number of the last row is off by its last bit, in runs of one size."""

        def __call__(self, x: Array, states: States) -> tuple[Array, States]:
            y, (total,) = super().__call__(x, states)
            numbers = y if place == "the output" else total
            if x.shape[:2] == size:
                numbers = numbers.copy()
                numbers[-1].flat[0] = np.nextafter(numbers[-1].flat[0], np.float32(np.inf))
            return (numbers, (total,)) if place == "the output" else (y, (numbers,))

    proof = prove(totals, LastBit(totals))
    assert not proof.batch_invariant
    assert lines <= {line.sizes for line in proof.lines if not line.bit_identical}
    assert proof.parity.max_difference < 1e-6


def test_progress_reaches_its_end(contract: Contract) -> None:
    seen: list[tuple[int, int]] = []
    prove(contract, Puppet(contract), report=lambda done, total: seen.append((done, total)))
    total = seen[-1][1]
    assert seen == [(done, total) for done in range(1, total + 1)]
