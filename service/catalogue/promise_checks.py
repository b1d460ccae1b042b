"""The promise of a recurrent graph, found by probes: in which shapes a row's numbers are the same to the bit.

Rounding is told from dependence. A row whose last bits change with the shape of its run is still its own: it is served
in another shape. A row whose numbers change when only its neighbours do has no answer of its own, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import ALONE, ANY, Manifest, Promise
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.artifact.tensors import Input
from ostinato.service.engine.recurrent.offline import Answers
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

FIXED = Promise(holds="fixed", rows=64, steps=1)
"""The shape for graphs that round by the shape. 64 rows: their values are multiples of every vector's length."""

TWO_ROWS = Promise(holds="any", rows=2)

BATCH_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 64, 100, 127, 255, 256)
MAGNITUDES = (1.0, 1e-3, 30.0)
NUM_PROBED_STEPS = 12
LONG_STEPS = 160
NUM_LONG_ROWS = 3
LARGE_BATCH = 33
"""Larger batches than this are run for few steps, so that large graphs are loaded in time."""
NUM_STEPS_OF_LARGE = 3
SAME_TO_ROUNDING = 1e-3
"""What the shape of a run may make of a row's numbers by rounding alone; by more they would be other numbers."""
SAME_IN_SHAPE = 1e-5
"""The same, where only the neighbours are others: nothing is rounded otherwise there, as far as was seen."""

DEPENDENT = (
    "the rows of a batch depend on each other: {what}, {place} changes by {difference:.2g}. Sequences share their runs "
    "with others, so each must be computed by itself: look for a mean, a norm, a softmax or an attention over the "
    "batch, a BatchNorm in training mode, or a scale that a quantisation shares among the rows"
)


class Probe(NamedTuple):
    """Sequences ``[N, T, F]`` and the states ``[N, ...]`` that they begin with."""

    inputs: NDArray[Any]
    states: Rows


def draw_probes(runner: Runner, sequences: Sequence[NDArray[Any]], num_rows: int, seed: int = 0) -> list[Probe]:
    """Probes from sequences that the model takes, arrays ``[B, T, F]``: as they are, and with inputs that no sum of
    theirs is exact for, as whole numbers' are, in several magnitudes. Categories and integers stay among those given.

    Some begin with the initial states, and some with those behind another sequence.
    """
    generator = np.random.default_rng(seed)
    part = runner.manifest.inputs[0]
    probes = []
    for given in sequences:
        num_steps = min(NUM_PROBED_STEPS, max(3, given.shape[1]))
        as_given = _tiled(given, num_rows, num_steps, generator)
        roughs = [_roughened(as_given, part, generator, magnitude) for magnitude in MAGNITUDES]
        for inputs in [as_given, *roughs] if part.dtype.startswith("float") else [as_given]:
            initial = runner.initial_states(num_rows)
            behind = runner.run(inputs[:, :1], initial)[1] if runner.promise.holds == "any" else initial
            half = num_rows // 2
            states = tuple(np.concatenate([a[:half], b[half:]]) for a, b in zip(initial, behind, strict=True))
            probes.append(Probe(inputs, states))
    if part.time_axis is not None:
        inputs = _roughened(_tiled(sequences[0], NUM_LONG_ROWS, LONG_STEPS, generator), part, generator, 1.0)
        probes.append(Probe(inputs, runner.initial_states(NUM_LONG_ROWS)))
    return [kept for probe in probes if len((kept := _answered(runner, probe)).inputs)]


def _answered(runner: Runner, probe: Probe) -> Probe:
    """Without the rows that the graph gives NaN for: where such a row is cut, other steps of it are NaN."""
    outputs, _ = _run(runner, *probe)
    return Probe(*_taken(probe, (outputs == outputs).reshape(len(outputs), -1).all(axis=1)))


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
    part = runner.manifest.inputs[0]
    for probe in probes:
        inputs, states = probe.inputs[:5, : 1 if part.time_axis is None else None], tuple(s[:5] for s in probe.states)
        among = _run(runner, inputs, states)
        for watched in (0, len(inputs) - 1):
            for what, others, their_states in _neighbours(part, inputs, states):
                _put(others, their_states, [watched], inputs[[watched]], tuple(rows[[watched]] for rows in states))
                try:
                    changed = _run(runner, others, their_states)
                except RunFailed:
                    continue  # what the graph does not take is not refused for it
                wanted = _rows(among, [watched])
                _check_same(runner.manifest, _rows(changed, [watched]), wanted, f"with {what} beside it", SAME_IN_SHAPE)
        _check_shapes(runner, inputs[:, :NUM_STEPS_OF_LARGE], states)


def _check_shapes(runner: Runner, inputs: NDArray[Any], states: Rows) -> None:
    """Alone, in another place and in a larger batch, up to rounding: over few steps, of which chaos makes little."""
    manifest, rows = runner.manifest, np.arange(17) % len(inputs)
    if _is_far_from_zero(inputs):
        return
    among = _run(runner, inputs, states)
    alone = _run(runner, inputs[:1], tuple(each[:1] for each in states))
    _check_same(manifest, alone, _rows(among, [0]), "alone and among others", SAME_TO_ROUNDING)
    crowd = _run(runner, inputs[rows[::-1]], tuple(each[rows[::-1]] for each in states))
    _check_same(manifest, crowd, _rows(among, rows[::-1]), "in another batch or place", SAME_TO_ROUNDING)


def check_states_carry(runner: Runner, probes: Sequence[Probe]) -> None:
    """Run step by step and in one run, up to rounding.

    Args:
        runner: of any shape (``ANY``).

    Raises:
        ModelRejected: the states do not carry what the outputs depend on.
    """
    for probe in probes if runner.manifest.inputs[0].time_axis is not None else ():
        if _is_far_from_zero(probe.inputs):
            continue
        rows = _taken(Probe(probe.inputs[:, :NUM_PROBED_STEPS], probe.states), slice(0, 5))
        difference = largest_difference(_run(runner, *rows, chunk_steps=1)[0], _run(runner, *rows)[0])
        if not difference <= SAME_TO_ROUNDING:
            raise ModelRejected(
                f"step by step the graph answers otherwise than in one run, by {difference:.2g}: its "
                "states do not carry all that its output depends on"
            )


def _is_far_from_zero(inputs: NDArray[Any]) -> bool:
    """Whether rounding alone may come to more than can be told from dependence."""
    return float(np.abs(inputs[np.isfinite(inputs)]).max(initial=0.0)) > 1e3


def _neighbours(
    part: Input, inputs: NDArray[Any], states: Rows
) -> Iterator[tuple[str, NDArray[Any], tuple[NDArray[Any], ...]]]:
    """Other rows in the place of those given, arrays of the caller's own; with each what it is."""
    amounts = _amounts(part)
    turned = np.roll(np.arange(len(inputs)), 2)
    kinds: list[tuple[str, Any]] = [("other sequences", None)]
    if amounts:
        kinds += [("zeros", 0.0), ("large numbers", 1e4), ("the signs turned", -1.0)]
        if part.missing:
            kinds.append(("missing values", np.nan))
    for what, factor in kinds:
        others = inputs[turned].copy()
        their_states = tuple(rows[turned].copy() for rows in states)
        if factor is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                most = np.finfo(others.dtype).max
                others[..., amounts] = np.clip(others[..., amounts] * factor + (factor > 1), -most, most)
                for rows in their_states:
                    if rows.dtype.kind == "f" and abs(factor) <= 1:
                        rows *= rows.dtype.type(factor)
        yield what, others, their_states


def _holds_in_any(runner: Runner, probe: Probe, generator: np.random.Generator) -> bool:
    """Every row whole and alone, against batches of all sizes, in any place, cut anywhere, beside any others."""
    num_rows, num_steps, _ = probe.inputs.shape
    wanted = _joined([_run(runner, *_taken(probe, [row])) for row in range(num_rows)])
    beginning = Probe(probe.inputs[:, :NUM_STEPS_OF_LARGE], probe.states)
    wanted_first = _joined([_run(runner, *_taken(beginning, [row])) for row in range(num_rows)])
    for batch_size in BATCH_SIZES:
        if batch_size > max(runner.max_batch_size, 2):
            break
        rows = np.concatenate([generator.permutation(num_rows) for _ in range(-(-batch_size // num_rows))])[:batch_size]
        is_large = batch_size > LARGE_BATCH or num_steps > NUM_PROBED_STEPS < batch_size
        inputs, states = _taken(beginning if is_large else probe, rows)
        for cuts in ((), _cuts(inputs.shape[1], generator)):
            made = _run(runner, inputs, states, cuts=cuts)
            if not _same(made, _rows(wanted_first if is_large else wanted, rows)):
                return False
    place = min(2, num_rows - 1)
    return _are_same_beside_others(runner, probe, wanted, np.arange(min(5, num_rows)), [place], None)


def _holds_when_fixed(runner: Runner, probe: Probe, generator: np.random.Generator) -> bool:
    """Every row at the fixed shape, step by step, in any place and beside any others."""
    num_rows = len(probe.inputs)
    shape_rows = runner.promise.rows
    alone = _joined([_run(runner, *_taken(probe, [row]), chunk_steps=1) for row in range(num_rows)])
    for _ in range(3):
        rows = generator.integers(num_rows, size=shape_rows)
        if not _same(_run(runner, *_taken(probe, rows), chunk_steps=1), _rows(alone, rows)):
            return False
    crowd = generator.integers(num_rows, size=shape_rows)
    places = generator.choice(shape_rows, size=min(8, num_rows, max(1, shape_rows // 2)), replace=False)
    return _are_same_beside_others(runner, probe, alone, crowd, places, 1)


def _are_same_beside_others(
    runner: Runner, probe: Probe, wanted: Answers, crowd: Any, places: Any, chunk_steps: int | None
) -> bool:
    """Whether the first rows of the probe are as wanted at these places of a crowd, which is like them or not."""
    first = np.arange(len(places))
    for _, others, their_states in _neighbours(runner.manifest.inputs[0], *_taken(probe, crowd)):
        _put(others, their_states, places, *_taken(probe, first))
        try:
            beside = _run(runner, others, their_states, chunk_steps=chunk_steps)
        except RunFailed:
            continue
        if not _same(_rows(beside, places), _rows(wanted, first)):
            return False
    return True


def _put(others: NDArray[Any], their_states: Rows, places: Any, inputs: NDArray[Any], states: Rows) -> None:
    others[places] = inputs
    for rows, own in zip(their_states, states, strict=True):
        rows[places] = own


def _run(
    runner: Runner, inputs: NDArray[Any], states: Rows, *, chunk_steps: int | None = None, cuts: Sequence[int] = ()
) -> Answers:
    """Run sequences on from ``states``: whole, a step at a time, or cut."""
    num_steps = inputs.shape[1]
    if chunk_steps == 1 or runner.manifest.inputs[0].time_axis is None:
        cuts = range(1, num_steps)
    outputs = []
    for start, end in zip([0, *cuts], [*cuts, num_steps], strict=True):
        made, states = runner.run(inputs[:, start:end], states)
        outputs.append(made)
    return np.concatenate(outputs if runner.answers_every_step else outputs[-1:], axis=1), states


def _tiled(given: NDArray[Any], num_rows: int, num_steps: int, generator: np.random.Generator) -> NDArray[Any]:
    """``[N, T, F]`` out of pieces of the sequences given, each beginning somewhere."""
    pieces = []
    for row in range(num_rows):
        start = int(generator.integers(max(1, given.shape[1] - num_steps + 1)))
        steps = (start + np.arange(num_steps)) % given.shape[1]
        pieces.append(given[row % len(given), steps])
    return np.stack(pieces)


def _roughened(inputs: NDArray[Any], part: Input, generator: np.random.Generator, magnitude: float) -> NDArray[Any]:
    """Scaled, and with noise of its own size, so that zeros, of which sequences may be full, do not stay zeros."""
    rough = inputs.copy()
    for column in _amounts(part):
        given = rough[..., column].astype(np.float64)
        seen = given[np.isfinite(given)]
        noise = generator.normal(size=given.shape) * 0.3 * ((seen.std() if seen.size else 0.0) or 1.0)
        rough[..., column] = (given * generator.uniform(0.6, 1.0, given.shape) + noise) * magnitude
    return rough


def _amounts(part: Input) -> list[int]:
    """The columns that are amounts, and neither codes nor whole numbers."""
    if not part.dtype.startswith("float") or part.num_codes is not None:
        return []
    return [index for index, name in enumerate(part.features) if name not in {*part.categories, *part.ranges}]


def _cuts(num_steps: int, generator: np.random.Generator) -> list[int]:
    num_cuts = int(generator.integers(1, num_steps)) if num_steps > 1 else 0
    return sorted(generator.choice(np.arange(1, num_steps), num_cuts, replace=False).tolist()) if num_cuts else []


def _taken(probe: Probe, rows: Any) -> tuple[NDArray[Any], Rows]:
    return probe.inputs[rows], tuple(each[rows] for each in probe.states)


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
    places = ["the output", *(f"state {state.name!r}" for state in manifest.states)]
    pairs = zip([one[0], *one[1]], [other[0], *other[1]], places, strict=True)
    return max(((largest_difference(a, b), place) for a, b, place in pairs), key=lambda each: each[0])
