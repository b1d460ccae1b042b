"""Probes for the checks of a recurrent graph: sequences, and states to begin with, out of those it is known to take."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """Sequences ``[N, T, F]`` and the states ``[N, ...]`` that they begin with."""

    inputs: NDArray[Any]
    states: Rows

    def rows(self, rows: Any) -> tuple[NDArray[Any], Rows]:
        """Some of them."""
        return self.inputs[rows], tuple(each[rows] for each in self.states)


def draw_probes(runner: Runner, sequences: Sequence[NDArray[Any]], num_rows: int, seed: int = 0) -> list[Probe]:
    """Probes from sequences that the model takes, arrays ``[B, T, F]``: as they are, and with inputs that no sum of
    theirs is exact for, as whole numbers' are, in several magnitudes. Categories and integers stay among those given.

    Some begin with the initial states, and some with those behind another sequence. What the graph fails on is left
    out: an older manifest does not say which columns are codes, so where it fails, whole numbers stay as they are.
    """
    generator = np.random.default_rng(seed)
    part = runner.manifest.inputs[0]
    probes = []
    for given in sequences:
        num_steps = min(NUM_PROBED_STEPS, max(3, given.shape[1]))
        as_given = _tiled(given, num_rows, num_steps, generator)
        probes.append(_begun(runner, as_given))
        if part.dtype.startswith("float"):
            for magnitude in MAGNITUDES:
                for columns in (amounts(part), _broken(part, given)):
                    with contextlib.suppress(RunFailed):
                        probes.append(_begun(runner, _roughened(as_given, columns, generator, magnitude)))
                        break
    if part.time_axis is not None:
        as_given = _tiled(sequences[0], NUM_LONG_ROWS, LONG_STEPS, generator)
        for columns in (amounts(part), _broken(part, sequences[0]), []):
            with contextlib.suppress(RunFailed):
                inputs = _roughened(as_given, columns, generator, 1.0)
                probes.append(_answered(runner, Probe(inputs, runner.initial_states(NUM_LONG_ROWS))))
                break
    return [probe for probe in probes if len(probe.inputs)]


def _begun(runner: Runner, inputs: NDArray[Any]) -> Probe:
    """Of sequences ``[N, T, F]``, half of which go on from the states behind another.

    Raises:
        RunFailed: the graph fails on them.
    """
    num_rows = len(inputs)
    half = num_rows // 2
    initial = runner.initial_states(num_rows)
    behind = runner.run(inputs[:, :1], initial)[1] if runner.promise.holds == "any" else initial
    states = tuple(np.concatenate([a[:half], b[half:]]) for a, b in zip(initial, behind, strict=True))
    return _answered(runner, Probe(inputs, states))


def _answered(runner: Runner, probe: Probe) -> Probe:
    """Without the rows that the graph gives NaN for: where such a row is cut, other steps of it are NaN."""
    outputs, _ = run_on(runner, *probe)
    return Probe(*probe.rows((outputs == outputs).reshape(len(outputs), -1).all(axis=1)))


def run_on(
    runner: Runner, inputs: NDArray[Any], states: Rows, *, chunk_steps: int | None = None, cuts: Sequence[int] = ()
) -> Answers:
    """Outputs and states of sequences that run on from ``states``: whole, a step at a time, or cut."""
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


def _roughened(
    inputs: NDArray[Any], columns: Sequence[int], generator: np.random.Generator, magnitude: float
) -> NDArray[Any]:
    """Scaled, and with noise of its own size, so that zeros, of which sequences may be full, do not stay zeros."""
    rough = inputs.copy()
    for column in columns:
        given = rough[..., column].astype(np.float64)
        seen = given[np.isfinite(given)]
        noise = generator.normal(size=given.shape) * 0.3 * ((seen.std() if seen.size else 0.0) or 1.0)
        rough[..., column] = (given * generator.uniform(0.6, 1.0, given.shape) + noise) * magnitude
    return rough


def amounts(part: Input) -> list[int]:
    """The columns that are amounts, and neither codes nor whole numbers."""
    if not part.dtype.startswith("float") or part.num_codes is not None:
        return []
    return [index for index, name in enumerate(part.features) if name not in {*part.categories, *part.ranges}]


def _broken(part: Input, given: NDArray[Any]) -> list[int]:
    """The amounts that were seen with something behind the point, and are no codes."""
    return [index for index in amounts(part) if (np.nan_to_num(given[..., index]) % 1 != 0).any()]
