"""Probes for the checks of a recurrent graph: sequences, and states to begin with, out of those it is known to take."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.engine.recurrent.offline import Answers
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import RunFailed
from ostinato.service.state.arena import Rows

MAGNITUDES = (1.0, 1e-3, 30.0)
NUM_PROBED_STEPS = 12
LONG_STEPS = 160
NUM_LONG_ROWS = 3


class Probe(NamedTuple):
    """Sequences, rows ``[N, T, width]``, and what they begin with, ``[N, ...]`` of all that is carried."""

    inputs: NDArray[Any]
    states: Rows

    def rows(self, rows: Any) -> tuple[NDArray[Any], Rows]:
        """Some of them."""
        return self.inputs[rows], tuple(each[rows] for each in self.states)


def draw_probes(runner: Runner, sequences: Sequence[Probe], num_rows: int, seed: int = 0) -> list[Probe]:
    """Probes from sequences that the model takes, each with what it begins with: as they are, and with inputs that no
    sum of theirs is exact for, as whole numbers' are, in several magnitudes. Categories and integers stay among those
    given.

    Some begin as they do, and some with the states behind another sequence. What the graph fails on is left out: an
    older manifest does not say which columns are codes, so where it fails, whole numbers stay as they are.
    """
    generator = np.random.default_rng(seed)
    layout = runner.manifest.given
    all_amounts = [amounts(part) for part in layout.parts]
    probes = []
    for given in sequences:
        num_steps = min(NUM_PROBED_STEPS, max(3, given.inputs.shape[1]))
        as_given = _tiled(given, num_rows, num_steps, generator)
        probes.append(_begun(runner, as_given))
        if any(part.dtype.startswith("float") for part in layout.parts):
            for magnitude in MAGNITUDES:
                for columns in (all_amounts, _broken(layout, given.inputs)):
                    with contextlib.suppress(RunFailed):
                        inputs = _roughened(layout, as_given.inputs, columns, generator, magnitude)
                        probes.append(_begun(runner, as_given._replace(inputs=inputs)))
                        break
    if runner.takes_many_steps:
        as_given = _tiled(sequences[0], NUM_LONG_ROWS, LONG_STEPS, generator)
        none: list[list[int]] = [[] for _ in layout.parts]
        for columns in (all_amounts, _broken(layout, sequences[0].inputs), none):
            with contextlib.suppress(RunFailed):
                inputs = _roughened(layout, as_given.inputs, columns, generator, 1.0)
                probes.append(_answered(runner, as_given._replace(inputs=inputs)))
                break
    return [probe for probe in probes if len(probe.inputs)]


def _begun(runner: Runner, probe: Probe) -> Probe:
    """The probe, half of whose sequences continue from the states behind another.

    Raises:
        RunFailed: the graph fails on them.
    """
    half = len(probe.inputs) // 2
    behind = runner.run(probe.inputs[:, :1], probe.states)[1] if runner.promise.holds == "any" else probe.states
    states = tuple(np.concatenate([a[:half], b[half:]]) for a, b in zip(probe.states, behind, strict=True))
    return _answered(runner, Probe(probe.inputs, states))


def _answered(runner: Runner, probe: Probe) -> Probe:
    """Without the rows that the graph gives NaN for: where such a row is cut, other steps of it are NaN."""
    outputs, _ = run_on(runner, *probe)
    sound = np.ones(len(outputs), np.bool_)
    for numbers in runner.manifest.made.flat(outputs):
        sound &= (numbers == numbers).reshape(len(outputs), -1).all(axis=1)
    return Probe(*probe.rows(sound))


def run_on(
    runner: Runner, inputs: NDArray[Any], states: Rows, *, chunk_steps: int | None = None, cuts: Sequence[int] = ()
) -> Answers:
    """Outputs and states of sequences that run on from ``states``: whole, a step at a time, or cut."""
    num_steps = inputs.shape[1]
    if chunk_steps == 1 or not runner.takes_many_steps:
        cuts = range(1, num_steps)
    outputs = []
    for start, end in zip([0, *cuts], [*cuts, num_steps], strict=True):
        made, states = runner.run(inputs[:, start:end], states)
        outputs.append(made)
    made_of_all = np.concatenate(outputs if runner.answers_every_step else outputs[-1:], axis=1)
    return runner.manifest.made.settle(made_of_all), states


def _tiled(given: Probe, num_rows: int, num_steps: int, generator: np.random.Generator) -> Probe:
    """``num_rows`` pieces of ``num_steps`` out of the sequences given, each beginning somewhere."""
    inputs, rows = given.inputs, np.arange(num_rows) % len(given.inputs)
    pieces = []
    for row in rows:
        start = int(generator.integers(max(1, inputs.shape[1] - num_steps + 1)))
        steps = (start + np.arange(num_steps)) % inputs.shape[1]
        pieces.append(inputs[row, steps])
    return Probe(np.stack(pieces), tuple(each[rows] for each in given.states))


def _roughened(
    layout: RowLayout[Input],
    inputs: NDArray[Any],
    columns: Sequence[Sequence[int]],
    generator: np.random.Generator,
    magnitude: float,
) -> NDArray[Any]:
    """Scaled, and with noise of its own size, so that zeros, of which sequences may be full, do not stay zeros.

    ``columns``: of each tensor.
    """
    rough = inputs.copy()
    for tensor, chosen in zip(layout.flat(rough), columns, strict=True):
        for column in chosen:
            given = tensor[..., column].astype(np.float64)
            seen = given[np.isfinite(given)]
            noise = generator.normal(size=given.shape) * 0.3 * ((seen.std() if seen.size else 0.0) or 1.0)
            tensor[..., column] = (given * generator.uniform(0.6, 1.0, given.shape) + noise) * magnitude
    return rough


def amounts(part: Input) -> list[int]:
    """The columns that are amounts, and neither codes nor whole numbers."""
    if not part.dtype.startswith("float") or part.num_codes is not None:
        return []
    return [index for index, name in enumerate(part.features) if name not in {*part.categories, *part.ranges}]


def _broken(layout: RowLayout[Input], given: NDArray[Any]) -> list[list[int]]:
    """The amounts of each tensor that were seen with something behind the point, and are no codes."""
    return [
        [index for index in amounts(part) if (np.nan_to_num(numbers[..., index]) % 1 != 0).any()]
        for part, numbers in zip(layout.parts, layout.flat(given), strict=True)
    ]
