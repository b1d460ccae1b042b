from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import Decoded
from ostinato.export.contracts.encoder_decoder import inspect_encoder_decoder
from ostinato.export.contracts.module import Arrays
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.source_probes import Sources
from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import TOLERANCE
from ostinato.export.proofs.rounding import (
    MAX_PROVED_TOLERANCE,
    MAX_TOLERANCE,
    Widened,
    as_near,
    encoder_decoder_rounding,
    in_doubles,
    own_rounding,
    proved_tolerance,
    recurrent_rounding,
    tolerance_for,
    widened,
)
from ostinato.export.proofs.teacher_forcing import write_from
from ostinato.service.artifact.tensors import Input
from tests.export.contracts.test_encoder_decoder import LOADS
from tests.export.modules import Offset, Stacked, amounts
from tests.export.writers import LETTERS, PAIRS, SOUNDS, NumberWriter, States, Writer


class Cancelling(Writer):
    """Adds a large number and takes it away again: float32 keeps 2^-10 = 0.001 of a score near 8,192."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        output, after, attention = super().decode(previous, states, memory, lengths)
        return output + 8192.0 - 8192.0, after, attention


class SingleOnly(Writer):
    """Cannot run in float64."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        if states[0].dtype != torch.float32:
            raise TypeError("float32 only")
        return super().decode(previous, states, memory, lengths)


def rounding(module: Writer, *rows: int) -> float:
    """Over two sources, or some of them in this order."""
    contract = inspect_encoder_decoder(module, LETTERS, SOUNDS)
    chosen = list(rows or (0, 1))
    sources = Sources(np.array([[0, 1, 2, 3], [4, 3, 2, 1]])[chosen], np.array([4, 2])[chosen])
    fed = np.array([[0, 2, 3], [0, 4, 5]])[chosen]
    written = [
        write_from(contract, contract.decoder, sources.without_padding(row), 3, fed[row : row + 1])
        for row in range(len(chosen))
    ]
    return encoder_decoder_rounding(contract, contract.decoder, sources, written)


def test_the_tolerance_is_five_times_the_rounding_error_within_bounds() -> None:
    assert tolerance_for(0.0) == TOLERANCE == 1e-5
    assert tolerance_for(1e-6) == TOLERANCE
    assert tolerance_for(4.123e-6) == 2.1e-5  # 5 x 4.123 = 20.615, to two digits
    assert tolerance_for(1.0) == MAX_TOLERANCE == 1e-4
    assert tolerance_for(np.inf) == MAX_TOLERANCE


def test_a_small_network_rounds_by_some_bits() -> None:
    # One bit of a number between 1 and 2 is 2^-23 = 1.2e-7.
    assert 1e-9 < rounding(Writer()) < 2e-6


def test_a_network_that_cancels_rounds_by_as_much_as_it_loses() -> None:
    # Half a step of 2^-10 at most, as a number below 1 is compared absolutely.
    assert 1e-5 < rounding(Cancelling()) <= 2**-11


def test_a_network_rounds_by_as_much_as_it_does_for_the_worst_source_wherever_that_is() -> None:
    each = [rounding(Cancelling(), row) for row in (0, 1)]
    assert each[0] != each[1]
    assert rounding(Cancelling(), 0, 1) == rounding(Cancelling(), 1, 0) == max(each)


def test_a_network_that_knows_no_float64_gets_the_plain_tolerance() -> None:
    assert rounding(SingleOnly()) == 0.0
    assert tolerance_for(0.0) == TOLERANCE


def test_numbers_that_are_fed_back_are_the_same_in_float64() -> None:
    contract = inspect_encoder_decoder(NumberWriter(), PAIRS, LOADS)
    sources = Sources(np.full((1, 3, 2), 0.3, np.float32), np.array([3]))
    written = write_from(contract, contract.decoder, sources, 40)
    assert 0 < encoder_decoder_rounding(contract, contract.decoder, sources, [written]) < 1e-6


def test_a_recurrent_network_is_measured_over_whole_sequences() -> None:
    contract = inspect_module(Stacked(), amounts())
    sequences = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    assert 1e-9 < recurrent_rounding(contract, sequences) < 1e-6


def test_a_graph_as_near_to_float64_as_its_network_may_differ_from_it_by_more() -> None:
    contract = inspect_module(Stacked(), amounts())

    def wrong(x: Array, states: Arrays) -> tuple[Array, Arrays]:
        y, after = contract(x, states)
        return y + np.float32(1e-3), after

    assert 0.0 < proved_tolerance(contract, contract) < own_rounding(contract).tolerance < MAX_PROVED_TOLERANCE == 1e-3
    assert proved_tolerance(contract, wrong) == 0.0


def test_a_recurrent_network_that_knows_no_float64_has_no_rounding_error() -> None:
    class Single(Stacked):
        def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            assert x.dtype == torch.float32
            return super().forward(x, *state)

    assert recurrent_rounding(inspect_module(Single(), amounts()), np.ones((2, 3, 3), np.float32)) == 0.0


def test_the_tolerance_of_a_recurrent_network_is_that_of_its_own_rounding() -> None:
    assert own_rounding(inspect_module(Stacked(), amounts())) == (TOLERANCE, 0, "")
    # Of many numbers some are off by nearly 2^-16 = 1.5e-5; five times that is 7.6e-5.
    assert 7e-5 < own_rounding(inspect_module(Offset(), amounts())).tolerance <= 7.7e-5


def test_a_network_with_a_context_and_several_outputs_is_measured_as_any_other() -> None:
    class Both(Offset):
        def forward(self, x: Tensor, size: Tensor, *state: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            y, *after = super().forward(x * size.unsqueeze(1), *state)
            return (y, y / 2, *after)

    size = Input(name="size", dtype="float32", shape=("B", 1), features=("size",))
    contract = inspect_module(Both(), amounts(), context=(size,))
    assert len(contract.made) == 2
    assert 7e-5 < own_rounding(contract).tolerance <= 7.7e-5


def test_the_network_itself_stays_in_float32() -> None:
    contract: Contract = inspect_module(Stacked(), amounts())
    assert {weight.dtype for weight in in_doubles(contract).module.parameters()} == {torch.float64}
    assert {weight.dtype for weight in contract.module.parameters()} == {torch.float32}


def test_codes_and_counts_are_not_widened() -> None:
    assert widened(np.ones(1, np.float32)).dtype == np.float64
    assert widened(np.ones(1, np.int64)).dtype == np.int64


@pytest.mark.parametrize("previous", [None, np.ones((1, 2), np.float32)])
def test_a_widened_decoder_is_given_float64(previous: Array | None) -> None:
    class Seen:
        def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
            assert previous is None or previous.dtype == np.float64
            assert [array.dtype for array in (*states, *memory)] == [np.float64, np.int64, np.float64]
            assert lengths is not None
            return Decoded(states[0], states, None)

    one = np.ones((1, 2), np.float32)
    assert Widened(Seen()).decode(previous, (one, np.ones(1, np.int64)), (one,), np.ones(1, np.int64)).attention is None


class Chaotic(nn.Module):
    """The logistic map: what differs by a bit is another number after fifty steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(3.99))

    def initial_state(self, batch_size: int) -> tuple[Tensor]:
        return (torch.full((batch_size, 1), 0.3),)

    def forward(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        answers = []
        for step in x.unbind(1):
            level = self.rate * level * (1 - level)
            answers.append(level + 0 * step[:, :1])
        return torch.stack(answers, dim=1), level


def test_a_chaotic_network_is_compared_in_stretches_and_said_to_be(tmp_path: Path) -> None:
    found = own_rounding(inspect_module(Chaotic(), amounts()))
    assert found.carried_steps == 16
    assert "what is rounded off grows from step to step" in found.note
    exported = export_module(Chaotic(), amounts(), tmp_path, name="chaotic")
    assert found.note in exported.proof.notes
    assert exported.proof.parity.max_difference < 1e-4


@pytest.mark.parametrize(
    ("graphs", "own", "times", "tolerance"),
    [
        (3e-6, 2e-6, 2.0, 4e-5),
        (7e-6, 2e-6, 2.0, 0.0),  # the graph is further off than rounding explains
        (7e-6, 2e-6, 5.0, 4e-5),
        (2e-5, 2e-5, 5.0, 1e-4),  # at most
        (0.0, 2e-6, 5.0, 0.0),  # nothing was measured
    ],
)
def test_a_graph_may_differ_where_it_is_about_as_near_to_float64_as_its_network(
    graphs: float, own: float, times: float, tolerance: float
) -> None:
    assert as_near(graphs, own, 1e-4, times) == pytest.approx(tolerance)
