"""The promise of a recurrent graph, found by probes: in which shapes a row's numbers are the same to the bit.

Rounding is distinguished from dependence. A row whose last bits change with the shape of its run is still its own: it
is served in another shape. A row whose numbers change when only its neighbours do has no answer of its own, and is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import ALONE, ANY, Manifest, Promise
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.catalogue.probes import NUM_PROBED_STEPS, Probe, amounts, run_on
from ostinato.service.engine.recurrent.offline import Answers
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

FIXED = Promise(holds="fixed", rows=64, steps=1)
"""The shape for graphs that round by the shape. 64 rows: their values are multiples of every vector's length."""

TWO_ROWS = Promise(holds="any", rows=2)

BATCH_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 64, 100, 127, 255, 256)
LARGE_BATCH = 33
"""Larger batches than this are run for few steps, so that large graphs are loaded in time."""
NUM_STEPS_OF_LARGE = 3
SAME_TO_ROUNDING = 1e-3
"""What the shape of a run may make of a row's numbers by rounding alone; by more they would be other numbers."""
SAME_IN_SHAPE = 1e-5
"""The same, where only the neighbours are others: nothing is rounded differently there, as far as was seen."""

DEPENDENT = (
    "the rows of a batch depend on each other: {what}, {place} changes by {difference:.2g}. Sequences share their runs "
    "with others, so each must be computed by itself: look for a mean, a norm, a softmax or an attention over the "
    "batch, a BatchNorm in training mode, or a scale that a quantisation shares among the rows"
)


def find_promise(runner: Runner, probes: Sequence[Probe], *, may_be_any: bool = True) -> Promise:
    """The first that holds of: any shape, any of two rows at least, the fixed shape, alone.

    Args:
        runner: of whatever promise.
        may_be_any: False where that is known not to hold.
    """
    for promise in (ANY, TWO_ROWS) if may_be_any else ():
        if holds(runner.promising(promise), probes):
            return promise
    return FIXED if holds(runner.promising(FIXED), probes) else ALONE


def holds(runner: Runner, probes: Sequence[Probe]) -> bool:
    """Whether the runner's promise holds for all probes, to the bit."""
    kind = runner.promise.holds
    if kind == "alone":
        return True
    generator = np.random.default_rng(1)
    is_kept = _holds_in_any if kind == "any" else _holds_when_fixed
    return all(is_kept(runner, probe, generator) for probe in probes)


def check_rows_are_their_own(runner: Runner, probes: Sequence[Probe]) -> None:
    """Run rows among others, and among others still.

    Args:
        runner: of any shape (``ANY``).

    Raises:
        ModelRejected: a row's numbers change by more than rounding.
    """
    layout = runner.manifest.given
    for probe in probes:
        inputs, states = probe.inputs[:5, : None if runner.takes_many_steps else 1], tuple(s[:5] for s in probe.states)
        among = run_on(runner, inputs, states)
        for watched in (0, len(inputs) - 1):
            for what, others, their_states in _neighbours(layout, inputs, states):
                _put(others, their_states, [watched], inputs[[watched]], tuple(rows[[watched]] for rows in states))
                try:
                    changed = run_on(runner, others, their_states)
                except RunFailed:
                    continue  # what the graph does not take is not refused for it
                wanted = _rows(among, [watched])
                company = f"with {what} next to it"
                _check_same(runner.manifest, _rows(changed, [watched]), wanted, company, SAME_IN_SHAPE)
        _check_shapes(runner, inputs[:, :NUM_STEPS_OF_LARGE], states)


def _check_shapes(runner: Runner, inputs: NDArray[Any], states: Rows) -> None:
    """Alone, in another place and in a larger batch, up to rounding: over few steps, of which chaos makes little."""
    manifest, rows = runner.manifest, np.arange(17) % len(inputs)
    if _is_far_from_zero(manifest.given, inputs):
        return
    among = run_on(runner, inputs, states)
    alone = run_on(runner, inputs[:1], tuple(each[:1] for each in states))
    _check_same(manifest, alone, _rows(among, [0]), "alone and among others", SAME_TO_ROUNDING)
    crowd = run_on(runner, inputs[rows[::-1]], tuple(each[rows[::-1]] for each in states))
    _check_same(manifest, crowd, _rows(among, rows[::-1]), "in another batch or place", SAME_TO_ROUNDING)


def check_states_carry(runner: Runner, probes: Sequence[Probe]) -> None:
    """Run step by step and in one run, up to rounding.

    Args:
        runner: of any shape (``ANY``).

    Raises:
        ModelRejected: the states do not carry what the outputs depend on.
    """
    made = runner.manifest.made
    for probe in probes if runner.takes_many_steps else ():
        if _is_far_from_zero(runner.manifest.given, probe.inputs):
            continue
        rows = Probe(probe.inputs[:, :NUM_PROBED_STEPS], probe.states).rows(slice(0, 5))
        by_step, whole = (made.flat(run_on(runner, *rows, chunk_steps=steps)[0]) for steps in (1, None))
        difference = max(largest_difference(one, other) for one, other in zip(by_step, whole, strict=True))
        if not difference <= SAME_TO_ROUNDING:
            raise ModelRejected(
                f"step by step the graph answers differently from one run, by {difference:.2g}: its "
                "states do not carry all that its output depends on"
            )


def _is_far_from_zero(layout: RowLayout[Input], inputs: NDArray[Any]) -> bool:
    """Whether rounding alone may come to more than can be told from dependence."""
    numbers = [each for each in layout.flat(inputs) if each.dtype != np.bool_]
    return any(float(np.abs(each[np.isfinite(each)]).max(initial=0)) > 1e3 for each in numbers)


def _neighbours(
    layout: RowLayout[Input], inputs: NDArray[Any], states: Rows
) -> Iterator[tuple[str, NDArray[Any], tuple[NDArray[Any], ...]]]:
    """Other rows in the place of those given, arrays of the caller's own; with each what it is."""
    columns = [amounts(part) for part in layout.parts]
    turned = np.roll(np.arange(len(inputs)), 2)
    kinds: list[tuple[str, Any]] = [("other sequences", None)]
    if any(columns):
        kinds += [("zeros", 0.0), ("large numbers", 1e4), ("the signs turned", -1.0)]
        if any(part.missing for part in layout.parts):
            kinds.append(("missing values", np.nan))
    for what, factor in kinds:
        others = inputs[turned].copy()
        their_states = tuple(rows[turned].copy() for rows in states)
        if factor is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                for part, numbers, chosen in zip(layout.parts, layout.flat(others), columns, strict=True):
                    if chosen and (part.missing or not np.isnan(factor)):
                        most = np.finfo(numbers.dtype).max
                        numbers[..., chosen] = np.clip(numbers[..., chosen] * factor + (factor > 1), -most, most)
                for rows in their_states:
                    if rows.dtype.kind == "f" and abs(factor) <= 1:
                        rows *= rows.dtype.type(factor)
        yield what, others, their_states


def _holds_in_any(runner: Runner, probe: Probe, generator: np.random.Generator) -> bool:
    """Every row whole and alone, against batches of all sizes, in any place, cut anywhere, beside any others."""
    num_rows, num_steps, _ = probe.inputs.shape
    wanted = _joined([run_on(runner, *probe.rows([row])) for row in range(num_rows)])
    beginning = Probe(probe.inputs[:, :NUM_STEPS_OF_LARGE], probe.states)
    wanted_first = _joined([run_on(runner, *beginning.rows([row])) for row in range(num_rows)])
    for batch_size in BATCH_SIZES:
        if batch_size > max(runner.max_batch_size, 2):
            break
        rows = np.concatenate([generator.permutation(num_rows) for _ in range(-(-batch_size // num_rows))])[:batch_size]
        is_large = batch_size > LARGE_BATCH or num_steps > NUM_PROBED_STEPS < batch_size
        inputs, states = (beginning if is_large else probe).rows(rows)
        for cuts in ((), _cuts(inputs.shape[1], generator)):
            made = run_on(runner, inputs, states, cuts=cuts)
            if not _same(made, _rows(wanted_first if is_large else wanted, rows)):
                return False
    place = min(2, num_rows - 1)
    return _are_same_beside_others(runner, probe, wanted, np.arange(min(5, num_rows)), [place], None)


def _holds_when_fixed(runner: Runner, probe: Probe, generator: np.random.Generator) -> bool:
    """Every row at the fixed shape, step by step, in any place and beside any others."""
    num_rows = len(probe.inputs)
    shape_rows = runner.promise.rows
    alone = _joined([run_on(runner, *probe.rows([row]), chunk_steps=1) for row in range(num_rows)])
    for _ in range(3):
        rows = generator.integers(num_rows, size=shape_rows)
        if not _same(run_on(runner, *probe.rows(rows), chunk_steps=1), _rows(alone, rows)):
            return False
    crowd = generator.integers(num_rows, size=shape_rows)
    places = generator.choice(shape_rows, size=min(8, num_rows, max(1, shape_rows // 2)), replace=False)
    return _are_same_beside_others(runner, probe, alone, crowd, places, 1)


def _are_same_beside_others(
    runner: Runner, probe: Probe, wanted: Answers, crowd: Any, places: Any, chunk_steps: int | None
) -> bool:
    """Whether the first rows of the probe are as wanted at these places of a crowd, which is like them or not."""
    first = np.arange(len(places))
    for _, others, their_states in _neighbours(runner.manifest.given, *probe.rows(crowd)):
        _put(others, their_states, places, *probe.rows(first))
        try:
            beside = run_on(runner, others, their_states, chunk_steps=chunk_steps)
        except RunFailed:
            continue
        if not _same(_rows(beside, places), _rows(wanted, first)):
            return False
    return True


def _put(others: NDArray[Any], their_states: Rows, places: Any, inputs: NDArray[Any], states: Rows) -> None:
    others[places] = inputs
    for rows, own in zip(their_states, states, strict=True):
        rows[places] = own


def _cuts(num_steps: int, generator: np.random.Generator) -> list[int]:
    num_cuts = int(generator.integers(1, num_steps)) if num_steps > 1 else 0
    return sorted(generator.choice(np.arange(1, num_steps), num_cuts, replace=False).tolist()) if num_cuts else []


def _rows(answers: Answers, rows: Any) -> Answers:
    return answers[0][rows], tuple(each[rows] for each in answers[1])


def _joined(answers: Sequence[Answers]) -> Answers:
    states = zip(*(behind for _, behind in answers), strict=True)
    return np.concatenate([made for made, _ in answers]), tuple(np.concatenate(each) for each in states)


def _same(one: Answers, other: Answers) -> bool:
    pairs = zip([one[0], *one[1]], [other[0], *other[1]], strict=True)
    return all(a.tobytes() == b.tobytes() or _same_but_nan(a, b) for a, b in pairs)


def _same_but_nan(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether only NaN differ in their bits: a state may be one, and which of them means nothing."""
    nan = np.isnan(one)
    return bool((nan == np.isnan(other)).all()) and one[~nan].tobytes() == other[~nan].tobytes()


def _check_same(manifest: Manifest, changed: Answers, wanted: Answers, what: str, tolerance: float) -> None:
    difference, place = _worst(manifest, changed, wanted)
    if not difference <= tolerance:
        raise ModelRejected(DEPENDENT.format(what=what, place=place, difference=difference))


def _worst(manifest: Manifest, one: Answers, other: Answers) -> tuple[float, str]:
    """The largest difference, and where it is."""
    made = manifest.made
    names = ["the output"] if made.is_single else [f"output {part.name!r}" for part in made.parts]
    places = [*names, *(f"state {state.name!r}" for state in manifest.carried)]
    pairs = zip([*made.flat(one[0]), *one[1]], [*made.flat(other[0]), *other[1]], places, strict=True)
    return max(((largest_difference(a, b), place) for a, b, place in pairs), key=lambda each: each[0])
