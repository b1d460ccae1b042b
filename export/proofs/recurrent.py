"""The proof: the graph answers what the trained network answers, whatever the batch, the length and the chunks.

Two things are measured. Parity: the largest difference to the network, over batch sizes, lengths and chunkings with
the state carried. Invariance: whether a row's numbers are the same to the bit alone and in any batch, whole and in
any chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np

from ostinato.export.contracts.axes import Array, States, StepFunction
from ostinato.export.contracts.codes import are_narrower
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.preparation import original_of
from ostinato.export.contracts.probes import likely_step
from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.recurrent import TRACED_SIZES
from ostinato.export.proofs.not_finite import check_failed, find_nan
from ostinato.export.proofs.proof import (
    TOLERANCE,
    Measured,
    Proof,
    ProofReport,
    identical,
    measure,
    worst_place,
)
from ostinato.export.proofs.sizes import num_rows, num_steps, up_to
from ostinato.service.artifact.numbers import largest_difference, largest_of

BATCH_SIZES = (1, 2, 3, 5, 8, 17, 32, 64)
LENGTHS = (1, 2, 3, 7, 24, 70, 200)
# A graph of one step is run once a step, whatever the length; fewer lengths show as much.
ONE_STEP_LENGTHS = (1, 2, 7, 40)
LONG_RUN = (2, 1000)
NUM_CHUNKINGS = 12
# Chunks may differ from the whole by rounding; beyond this the states do not carry what the outputs depend on.
CHUNK_TOLERANCE = 1e-3

Answer: TypeAlias = tuple[Array, States]


def prove(
    contract: Contract,
    graph: StepFunction,
    *,
    tolerance: float = TOLERANCE,
    carried_steps: int = 0,
    seed: int = 0,
    report: ProofReport = lambda _done, _total: None,
) -> Proof:
    """Compare the graph with the network, and the graph with itself alone and whole.

    Args:
        contract: the trained network.
        graph: its graph, on one thread.
        tolerance: the largest relative difference that is let pass.
        carried_steps: after so many steps both continue from the network's own states; 0 = never. For networks that are
            chaotic, as those that write often are: what is rounded off in one step grows in those that follow.
        seed: of the probes and the cuts.
        report: called with the number of lines done and the number of all lines.

    Raises:
        ExportError: the graph fails at some size, differs from the network by more than ``tolerance``, or the
            network is not recurrent: in chunks it answers something else.
    """
    prover = _Prover(contract, graph, np.random.default_rng(seed), tolerance, carried_steps)
    lengths = prover.lengths
    tasks: list[Callable[[], Measured]] = [partial(prover.batches, length) for length in lengths]
    tasks += [prover.chunkings, prover.long_run]
    proof = measure(
        tasks,
        report,
        tolerance=tolerance,
        batch_sizes=prover.batch_sizes,
        lengths=(*lengths, prover.long_steps),
        num_chunkings=NUM_CHUNKINGS,
    )
    return replace(proof, notes=(*find_nan(contract, graph), *_code_notes(contract)))


def _code_notes(contract: Contract) -> tuple[str, ...]:
    parts = (*contract.given, *contract.context)
    narrower = [
        part
        for place, part in enumerate(parts)
        if are_narrower(part, likely_step(part), partial(contract.ask_of, place))
    ]
    if not narrower:
        return ()
    ranges = ", ".join(f"{name} {limits.words}" for part in narrower for name, limits in part.ranges.items())
    return (
        f"the service lets codes through within these ranges only, each by itself: {ranges}. The network takes some "
        "outside, too, with others next to them; declare other ranges as ranges of the Input if they are needed",
    )


class _Prover:
    def __init__(
        self,
        contract: Contract,
        graph: StepFunction,
        generator: np.random.Generator,
        tolerance: float,
        carried_steps: int,
    ) -> None:
        self._tolerance = tolerance
        self._carried_steps = carried_steps
        self._contract = contract
        self._graph = graph
        self._generator = generator
        usual = ONE_STEP_LENGTHS if contract.inputs.time_axis is None else LENGTHS
        self.lengths = up_to(usual, num_steps(contract, max(usual)))
        self.batch_sizes = up_to(BATCH_SIZES, num_rows(contract, max(BATCH_SIZES)))
        self.long_steps = num_steps(contract, LONG_RUN[1])

    def batches(self, length: int) -> Measured:
        """All batch sizes at one length, each run whole; every row also alone."""
        most = max(self.batch_sizes)
        sequences = self._draw(most, length)
        alone = [self._run(self._graph, sequences[row : row + 1]) for row in range(most)]
        worst, same = 0.0, True
        for batch_size in self.batch_sizes:
            part = sequences[:batch_size]
            answer = self._run(self._graph, part)
            worst = max(worst, self._compare(answer, part))
            same &= self._equal(answer, self._join(alone[:batch_size]))
        return Measured("whole", f"B 1 to {most}, T {length}", worst, same)

    def chunkings(self) -> Measured:
        """Sequences cut at random places, the state carried, against the network so cut and the graph whole."""
        length = max(self.lengths)
        worst, same = 0.0, True
        for index in range(NUM_CHUNKINGS):
            batch_size = self.batch_sizes[index % len(self.batch_sizes)]
            sequences = self._draw(batch_size, length)
            cuts = self._cuts(length, num_cuts=min(length - 1, (length - 1, 3, 20)[index % 3]))
            answer = self._run(self._graph, sequences, cuts)
            worst = max(worst, self._compare(answer, sequences, cuts))
            alone = [self._run(self._graph, sequences[row : row + 1]) for row in range(batch_size)]
            same &= self._equal(answer, self._join(alone))
        return Measured("in chunks", f"{NUM_CHUNKINGS} chunkings of T {length}", worst, same)

    def long_run(self) -> Measured:
        """One long sequence or two: differences must not grow with the steps."""
        batch_size, length = LONG_RUN[0], self.long_steps
        sequences = self._draw(batch_size, length)
        answer = self._run(self._graph, sequences)
        alone = [self._run(self._graph, sequences[row : row + 1]) for row in range(batch_size)]
        return Measured(
            "whole",
            f"B {batch_size}, T {length}",
            self._compare(answer, sequences),
            self._equal(answer, self._join(alone)),
        )

    def _draw(self, batch_size: int, length: int) -> Array:
        return self._contract.draw(self._generator, batch_size, length)

    def _cuts(self, length: int, num_cuts: int) -> list[int]:
        return sorted(int(cut) for cut in self._generator.choice(np.arange(1, length), num_cuts, replace=False))

    def _run(
        self, step: StepFunction, sequences: Array, cuts: Sequence[int] = (), states: States | None = None
    ) -> Answer:
        contract = self._contract
        states = contract.initial_states(len(sequences)) if states is None else states
        try:
            return contract.run(step, sequences, states, cuts)
        except ExportError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise self._size_error(sequences, error) from error

    def _compare(self, answer: Answer, sequences: Array, cuts: Sequence[int] = ()) -> float:
        """The difference to the network, run the same way.

        Raises:
            ExportError: it is over the tolerance, or the network itself answers differently in chunks.
        """
        if 0 < self._carried_steps < sequences.shape[1]:
            if cuts:  # over so many steps rounding has not grown yet: what differs, the states do not carry
                part = sequences[:, : self._carried_steps]
                halves = self._run(self._contract, part, [part.shape[1] // 2])
                self._check_recurrent(halves, self._run(self._contract, part))
            return self._compare_parts(sequences)
        wanted = self._run(self._contract, sequences, cuts)
        if cuts:
            self._check_recurrent(wanted, self._run(self._contract, sequences))
        return self._difference(answer, wanted, sequences, cuts)

    def _compare_parts(self, sequences: Array) -> float:
        """The largest difference over parts of ``carried_steps``, each begun with the network's states."""
        worst, states = 0.0, self._contract.initial_states(len(sequences))
        for start in range(0, sequences.shape[1], self._carried_steps):
            part = sequences[:, start : start + self._carried_steps]
            wanted = self._run(self._contract, part, states=states)
            worst = max(worst, self._difference(self._run(self._graph, part, states=states), wanted, part))
            states = wanted[1]
        return worst

    def _difference(self, answer: Answer, wanted: Answer, sequences: Array, cuts: Sequence[int] = ()) -> float:
        failed = self._contract.failed_rows(wanted[0])
        if failed.any():
            check_failed(self._contract.failed_rows(answer[0]), failed)
            answer, wanted = self._without(failed, answer), self._without(failed, wanted)
        place, difference = worst_place(self._named(answer), self._named(wanted))
        if not difference <= self._tolerance:
            raise ExportError(
                f"the graph differs from {original_of(self._contract.module)} by {difference:.2g} in {place}, over "
                f"{self._tolerance:.2g}, for {sequences.shape[0]} sequences of {sequences.shape[1]} steps"
                + (f" in {len(cuts) + 1} chunks" if cuts else "")
                + ": look for a size, a random number or a training-time behaviour that tracing fixed, or for sums "
                "that lose digits in float32"
            )
        return difference

    def _named(self, answer: Answer) -> dict[str, Array]:
        states = zip(self._contract.states, answer[1], strict=True)
        return {**self._contract.named(answer[0]), **{f"state {state.name!r}": numbers for state, numbers in states}}

    def _check_recurrent(self, in_chunks: Answer, whole: Answer) -> None:
        sound = ~(self._contract.failed_rows(in_chunks[0]) & self._contract.failed_rows(whole[0]))
        chunks, wholes = (list(self._contract.named(answer[0][sound]).values()) for answer in (in_chunks, whole))
        difference = max(largest_difference(given, wanted) for given, wanted in zip(chunks, wholes, strict=True))
        if not difference <= max(CHUNK_TOLERANCE, TOLERANCE * largest_of(wholes)):
            raise ExportError(
                f"cut into chunks the network answers differently from one run over the whole sequence (difference "
                f"{difference:.2g}): its states do not carry all that its output depends on, so it cannot be served "
                "in sessions; carry it as a state"
            )

    def _join(self, rows: list[Answer]) -> Answer:
        states = tuple(
            np.concatenate([row[1][index] for row in rows], axis=state.batch_axis)
            for index, state in enumerate(self._contract.states)
        )
        return np.concatenate([row[0] for row in rows], axis=0), states

    def _without(self, failed: Array, answer: Answer) -> Answer:
        """The rows of an answer that have not failed."""
        states = zip(self._contract.states, answer[1], strict=True)
        return answer[0][~failed], tuple(np.compress(~failed, rows, state.batch_axis) for state, rows in states)

    def _equal(self, given: Answer, wanted: Answer) -> bool:
        failed = self._contract.failed_rows(given[0]) & self._contract.failed_rows(wanted[0])
        if failed.any():
            given, wanted = self._without(failed, given), self._without(failed, wanted)
        return identical((given[0], *given[1]), (wanted[0], *wanted[1]))

    def _size_error(self, sequences: Array, error: Exception) -> ExportError:
        batch_size, length = sequences.shape[:2]
        return ExportError(
            f"axis {self._static_axis(batch_size)} is secretly static: the graph fails on {batch_size} sequences of "
            f"{length} steps ({first_line(error)}); look for a size that is read as a number"
        )

    def _static_axis(self, batch_size: int) -> str:
        """B where the graph fails on another batch of the length that it was traced with, T otherwise."""
        sequences = self._draw(batch_size, TRACED_SIZES[1])
        states = self._contract.initial_states(batch_size)
        try:
            self._contract.run(self._graph, sequences, states)
        except Exception:  # onnxruntime's own exceptions share no base class
            return "B"
        return "T"
