"""Checks of a version that answers whole sequences, at load: its graph, golden answers, and its promise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ostinato.service.artifact.manifest import ANY, GOLDEN_FILE, MANIFEST_FILE, Manifest, Promise
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference
from ostinato.service.artifact.tensors import Tensor
from ostinato.service.catalogue.sequence_promise import (
    SequenceProbe,
    check_sequences_are_their_own,
    draw_sequence_probes,
    find_sequence_promise,
    sequence_promise_holds,
)
from ostinato.service.catalogue.timing import best_seconds
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.buffers import permutation
from ostinato.service.engine.sequence.batching import MAX_ROW_STEPS
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from ostinato.service.engine.sequence.scheduler import RunCost
from ostinato.service.errors import ModelRejected, OstinatoError, RunFailed

logger = logging.getLogger(__name__)

NUM_PROBES = 20
NUM_TIMED_STEPS = 32


class GoldenSequence(NamedTuple):
    """A sequence and what the trained network answers to it, rows of the manifest's ``given`` and ``made``."""

    case: str
    probe: SequenceProbe
    outputs: NDArray[Any]


class LoadedSequence(NamedTuple):
    """A version of task ``sequence`` that passed its checks.

    Attributes:
        manifest: as read, with the promise that was found here where it has none.
        cost: how long its runs take.
        step_seconds: how long a step of a full batch took.
        golden_difference: the largest difference to the golden outputs, as the manifest's parity measures it.
    """

    manifest: Manifest
    runner: SequenceRunner
    cost: RunCost
    step_seconds: float
    golden_difference: float


def load_sequence_model(manifest: Manifest, directory: Path, settings: Settings) -> LoadedSequence:
    """Load a model of whole sequences and check it.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    runner = SequenceRunner(manifest, directory, max_batch_size=settings.max_batch_size)
    golden = read_golden_sequences(manifest, directory)
    try:
        difference = check_golden_sequences(runner, golden, directory)
        probes = draw_sequence_probes(runner.promising(ANY), [each.probe for each in golden], NUM_PROBES)
        if not manifest.quantized:  # those that share scales are run by themselves
            check_sequences_are_their_own(runner.promising(ANY), probes)
    except (ModelRejected, RunFailed) as error:
        raise ModelRejected(f"{directory / manifest.graphs['sequence'].file}: {error}") from error
    promise = _check_promise(runner, probes, directory)
    if promise != manifest.promise:
        runner = runner.promising(promise)
    cost = _time_runs(runner, golden[0].probe)
    return LoadedSequence(runner.manifest, runner, cost, cost.of(settings.max_batch_size, 1), difference)


def read_golden_sequences(manifest: Manifest, directory: Path) -> list[GoldenSequence]:
    """The sequences of all cases of ``golden.safetensors``: tensors ``<case>/<name in the graph>``, in the graph's own
    axes, padded to the longest; their lengths are ``<case>/<lengths>``, where the graph takes such.

    Raises:
        ModelRejected: the file is absent, cut short, empty, or lacks a tensor.
    """
    path = directory / GOLDEN_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelRejected(f"{path}: {error}") from error
    golden: list[GoldenSequence] = []
    for case in sorted({name.partition("/")[0] for name in tensors}):
        try:
            golden += _sequences_of_case(manifest, case, tensors)
        except (KeyError, ValueError, IndexError) as error:
            raise ModelRejected(f"{path}: case {case!r} does not fit the manifest: {error}") from error
    if not golden:
        raise ModelRejected(f"{path}: it holds no case")
    return golden


def _sequences_of_case(manifest: Manifest, case: str, tensors: Mapping[str, NDArray[Any]]) -> list[GoldenSequence]:
    def batch_first(part: Tensor) -> NDArray[Any]:
        return tensors[f"{case}/{part.name}"].transpose(np.argsort(permutation(part)))

    given, made = manifest.given, manifest.made
    inputs, outputs = [batch_first(part) for part in given.parts], [batch_first(part) for part in made.parts]
    context = [batch_first(part) for part in manifest.context]
    num_rows, num_steps = inputs[0].shape[:2]
    lengths = tensors[f"{case}/{manifest.lengths}"] if manifest.lengths else np.full(num_rows, num_steps)
    are_steps = [part.time_axis is not None for part in made.parts]
    found = []
    for row, length in enumerate(lengths.tolist()):
        rows = given.pack([np.ascontiguousarray(each[row, :length]) for each in inputs])
        num_made = length if any(are_steps) else 1
        answers = [
            np.ascontiguousarray(each[row, :length]) if is_step else np.repeat(each[row][None], num_made, axis=0)
            for each, is_step in zip(outputs, are_steps, strict=True)
        ]
        probe = SequenceProbe(rows, tuple(each[row] for each in context))
        packed = made.pack(answers)
        found.append(GoldenSequence(case, probe, packed if made.is_single else made.settle(packed)))
    return found


def check_golden_sequences(runner: SequenceRunner, golden: list[GoldenSequence], directory: Path) -> float:
    """Run every golden sequence by itself; returns the largest ``|graph - network| / max(1, |network|)``.

    Raises:
        ModelRejected: a shape is off, or the difference is above the manifest's tolerance.
        RunFailed: the graph failed.
    """
    parity = runner.manifest.parity
    tolerance = parity.tolerance if parity else DEFAULT_TOLERANCE
    made = runner.manifest.made
    largest = 0.0
    for each in golden:
        ours = run_alone(runner, *each.probe)
        for part, numbers, wanted in zip(made.parts, made.flat(ours), made.flat(each.outputs), strict=True):
            place = f"{directory / GOLDEN_FILE}: case {each.case!r}, {part.name!r}"
            if part.is_unsound(wanted).any():
                raise ModelRejected(
                    f"{place}: the trained network's own output is NaN or infinite, and no sequence could be answered "
                    "with it; bound it (clamp), or where minus infinity is meant, export it with minus_infinity"
                )
            if numbers.shape != wanted.shape:
                raise ModelRejected(f"{place}: the graph gives shape {numbers.shape}, the file has {wanted.shape}")
            difference = largest_difference(numbers, wanted)
            if not difference <= tolerance:
                raise ModelRejected(
                    f"{place}: the graph is off by {difference:.3g}; at most {tolerance:.3g} is allowed"
                )
            largest = max(largest, difference)
    return largest


def _check_promise(runner: SequenceRunner, probes: list[SequenceProbe], directory: Path) -> Promise:
    """The manifest's promise, where it holds; where the manifest has none, the one that does.

    Raises:
        ModelRejected: the manifest's does not hold.
    """
    stated = runner.manifest.promise
    if stated is None:
        promise = find_sequence_promise(runner, probes)
        if promise != ANY:
            found = runner.promising(promise).manifest.promise_sentence
            logger.warning("%s: the manifest has no promise; found %s: %s", directory, promise, found)
        return promise
    if not sequence_promise_holds(runner, probes):
        raise ModelRejected(
            f"{directory / MANIFEST_FILE}: promise: it says {str(stated)!r}, and so run the graph rounds a sequence "
            "differently from how it does by itself: live numbers would differ from offline ones in their last bits. "
            "Export it again, or take 'promise' out to have it found"
        )
    return stated


def _time_runs(runner: SequenceRunner, known: SequenceProbe) -> RunCost:
    """Time a run of one sequence and of many, from which others are told; memory of larger runs is given back."""
    many = (
        1 if runner.promise.holds == "alone" else max(2, min(runner.max_batch_size, MAX_ROW_STEPS // NUM_TIMED_STEPS))
    )
    if runner.promise.holds == "fixed":
        many = runner.promise.rows
    probe = known.cut(NUM_TIMED_STEPS)
    try:
        one, all_of_them = (
            best_seconds(partial(runner.run, [probe.rows] * number, [probe.context] * number)) / NUM_TIMED_STEPS
            for number in (1, many)
        )
        with runner.graph.giving_memory_back():
            run_alone(runner, *known.cut(1))
    except OstinatoError as error:
        raise ModelRejected(f"{runner.manifest.name}/{runner.manifest.version}: {error}") from error
    row_seconds = max(0.0, (all_of_them - one) / (many - 1)) if many > 1 else 0.0
    return RunCost(max(0.0, one - row_seconds), row_seconds)
