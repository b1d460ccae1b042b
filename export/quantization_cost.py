"""The cost of a version in int8, measured: accuracy, what company changes, bytes, and the time of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ostinato.export.contracts.axes import Array
from ostinato.export.errors import ExportError
from ostinato.service.artifact.manifest import ANY, Manifest
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.catalogue.recurrent_checks import read_golden
from ostinato.service.catalogue.sequence_checks import read_golden_sequences
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

MAX_BATCH_SIZE = 256
_TIMED_ROWS = (1, 64)
_NUM_TIMED_RUNS = 9


@dataclass(frozen=True)
class StepTime:
    """How long a run of one step of so many rows takes, in seconds: the least of some, since other work only adds."""

    num_rows: int
    in_float: float
    in_int8: float

    def __str__(self) -> str:
        rows = "one row" if self.num_rows == 1 else f"{self.num_rows} rows"
        ratio = self.in_float / max(self.in_int8, 1e-9)
        return f"of {rows} {1e3 * self.in_int8:.3g} ms and {1e3 * self.in_float:.3g} in float ({ratio:.1f} times)"


@dataclass(frozen=True)
class Cost:
    """What quantisation costs: differences to the network, ``|graph - network| / max(1, |network|)``, over the golden
    answers; the standard deviation of these; how far a row changes with what is next to it, which is looked for where
    rows share a scale; the graph's sizes, in bytes; and times, where runs are shared.
    """

    largest: float
    mean: float
    spread: float
    beside_others: float
    bytes_before: int
    bytes_after: int
    times: tuple[StepTime, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it in words."""
        smaller = self.bytes_before / max(1, self.bytes_after)
        sentences = (
            f"int8: off from the network by {self.largest:.2g} at most, by {self.mean:.2g} on the average, over the "
            f"golden answers and states (the answers' standard deviation is {self.spread:.2g}); "
            f"{self.bytes_before:,} bytes became {self.bytes_after:,}"
            + (f" ({smaller:.1f} times fewer)" if smaller > 1 else ", which is no gain"),
        )
        if self.times:
            times = "; ".join(map(str, self.times))
            return (*sentences, f"int8: a step takes, on this machine as it was just now, {times}")
        return (
            *sentences,
            f"int8: all that is in a run shares a scale, and next to others a row was seen to change by "
            f"{self.beside_others:.2g}; so each is run alone, and sessions share no runs",
        )


def measure_cost(manifest: Manifest, source: Path, folder: Path, option: str) -> Cost:
    """What the graph in ``folder`` costs over the golden answers in ``source``, next to the graph there.

    Args:
        manifest: of the graph, with its promise; where that is ``any``, steps are timed.
        option: what was asked for, for what is raised.

    Raises:
        ExportError: it fails on them, or its answers are not finite.
    """
    try:
        found = list((_recurrent if manifest.task == "recurrent" else _whole)(manifest, source, folder))
        shares_runs = manifest.task == "recurrent" and manifest.promise == ANY
        times = tuple(_times(manifest, source, folder)) if shares_runs else ()
    except (ModelRejected, RunFailed) as error:
        raise ExportError(f"{option}: the graph in int8: {error}") from error
    differences = [difference for difference, _, _ in found]
    largest = max(float(each.max(initial=0.0)) for each in differences)
    if not np.isfinite(largest):
        raise ExportError(f"{option}: the graph in int8 answers with numbers that are not finite")
    before, after = (sum(file.stat().st_size for file in place.glob("*.onnx*")) for place in (source, folder))
    mean = sum(float(each.sum()) for each in differences) / max(1, sum(each.size for each in differences))
    answers = np.concatenate([each for _, each, _ in found])
    answers = answers[np.isfinite(answers)]
    spread = float(answers.std()) if answers.size else 0.0
    return Cost(largest, mean, spread, max(beside for _, _, beside in found), before, after, times)


def _recurrent(manifest: Manifest, source: Path, folder: Path) -> Iterator[tuple[Array, Array, float]]:
    """Of each golden case the differences to it, its answers, and how much its rows change with each other."""
    runner = Runner(manifest, folder, max_batch_size=MAX_BATCH_SIZE, max_iteration_steps=1)
    for case in read_golden(manifest, source):
        outputs, states = run_offline(runner, case.inputs, begin=case.begin(runner))
        answers = manifest.made.flat(case.outputs)
        ours, golden = [*manifest.made.flat(outputs), *states], [*answers, *case.states]
        beside = 0.0 if manifest.promise == ANY else _beside(runner, case.inputs, case.begin(runner), outputs)
        yield _differences(ours, golden), _flat(answers), beside


def _times(manifest: Manifest, source: Path, folder: Path) -> Iterator[StepTime]:
    """Of the first golden step, in turns of both graphs."""
    runners = [
        Runner(manifest, place, max_batch_size=MAX_BATCH_SIZE, max_iteration_steps=1) for place in (source, folder)
    ]
    case = read_golden(manifest, source)[0]
    for num_rows in _TIMED_ROWS:
        inputs = np.resize(case.inputs[:, :1], (num_rows, 1, case.inputs.shape[2]))
        states = tuple(np.resize(each, (num_rows, *each.shape[1:])) for each in case.begin(runners[0]))
        taken: list[list[float]] = [[], []]
        for _ in range(_NUM_TIMED_RUNS):
            for runner, times in zip(runners, taken, strict=True):
                begin = time.perf_counter()
                runner.run(inputs, states)
                times.append(time.perf_counter() - begin)
        yield StepTime(num_rows, *(min(times) for times in taken))


def _beside(runner: Runner, inputs: Array, begin: Rows, alone: Array) -> float:
    """By how much the first answers of rows change when they share a run; 0 where they cannot."""
    try:
        made, _ = runner.promising(ANY).run(inputs[:, :1], begin)
    except RunFailed:
        return 0.0
    return _farthest(runner.manifest, made, alone[:, :1])


def _farthest(manifest: Manifest, made: Array, alone: Array) -> float:
    """The largest difference of rows, output by output."""
    pairs = zip(manifest.made.flat(made), manifest.made.flat(alone), strict=True)
    return max(largest_difference(one, other) for one, other in pairs)


def _whole(manifest: Manifest, source: Path, folder: Path) -> Iterator[tuple[Array, Array, float]]:
    """The same of each golden sequence."""
    runner = SequenceRunner(manifest, folder, max_batch_size=MAX_BATCH_SIZE)
    for each in read_golden_sequences(manifest, source):
        alone = run_alone(runner, *each.probe)
        twice = runner.promising(ANY)
        try:
            beside = twice.run([each.probe.rows, 2 * each.probe.rows], [each.probe.context] * 2)[0]
        except RunFailed:
            beside = alone
        golden = manifest.made.flat(each.outputs)
        yield _differences(manifest.made.flat(alone), golden), _flat(golden), _farthest(manifest, beside, alone)


def _flat(answers: Sequence[Array]) -> Array:
    return np.concatenate([each.astype(np.float64).ravel() for each in answers])


def _differences(ours: Sequence[Array], golden: Sequence[Array]) -> Array:
    """``|graph - network| / max(1, |network|)`` of all numbers, one behind the other."""
    found = []
    for made, wanted in zip(ours, golden, strict=False):
        a, b = made.astype(np.float64), wanted.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.where(
                (a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b))
            )
        found.append(np.nan_to_num(difference, nan=np.inf).ravel())
    return np.concatenate(found)
