"""The proof of a graph over whole sequences: it answers what the network answers to each by itself, whatever shares its
run and however it is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ostinato.export.contracts.axes import Array, to_axes
from ostinato.export.contracts.preparation import original_of
from ostinato.export.contracts.sequence import SequenceContract
from ostinato.export.errors import ExportError
from ostinato.export.proofs.proof import Measured, Proof, ProofReport, measure
from ostinato.export.proofs.rounding import tolerance_for
from ostinato.service.artifact.manifest import ANY, GraphFile, Manifest, Promise
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.catalogue.sequence_promise import (
    SequenceProbe,
    check_sequences_are_their_own,
    draw_sequence_probes,
    find_sequence_promise,
)
from ostinato.service.engine.sequence.runner import SequenceRunner
from ostinato.service.errors import ModelRejected, RunFailed

BATCH_SIZES = (1, 2, 5, 17, 40)
LONGEST = 64
LONG_LENGTHS = (200, 150, 3)
NUM_SEEDS = 3
_MAX_BATCH_SIZE = 256
# (lengths) of the golden cases; of modules without lengths, each length stands by itself.
GOLDEN_CASES = {"one_step": (1,), "one": (40,), "ragged": (17, 9, 1, 5, 12), "wide": (4, 2, 3, 1) * 4}
# What rounding alone makes of a sequence in other company, or padded.
_SAME_TO_ROUNDING = 1e-3


@dataclass(frozen=True)
class _Prover:
    contract: SequenceContract
    runner: SequenceRunner
    tolerance: float

    def ragged(self, batch_size: int) -> Measured:
        """Sequences of many lengths in one run, against the network on each by itself."""
        generator = np.random.default_rng(batch_size)
        lengths = generator.integers(1, LONGEST + 1, batch_size).tolist()
        if not self.contract.lengths:
            lengths = [lengths[0]] * batch_size
        return self._measured("together", f"B {batch_size}, T 1 to {LONGEST}", lengths)

    def long(self) -> Measured:
        """Long sequences: differences must not grow with the steps."""
        lengths = LONG_LENGTHS if self.contract.lengths else LONG_LENGTHS[:1]
        return self._measured("long", f"B {len(lengths)}, T up to {max(lengths)}", lengths)

    def _measured(self, what: str, sizes: str, lengths: Sequence[int]) -> Measured:
        drawn = self.contract.draw(np.random.default_rng(len(lengths)), lengths)
        rows, contexts = [rows for rows, _ in drawn], [context for _, context in drawn]
        wanted = [self.contract.alone(*each) for each in drawn]
        try:
            made = self.runner.run(rows, contexts)
            by_itself = [self.runner.run([each], [context])[0] for each, context in drawn]
        except RunFailed as error:
            raise ExportError(f"the exported graph: {error}; look for a size that is read as a number") from error
        worst = max(self._difference(ours, theirs) for ours, theirs in zip(made, wanted, strict=True))
        if not worst <= self.tolerance:
            self._explain(by_itself, wanted, worst)
        same = all(one.tobytes() == other.tobytes() for one, other in zip(made, by_itself, strict=True))
        return Measured(what, sizes, worst, same)

    def _difference(self, ours: Array, theirs: Array) -> float:
        layout = self.contract.made
        worst = 0.0
        for one, other in zip(layout.flat(ours), layout.flat(theirs), strict=True):
            if other.dtype.kind == "f" and np.isnan(other).any():
                if not np.isnan(one).any():
                    raise ExportError(
                        "the network gives NaN for a probe where the graph gives numbers: an operator of onnxruntime "
                        "loses NaN there; keep NaN from arising, or say by the input's statistics what it is sent"
                    )
                continue
            worst = max(worst, largest_difference(one, other))
        return worst

    def _explain(self, by_itself: Sequence[Array], wanted: Sequence[Array], worst: float) -> None:
        alone = max(self._difference(ours, theirs) for ours, theirs in zip(by_itself, wanted, strict=True))
        where = "each sequence by itself" if alone > self.tolerance else "sequences together"
        original = original_of(self.contract.module)
        raise ExportError(
            f"the graph differs from {original} by {worst:.2g}, over {self.tolerance:.2g}, for "
            f"{where}: look for a size, a random number or a training-time behaviour that tracing fixed"
        )


def sequence_runner(contract: SequenceContract, path: Path) -> SequenceRunner:
    """The graph as the service runs it, in any shape.

    Raises:
        ModelRejected: onnxruntime cannot load it, or it is not what the contract says.
    """
    described = Manifest(
        name=path.stem,
        version="1",
        task="sequence",
        graphs={"sequence": GraphFile(file=path.name, sha256="0" * 64)},
        inputs=contract.inputs,
        outputs=contract.outputs,
        context=contract.context,
        lengths=contract.lengths,
        constants=contract.constants,
        promise=ANY,
    )
    return SequenceRunner(described, path.parent, max_batch_size=_MAX_BATCH_SIZE)


def prove_sequences(
    contract: SequenceContract, runner: SequenceRunner, report: ProofReport, tolerance: float = 0.0
) -> Proof:
    """Compare the graph with the network over ragged batches, and with itself.

    Args:
        runner: of the graph, of any shape.
        tolerance: the largest relative difference that is let pass; 0 = what the network's own rounding comes to.

    Raises:
        ExportError: the graph fails, or it differs.
    """
    tolerance = tolerance or _own_tolerance(contract)
    prover = _Prover(contract, runner, tolerance)
    tasks: list[Callable[[], Measured]] = [partial(prover.ragged, size) for size in BATCH_SIZES]
    tasks.append(prover.long)
    lengths = (1, LONGEST, *LONG_LENGTHS)
    return measure(tasks, report, tolerance=tolerance, batch_sizes=BATCH_SIZES, lengths=lengths, num_chunkings=0)


def sequence_promise(contract: SequenceContract, runner: SequenceRunner, *, may_be_any: bool = True) -> Promise:
    """The promise of a graph, over more probes than the service takes the time for at load.

    Raises:
        ExportError: sequences depend on each other, or on their padding.
    """
    probes: list[SequenceProbe] = []
    for seed in range(NUM_SEEDS):
        known = [SequenceProbe(*each) for each in contract.draw(np.random.default_rng(seed), (1, 8, 24, 64, 33))]
        probes += draw_sequence_probes(runner, known, seed=seed)[: 40 if seed == 0 else 20]
    try:
        check_sequences_are_their_own(runner, probes)
        return find_sequence_promise(runner, probes, may_be_any=may_be_any)
    except (ModelRejected, RunFailed) as error:
        raise ExportError(f"the exported graph: {error}") from error


def golden_sequences(contract: SequenceContract) -> dict[str, Array]:
    """The cases of ``golden.safetensors``: ``<case>/<name in the graph>``, padded with zeros, in the graph's own axes.

    Raises:
        ExportError: the network gives NaN for every probe.
    """
    generator = np.random.default_rng(1)
    golden: dict[str, Array] = {}
    for case, wanted_lengths in GOLDEN_CASES.items():
        lengths = wanted_lengths if contract.lengths else (max(wanted_lengths),) * len(wanted_lengths)
        drawn = [(rows, context, contract.alone(rows, context)) for rows, context in contract.draw(generator, lengths)]
        drawn = [each for each in drawn if not _has_nan(contract, each[2])]
        if not drawn:
            continue
        num_steps = max(len(rows) for rows, _, _ in drawn)
        for index, part in enumerate(contract.inputs):
            wide = np.zeros((len(drawn), num_steps, *part.row_shape), part.dtype)
            for row, (rows, _, _) in enumerate(drawn):
                wide[row, : len(rows)] = contract.given.unpack(rows)[index]
            golden[f"{case}/{part.name}"] = to_axes(wide, part)
        for index, part in enumerate(contract.context):
            known = np.stack([context[index] for _, context, _ in drawn])
            golden[f"{case}/{part.name}"] = to_axes(known[:, None], part)
        if contract.lengths:
            golden[f"{case}/{contract.lengths}"] = np.array([len(rows) for rows, _, _ in drawn], np.int64)
        for index, made in enumerate(contract.outputs):
            num_made = num_steps if made.time_axis is not None else 1
            outputs = np.zeros((len(drawn), num_made, *made.row_shape), made.dtype)
            for row, (_, _, answer) in enumerate(drawn):
                numbers = contract.made.unpack(answer)[index]
                outputs[row, : len(numbers) if made.time_axis is not None else 1] = (
                    numbers if made.time_axis is not None else numbers[-1:]
                )
            golden[f"{case}/{made.name}"] = to_axes(outputs, made)
    if not golden:
        raise ExportError(
            "the network gives NaN for every probe: say by the input's statistics (minimum, maximum, mean, std) what "
            "it is sent"
        )
    return golden


def _has_nan(contract: SequenceContract, answer: Array) -> bool:
    return any(np.isnan(each).any() for each in contract.made.flat(answer) if each.dtype.kind == "f")


def check_sequences_of_network(contract: SequenceContract) -> None:
    """Refuse a network of which a sequence's answer depends on what shares its batch, or on its padding.

    Raises:
        ExportError: it does.
    """
    lengths = (24, 13, 7, 7, 2, 1) if contract.lengths else (7,) * 4
    drawn = contract.draw(np.random.default_rng(3), lengths)
    rows, contexts = [rows for rows, _ in drawn], [context for _, context in drawn]
    alone = [contract.alone(*each) for each in drawn]
    alike = [index for index, length in enumerate(lengths) if length == 7]
    beside = contract.answer([rows[index] for index in alike], [contexts[index] for index in alike])
    for index, made in zip(alike, beside, strict=True):
        _check_same(contract, made, alone[index], "together")
    if not contract.lengths:
        return
    for each, context, wanted in zip(rows[1:], contexts[1:], alone[1:], strict=True):
        for padding in (0.0, 3.0):
            # One that fills the batch is above, for networks that ask packed sequences how long they are.
            made = contract.answer([rows[0], each], [contexts[0], context], padding=padding)[1]
            _check_same(contract, made, wanted, "padded")
    for made, wanted in zip(contract.answer(rows, contexts), alone, strict=True):
        _check_same(contract, made, wanted, "padded")


def _check_same(contract: SequenceContract, made: Array, wanted: Array, how: str) -> None:
    layout = contract.made
    pairs = zip(layout.flat(made), layout.flat(wanted), strict=True)
    sound = [(a, b) for a, b in pairs if not (b.dtype.kind == "f" and np.isnan(b).any())]
    worst = max((largest_difference(a, b) for a, b in sound), default=0.0)
    if worst <= _SAME_TO_ROUNDING:
        return
    if how == "padded":
        raise ExportError(
            f"the network reads the padding of its sequences: padded, an answer changes by {worst:.2g}. The content at "
            "and beyond a length must not matter: pack the sequences (pack_padded_sequence), and mask means, maxima "
            "and attention by the lengths; or take no lengths in forward: each is then run at its own length"
        )
    raise ExportError(
        f"the sequences of a batch depend on each other: together, an answer changes by {worst:.2g}; look for a mean, "
        "a norm, a softmax or an attention over the batch, or a BatchNorm in training mode"
    )


def _own_tolerance(contract: SequenceContract) -> float:
    """What the graph may differ by, which follows from how the network differs from itself in float64."""
    worst = 0.0
    try:
        wide = contract.in_doubles()
        for rows, context in contract.draw(np.random.default_rng(0), (64, 33, 200)):
            pairs = zip(*(contract.made.flat(each.alone(rows, context)) for each in (contract, wide)), strict=True)
            worst = max([worst, *(largest_difference(ours, theirs) for ours, theirs in pairs)])
    except Exception:  # a user's module may raise anything where it meets another dtype
        return tolerance_for(0.0)
    return tolerance_for(worst)
