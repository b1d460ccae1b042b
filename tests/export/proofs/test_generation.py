from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import Decoded, DecoderOptions
from ostinato.export.contracts.encoder_decoder import EncoderDecoder, inspect_encoder_decoder
from ostinato.export.contracts.module import Arrays
from ostinato.export.errors import ExportError
from ostinato.export.proofs.generation import prove_generation
from ostinato.export.proofs.proof import TOLERANCE, Proof
from ostinato.service.artifact.tensors import Input
from tests.export.contracts.test_encoder_decoder import LOADS
from tests.export.proofs.test_rounding import Cancelling
from tests.export.writers import (
    LETTERS,
    PAIRS,
    PATCH,
    SOUNDS,
    NumberWriter,
    PatchWriter,
    PuppetGraphs,
    States,
    Writer,
    off_by,
)

pytestmark = pytest.mark.usefixtures("quick")


def inspect(module: torch.nn.Module, source: Input = LETTERS, options: DecoderOptions = SOUNDS) -> EncoderDecoder:
    return inspect_encoder_decoder(module, source, options)


def prove(graphs: PuppetGraphs) -> Proof:
    return prove_generation(graphs.contract, graphs, graphs.contract.decoder)


def test_the_network_is_its_own_graph() -> None:
    seen: list[tuple[int, int]] = []
    contract = inspect(Writer())
    proof = prove_generation(
        contract, PuppetGraphs(contract), contract.decoder, report=lambda done, total: seen.append((done, total))
    )
    assert [(line.what, line.sizes) for line in proof.lines] == [
        ("one length", "B 1 to 5, S 1, 6 steps"),
        ("one length", "B 1 to 5, S 4, 6 steps"),
        ("mixed lengths", "B 1 to 5, S 1 to 16 in 16, 6 steps"),
        ("mixed lengths", "B 1 to 5, S 1 to 32 in 32, 6 steps"),
        ("long output", "B 2, S 8, 20 steps"),
    ]
    assert proof.parity.lengths == (1, 4, 16, 32)
    assert proof.parity.tolerance == TOLERANCE
    assert proof.parity.max_difference <= TOLERANCE
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("module", "source", "options"), [(NumberWriter(), PAIRS, LOADS), (PatchWriter(), PATCH, SOUNDS)]
)
def test_numbers_and_sources_of_a_fixed_size_are_proved(
    module: torch.nn.Module, source: Input, options: DecoderOptions
) -> None:
    proof = prove(PuppetGraphs(inspect(module, source, options)))
    assert proof.batch_invariant
    assert proof.parity.lengths == ((1, 4, 16, 32) if source is PAIRS else ())


@pytest.mark.parametrize("attends_to_steps", [True, False])
def test_places_that_are_no_steps_are_none_of_the_padding(attends_to_steps: bool) -> None:
    """A memory of three places, beside one of the source's steps or alone, however short the source is."""

    class Placed(Writer):
        def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
            memory, states = super().encode(source, lengths)
            places = torch.stack([states[0], -states[0], states[0] * 2], dim=1)
            return ((places, *memory) if attends_to_steps else (places,)), states

        def decode(
            self, previous: Tensor, states: States, memory: States, lengths: Tensor
        ) -> tuple[Tensor, States, Tensor | None]:
            filled = torch.full_like(lengths, 3)
            scores, after, weights = super().decode(previous, states, memory[:1], filled)
            return scores, after, self.attend(after[0], memory[1], lengths) if attends_to_steps else weights

    assert prove(PuppetGraphs(inspect(Placed()))).parity.max_difference <= TOLERANCE


def test_what_the_network_s_own_rounding_hides_is_let_pass_and_told() -> None:
    proof = prove(PuppetGraphs(inspect(Cancelling())))
    assert TOLERANCE < proof.parity.tolerance <= 1e-4


class OutputOff(PuppetGraphs):
    """In one row of five, by ``amount``."""

    amount = 1e-3

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        made = super().decode(previous, states, memory, lengths)
        return made._replace(output=off_by(self.amount, made.output)) if len(made.output) == 5 else made


class StateOff(PuppetGraphs):
    """After the eighth step, which only the long output has."""

    steps = 0

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        self.steps = 0
        return super().encode(source, lengths)

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        made = super().decode(previous, states, memory, lengths)
        self.steps += 1
        return made._replace(states=(off_by(1e-3, made.states[0]),)) if self.steps > 8 else made


class MemoryOff(PuppetGraphs):
    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        memory, states = super().encode(source, lengths)
        return (off_by(1e-3, memory[0]),), states


class FirstStateOff(PuppetGraphs):
    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        memory, states = super().encode(source, lengths)
        return memory, (off_by(1e-3, states[0]),)


class DeafToLengths(PuppetGraphs):
    """Every source is as long as its run."""

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        assert lengths is not None
        return super().encode(source, np.full_like(lengths, source.shape[1]))


class FixedLetters(PuppetGraphs):
    """A source of more than four steps is cut."""

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        if source.shape[1] != 5:
            raise RuntimeError("Got: 1 Expected: 5\nand more")
        return super().encode(source, lengths)


class FixedBatch(PuppetGraphs):
    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        if len(states[0]) != 3:
            raise RuntimeError("Got: 1 Expected: 3")
        return super().decode(previous, states, memory, lengths)


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        (OutputOff, r"differ from the trained network by 0\.001 in scores, over 1e-05, for 5 sources of shape \[1\]"),
        (StateOff, r"differ .* in (state 'state_0'|scores), over 1e-05, for 2 sources of shape \[8\]"),
        (MemoryOff, "differ .* in memory 'memory_0'"),
        (FirstStateOff, "differ .* in the first of state 'state_0'"),
        (DeafToLengths, r"differ .*, for . sources of shape \[16\]"),
        (FixedLetters, r"axis S is secretly static: .*shape \[1, 1\] \(Got: 1 Expected: 5\)"),
        (FixedBatch, r"axis B is secretly static: .*shape \[1, 1\] \(Got: 1 Expected: 3\)"),
    ],
)
def test_graphs_that_are_not_the_network_are_refused(graphs: type[PuppetGraphs], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        prove(graphs(inspect(Writer())))


def test_a_difference_over_what_rounding_hides_is_found_in_a_network_that_rounds_badly() -> None:
    class WorseOff(OutputOff):
        amount = 0.02

    with pytest.raises(ExportError, match="differ from the trained network by"):
        prove(WorseOff(inspect(Cancelling())))


def test_a_fixed_source_has_no_steps_to_be_static() -> None:
    class Fails(PuppetGraphs):
        def encode(self, _source: Array, _lengths: Array | None) -> tuple[Arrays, Arrays]:
            raise RuntimeError

    with pytest.raises(ExportError, match=r"axis B is secretly static: .* \(RuntimeError\)"):
        prove(Fails(inspect(PatchWriter(), PATCH)))


def test_a_last_bit_that_depends_on_the_batch_is_found_and_tolerated() -> None:
    class LastBit(PuppetGraphs):
        def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
            made = super().decode(previous, states, memory, lengths)
            if len(made.output) == 5:
                made = made._replace(output=np.nextafter(made.output, np.float32(np.inf)))
            return made

    proof = prove(LastBit(inspect(NumberWriter(), PAIRS, LOADS)))
    assert not proof.batch_invariant
    assert 0 < proof.parity.max_difference < 1e-6


class LeakyMean(Writer):
    """The state begins with the mean over the padding, too."""

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        memory, _ = super().encode(source, lengths)
        return memory, (memory[0].mean(dim=1),)


class LeakyAttention(Writer):
    """Looks at the padding, too."""

    def attend(self, query: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        return super().attend(query, memory, torch.full_like(lengths, memory.shape[1]))


class Unnormalized(Writer):
    def attend(self, query: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        return 2 * super().attend(query, memory, lengths)


class HiddenLeak(Writer):
    """Masks its attention, but adds up the memory of the padding."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        output, after, attention = super().decode(previous, states, memory, lengths)
        return output + memory[0].sum(dim=1).sum(dim=1, keepdim=True), after, attention


class BesideOthers(Writer):
    """Takes the mean of the batch off its scores."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        output, after, attention = super().decode(previous, states, memory, lengths)
        return output - output.mean(dim=0), after, attention


def test_a_network_whose_rows_depend_on_each_other_is_told_so() -> None:
    message = "the network: the rows of a batch depend on each other: next to . other sources, scores changes by"
    with pytest.raises(ExportError, match=message):
        prove(PuppetGraphs(inspect(BesideOthers())))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (LeakyMean, "padding has an influence: a source of . steps padded to 16 changes scores of the network by"),
        (LeakyAttention, "padding has an influence: the attention is not 0 beyond the end of a source"),
        (HiddenLeak, "padding has an influence: a source of . steps padded to 16 changes scores of the network by"),
        (Unnormalized, "the attention does not sum to 1 over a source"),
    ],
)
def test_a_network_that_heeds_padding_is_told_so(module: type[Writer], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        prove(PuppetGraphs(inspect(module())))


def test_a_network_that_fails_over_long_sources_is_told_so() -> None:
    class UpToSeven(Writer):
        def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
            if source.shape[1] > 7:
                raise IndexError("no such position")
            return super().encode(source, lengths)

    with pytest.raises(ExportError, match=r"the network fails on a source of shape \[1, \d+\]: IndexError: no such"):
        prove(PuppetGraphs(inspect(UpToSeven())))
