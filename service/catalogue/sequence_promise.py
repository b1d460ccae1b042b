"""The promise of a graph over whole sequences, found by probes: which may share a run, and padded to what length.

As of a recurrent graph, rounding is distinguished from dependence: a sequence whose last bits change with the shape of
its run is served in another shape; one whose numbers change when only its neighbours do, or what is in its padding,
has no answer of its own, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import ANY, BY_ITSELF, Promise
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.artifact.tensors import Input
from ostinato.service.catalogue.probes import amounts
from ostinato.service.catalogue.promise_checks import DEPENDENT, SAME_IN_SHAPE, SAME_TO_ROUNDING
from ostinato.service.engine.sequence.runner import Fill, SequenceRunner, run_alone
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

FIXED_ROWS = Promise(holds="fixed", rows=16)
TWO_ROWS = Promise(holds="any", rows=2)
NUM_RAGGED = 40
PROBED_LENGTHS = (1, 2, 3, 5, 8, 13, 16, 17, 24, 33, 47, 64)
MAGNITUDES = (1.0, 1e-3, 30.0)


class SequenceProbe(NamedTuple):
    """A sequence, rows ``[n, width]``, and its context."""

    rows: NDArray[Any]
    context: Rows

    def cut(self, num_steps: int) -> SequenceProbe:
        """As many steps of it, from the beginning again where it has fewer."""
        return SequenceProbe(self.rows[np.arange(num_steps) % len(self.rows)], self.context)


def draw_sequence_probes(
    runner: SequenceRunner, known: Sequence[SequenceProbe], num_probes: int = NUM_RAGGED, seed: int = 0
) -> list[SequenceProbe]:
    """Sequences of many lengths out of those that the model is known to take: as they are, and with amounts that no
    sum of theirs is exact for, in several magnitudes. Codes and integers stay among those given.
    """
    generator = np.random.default_rng(seed)
    probes = []
    for index in range(num_probes):
        given = known[index % len(known)]
        most = max(PROBED_LENGTHS)
        length = PROBED_LENGTHS[index] if index < len(PROBED_LENGTHS) else int(generator.integers(1, most + 1))
        start = int(generator.integers(len(given.rows)))
        probe = SequenceProbe(np.roll(given.rows, -start, axis=0), given.context).cut(length)
        rough = _roughened(runner, probe, MAGNITUDES[index % len(MAGNITUDES)], generator)
        probes.append(rough if _is_answered(runner, rough) else probe)
    return [probe for probe in probes if _is_answered(runner, probe)]


def find_sequence_promise(
    runner: SequenceRunner, probes: Sequence[SequenceProbe], *, may_be_any: bool = True
) -> Promise:
    """The first that holds of: any run, any of two rows at least, a fixed shape, by itself."""
    for promise in (ANY, TWO_ROWS, FIXED_ROWS) if may_be_any else (FIXED_ROWS,):
        if sequence_promise_holds(runner.promising(promise), probes):
            return promise
    return BY_ITSELF


def sequence_promise_holds(runner: SequenceRunner, probes: Sequence[SequenceProbe], seed: int = 1) -> bool:
    """Whether each sequence is the same, to the bit, by itself and in whatever run the promise allows."""
    if runner.promise.holds == "alone":
        return True
    generator = np.random.default_rng(seed)
    by_itself = [run_alone(runner, *probe) for probe in probes]
    for chosen, num_steps in _runs(runner, probes, generator):
        made = runner.run([probes[each].rows for each in chosen], [probes[each].context for each in chosen], num_steps)
        if not all(_same(rows, by_itself[each]) for rows, each in zip(made, chosen, strict=True)):
            return False
    return all(
        _same(made, by_itself[watched])
        for watched in range(0, len(probes), max(1, len(probes) // 6))
        for _, made in _beside_others(runner, probes, watched, generator)
    )


def check_sequences_are_their_own(runner: SequenceRunner, probes: Sequence[SequenceProbe]) -> None:
    """Run sequences among others and among others still, and with anything in their padding.

    Args:
        runner: of any shape (``ANY``).

    Raises:
        ModelRejected: a sequence's numbers change by more than rounding.
    """
    generator = np.random.default_rng(2)
    if runner.manifest.lengths:  # first: whatever heeds its padding seems to heed its company, which brings it
        _check_padding(runner, [probe for probe in probes if not _is_far_from_zero(runner, probe)][:12], generator)
    for watched in range(0, len(probes), max(1, len(probes) // 6)):
        probe = probes[watched]
        wanted: NDArray[Any] | None = None
        for what, made in _beside_others(runner, probes, watched, generator):
            wanted = made if wanted is None else wanted
            _check_close(runner, made, wanted, f"with {what} next to it", SAME_IN_SHAPE)
        if wanted is not None and not _is_far_from_zero(runner, probe):
            _check_close(runner, run_alone(runner, *probe), wanted, "alone and among others", SAME_TO_ROUNDING)


def _check_padding(runner: SequenceRunner, probes: Sequence[SequenceProbe], generator: np.random.Generator) -> None:
    for probe in probes:
        num_steps = len(probe.rows) + int(generator.integers(1, 9))
        padded = runner.run([probe.rows], [probe.context], num_steps)[0]
        for what, fill in (("large numbers in", _large), ("its own beginning in", _again(runner, probe))):
            changed = runner.run([probe.rows], [probe.context], num_steps, fill)[0]
            _check_heeded(runner, changed, padded, f"with {what} its padding")
        _check_heeded(runner, padded, run_alone(runner, *probe), "padded")


def _check_heeded(runner: SequenceRunner, made: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
    difference = _difference(runner, made, wanted)
    if not difference <= SAME_TO_ROUNDING:
        raise ModelRejected(
            f"a sequence's answer depends on its padding: {what}, it changes by {difference:.2g}. The content at and "
            "beyond its length must not matter: pack the sequences, and mask means, maxima and attention over the "
            "steps by the lengths"
        )


def _runs(
    runner: SequenceRunner, probes: Sequence[SequenceProbe], generator: np.random.Generator
) -> Iterator[tuple[list[int], int | None]]:
    """Runs that the promise allows: which probes, and padded to what; None = as the promise says."""
    everything = list(range(len(probes)))
    if runner.company.mixes:
        longest = max(len(probe.rows) for probe in probes)
        for each in everything:
            for num_steps in {len(probes[each].rows) + 1, longest, 2 * longest}:
                yield [each], num_steps
        for _ in range(len(probes)):
            yield generator.choice(everything, 2).tolist(), None
        for size in (3, 4, 5, 7, 8, 16, 17, 31, 32, 33, len(probes), 64):
            yield generator.choice(everything, size).tolist(), None
        return
    classes: dict[int, list[int]] = {}
    for each in everything:
        classes.setdefault(runner.company.class_of(len(probes[each].rows)), []).append(each)
    most = runner.promise.rows if runner.promise.holds == "fixed" else 33
    for alike in classes.values():
        for size in (2, 3, 5, 8, 16, 17, 33):
            if size <= most:
                yield generator.choice(alike, size).tolist(), None


def _beside_others(
    runner: SequenceRunner, probes: Sequence[SequenceProbe], watched: int, generator: np.random.Generator
) -> Iterator[tuple[str, NDArray[Any]]]:
    """A sequence's rows beside others that are like it, or not at all, always in one place of one shape."""
    probe = probes[watched]
    place, num_rows = 2, min(5, runner.promise.rows if runner.promise.holds == "fixed" else 5)
    company = [each for each in probes if runner.company.mixes or len(each.rows) == len(probe.rows)] or [probe]
    longest = max(len(probe.rows), max(PROBED_LENGTHS) if runner.company.mixes else 0)
    for what, factor in _kinds(runner):
        others = [company[int(generator.integers(len(company)))] for _ in range(num_rows)]
        if factor is not None:
            others = [_scaled(runner, other, factor) for other in others]
        others[place] = probe
        if not runner.company.mixes:
            longest = runner.company.padded_steps(len(probe.rows))
        try:
            made = runner.run([each.rows for each in others], [each.context for each in others], longest)
        except RunFailed:
            continue  # what the graph does not take is not refused for it
        yield what, made[place]


def _kinds(runner: SequenceRunner) -> list[tuple[str, float | None]]:
    kinds: list[tuple[str, float | None]] = [("other sequences", None), ("others still", None)]
    parts = runner.manifest.inputs
    if any(amounts(part) for part in parts):
        kinds += [("zeros", 0.0), ("large numbers", 1e4), ("the signs turned", -1.0)]
        if any(part.missing for part in parts):
            kinds.append(("missing values", np.nan))
    return kinds


def _scaled(runner: SequenceRunner, probe: SequenceProbe, factor: float) -> SequenceProbe:
    """Its amounts times ``factor``; missing ones where it is NaN, in inputs that may have such."""
    rows = probe.rows.copy()
    for part, numbers in zip(runner.manifest.inputs, runner.manifest.given.flat(rows), strict=True):
        columns = amounts(part)
        if columns and (part.missing or not np.isnan(factor)):
            numbers[..., columns] = numbers[..., columns] * factor + (factor > 1)
    return SequenceProbe(rows, probe.context)


def _roughened(
    runner: SequenceRunner, probe: SequenceProbe, magnitude: float, generator: np.random.Generator
) -> SequenceProbe:
    rows = probe.rows.copy()
    for part, numbers in zip(runner.manifest.inputs, runner.manifest.given.flat(rows), strict=True):
        for column in amounts(part):
            given = numbers[..., column].astype(np.float64)
            seen = given[np.isfinite(given)]
            noise = generator.normal(size=given.shape) * 0.3 * ((seen.std() if seen.size else 0.0) or 1.0)
            numbers[..., column] = (given * generator.uniform(0.6, 1.0, given.shape) + noise) * magnitude
    return SequenceProbe(rows, probe.context)


def _large(part: Input, padding: NDArray[Any]) -> None:
    """Numbers that would be seen; codes stay codes."""
    padding[...] = 1e3 if amounts(part) else padding.dtype.type((part.num_codes or 2) - 1)


def _again(runner: SequenceRunner, probe: SequenceProbe) -> Fill:
    """Puts the sequence's own beginning into its padding."""
    tensors = zip(runner.manifest.inputs, runner.manifest.given.unpack(probe.rows), strict=True)
    by_name = {part.name: tensor for part, tensor in tensors}

    def fill(part: Input, padding: NDArray[Any]) -> None:
        tensor = by_name[part.name]
        padding[...] = tensor[np.arange(len(padding)) % len(tensor)]

    return fill


def _is_answered(runner: SequenceRunner, probe: SequenceProbe) -> bool:
    """Whether the graph runs on it, and does not give NaN, of which there is no telling."""
    try:
        made = run_alone(runner, *probe)
    except RunFailed:
        return False
    return not any(np.isnan(each).any() for each in runner.manifest.made.flat(made) if each.dtype.kind == "f")


def _is_far_from_zero(runner: SequenceRunner, probe: SequenceProbe) -> bool:
    """Whether rounding alone may come to more than can be told from dependence."""
    numbers = [each for each in runner.manifest.given.flat(probe.rows) if each.dtype.kind == "f"]
    return any(float(np.abs(each[np.isfinite(each)]).max(initial=0)) > 1e3 for each in numbers)


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.tobytes() == other.tobytes()


def _difference(runner: SequenceRunner, one: NDArray[Any], other: NDArray[Any]) -> float:
    made = runner.manifest.made
    return max(largest_difference(a, b) for a, b in zip(made.flat(one), made.flat(other), strict=True))


def _check_close(runner: SequenceRunner, made: NDArray[Any], wanted: NDArray[Any], what: str, tolerance: float) -> None:
    difference = _difference(runner, made, wanted)
    if not difference <= tolerance:
        raise ModelRejected(DEPENDENT.format(what=what, place="the output", difference=difference))
