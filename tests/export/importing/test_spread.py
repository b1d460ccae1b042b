from __future__ import annotations

import pytest
import torch
from torch import nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.importing.spread import allowed, proved_to_rounding, spread_of_steps
from ostinato.export.proofs.proof import TOLERANCE, Measured, Proof
from ostinato.service.artifact.manifest import Parity
from ostinato.service.artifact.tensors import Input


def prove_at(difference: float) -> Proof:
    parity = Parity(max_difference=difference, batch_sizes=(1,), lengths=(1,), num_chunkings=0)
    return Proof((Measured("whole", "B 1", difference, True),), parity)


def proof_of(difference: float, spread: float) -> tuple[Proof, list[float]]:
    """The proof of a graph that is off by ``difference`` from a file of such a spread, and the tolerances tried."""
    tried: list[float] = []

    def prove(tolerance: float) -> Proof:
        tried.append(tolerance)
        if difference > tolerance:
            raise ExportError("it differs")
        return prove_at(difference)

    return proved_to_rounding(prove, lambda: spread), tried


def test_a_graph_within_the_usual_tolerance_is_proved_once_without_a_note() -> None:
    proof, tried = proof_of(difference=9e-6, spread=1.0)
    assert tried == [TOLERANCE]
    assert proof.notes == ()


def test_a_graph_may_be_off_by_more_where_the_runs_of_its_file_are_and_says_so() -> None:
    proof, tried = proof_of(difference=4.8e-5, spread=7e-6)
    assert tried == [TOLERANCE, 7e-5]
    assert "the file's own answers to a row differ by 7e-06" in proof.notes[0]


@pytest.mark.parametrize(("difference", "spread"), [(2e-5, 0.0), (2e-5, 1e-6), (4.8e-5, 4e-6), (2e-3, 1.0)])
def test_what_the_file_s_own_runs_do_not_account_for_is_refused(difference: float, spread: float) -> None:
    with pytest.raises(ExportError, match="it differs"):
        proof_of(difference, spread)


def test_no_file_allows_more_than_a_thousandth() -> None:
    assert (allowed(0.0), allowed(1.0)) == (TOLERANCE, 1e-3)


class Summed(nn.Module):
    """A running sum; alone, a row is rounded differently by so much."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off

    def initial_state(self, batch_size: int) -> torch.Tensor:
        return torch.zeros(batch_size, 1)

    def forward(self, x: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sums = total.unsqueeze(1) + x.cumsum(1)
        return sums * (1 + self.off if len(x) == 1 else 1), sums[:, -1]


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_the_spread_of_a_file_is_what_company_makes_of_a_row(off: float) -> None:
    given = Input(name="x", dtype="float32", shape=("B", "T", 1), features=("x",))
    contract = inspect_module(Summed(off), [given])
    assert spread_of_steps(contract) == pytest.approx(off, rel=0.3, abs=1e-6)
