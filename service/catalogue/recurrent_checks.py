"""Checks of a version with sessions, at load: its graph against its manifest, golden answers, and its promise."""

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

from ostinato.service.artifact.device_choice import open_device
from ostinato.service.artifact.manifest import ANY, GOLDEN_FILE, MANIFEST_FILE, Manifest, Promise
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference
from ostinato.service.artifact.tensors import Tensor
from ostinato.service.catalogue.device_checks import on_device, seconds_on_device
from ostinato.service.catalogue.generation_checks import LoadedGenerator, load_session_decoder
from ostinato.service.catalogue.probes import Probe, draw_probes
from ostinato.service.catalogue.promise_checks import (
    check_rows_are_their_own,
    check_states_carry,
    find_promise,
    holds,
)
from ostinato.service.catalogue.repository import read_manifest
from ostinato.service.catalogue.timing import best_seconds
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.batching import MAX_ROW_STEPS
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, OstinatoError, RunFailed
from ostinato.service.state.arena import Rows

logger = logging.getLogger(__name__)

NUM_PROBED_CASES = 2
NUM_PROBED_ROWS = 8


class LoadedModel(NamedTuple):
    """A version that passed its checks.

    Attributes:
        manifest: as read, with the promise that was found here where it has none. That of the runner is ``of_graph``.
        step_seconds: how long one step of a full batch took.
        golden_difference: the largest difference to the golden outputs, as the manifest's parity measures it.
        generator: the decoder that sessions forecast by; None where they feed their outputs back.
    """

    manifest: Manifest
    runner: Runner
    step_seconds: float
    golden_difference: float
    generator: LoadedGenerator | None = None


def load_model(directory: Path, settings: Settings) -> LoadedModel:
    """Read a version of a recurrent model and check it.

    Raises:
        ModelRejected: a check failed, or its task is another; the message names the file and the reason.
    """
    manifest = read_manifest(directory, settings.repository)
    if manifest.task != "recurrent":
        raise ModelRejected(f"{directory / MANIFEST_FILE}: task {manifest.task!r} has no steps")
    return load_recurrent_model(manifest, directory, settings)


def load_recurrent_model(of_sessions: Manifest, directory: Path, settings: Settings) -> LoadedModel:
    """Load a recurrent model whose manifest was read, and check it.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    manifest = of_sessions.of_graph
    runner = _runner(manifest, directory, settings)
    cases = read_golden(manifest, directory)
    if manifest != (seen := _with_seen_states(manifest, cases)):
        manifest, runner = seen, _runner(seen, directory, settings)
    probes = draw_checked_probes(runner, cases, directory)
    difference = check_golden(runner, cases, directory)
    promise = check_promise(runner, probes, directory)
    if promise != manifest.promise:
        runner, manifest = runner.promising(promise), manifest.model_copy(update={"promise": promise})
    device = open_device(settings.device)
    if device is not None:
        runner = on_device(runner, probes, directory, settings, device)
        manifest = runner.manifest
        difference = max(difference, check_golden(runner, cases, directory))
    generator = None
    if manifest.decoder is not None:
        generator = load_session_decoder(manifest, directory, _final_states(runner, cases), settings.max_batch_size)
        difference = max(difference, generator.golden_difference)
    if of_sessions.framing is not None:
        found = {"states": manifest.states, "promise": manifest.promise}
        manifest = of_sessions.model_copy(update=found)
    step_seconds = seconds_on_device(runner) if isinstance(runner, DeviceRunner) else _time_step(runner)
    return LoadedModel(manifest, runner, step_seconds, difference, generator)


class GoldenCase(NamedTuple):
    """Inputs, rows ``[B, T, width]``, with the trained network's outputs, rows in the same way, and its final states.

    Attributes:
        states, context: arrays ``[B, ...]``.
    """

    name: str
    inputs: NDArray[Any]
    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]
    context: tuple[NDArray[Any], ...] = ()

    def begin(self, runner: Runner) -> Rows:
        """What its sequences begin with, arrays ``[B, ...]`` for all that is carried."""
        initial = runner.initial_states(len(self.inputs))
        return (*initial[: len(self.states)], *self.context)


def read_golden(manifest: Manifest, directory: Path) -> list[GoldenCase]:
    """The cases of ``golden.safetensors``: tensors ``<case>/<name in the graph>``, in the graph's own axes.

    Raises:
        ModelRejected: the file is absent, cut short, empty, or lacks a tensor.
    """
    path = directory / GOLDEN_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelRejected(f"{path}: {error}") from error
    cases = []
    for case in sorted({name.partition("/")[0] for name in tensors}):
        try:
            cases.append(_golden_case(manifest, case, tensors))
        except (KeyError, ValueError) as error:
            raise ModelRejected(f"{path}: case {case!r} does not fit the manifest: {error}") from error
    if not cases:
        raise ModelRejected(f"{path}: it holds no case")
    return cases


def _golden_case(manifest: Manifest, case: str, tensors: Mapping[str, NDArray[Any]]) -> GoldenCase:
    inputs = manifest.given.pack([_batch_first(tensors[f"{case}/{part.name}"], part) for part in manifest.inputs])
    made = [_batch_first(tensors[f"{case}/{part.name}"], part) for part in manifest.outputs]
    steps_made = max(each.shape[1] for each in made)
    repeated = [np.repeat(each, steps_made // each.shape[1], axis=1) for each in made]
    outputs = manifest.made.settle(manifest.made.pack(repeated))
    states = tuple(np.moveaxis(tensors[f"{case}/{state.output}"], state.batch_axis, 0) for state in manifest.states)
    context = tuple(np.moveaxis(tensors[f"{case}/{part.name}"], part.batch_axis, 0) for part in manifest.context)
    return GoldenCase(case, inputs, outputs, states, context)


def _with_seen_states(manifest: Manifest, cases: list[GoldenCase]) -> Manifest:
    """The manifest with states that hold NaN or infinity in golden answers said to: an older one does not say."""
    states = []
    for index, state in enumerate(manifest.states):
        rows = [state.initial_row(), *(case.states[index] for case in cases)]
        seen = [numbers for numbers in rows if numbers.dtype.kind == "f"]
        missing, infinite = (any(found(numbers).any() for numbers in seen) for found in (np.isnan, np.isinf))
        update = {"missing": state.missing or missing, "infinite": state.infinite or infinite}
        states.append(state.model_copy(update=update))
    return manifest.model_copy(update={"states": tuple(states)})


def check_golden(runner: Runner, cases: list[GoldenCase], directory: Path) -> float:
    """Run every golden case in one go and return the largest ``|graph - network| / max(1, |network|)``.

    Raises:
        ModelRejected: a shape is off, or the difference is above the manifest's tolerance.
    """
    parity = runner.manifest.parity
    tolerance = parity.tolerance if parity else DEFAULT_TOLERANCE
    made = runner.manifest.made
    largest = 0.0
    for case in cases:
        if any(
            part.is_unsound(numbers).any() for part, numbers in zip(made.parts, made.flat(case.outputs), strict=True)
        ):
            raise ModelRejected(
                f"{directory / GOLDEN_FILE}: case {case.name!r}: the trained network's own output is NaN or "
                "infinite, and no step could be answered with it; bound it (clamp), or where minus infinity is meant, "
                "export it again: the manifest then says so"
            )
        outputs, states = run_offline(runner, case.inputs, begin=case.begin(runner))
        for name, ours, golden in zip(
            [*(part.name for part in made.parts), *(state.output for state in runner.manifest.states)],
            [*made.flat(outputs), *states[: len(case.states)]],
            [*made.flat(case.outputs), *case.states],
            strict=True,
        ):
            place = f"{directory / GOLDEN_FILE}: case {case.name!r}, {name!r}"
            if ours.shape != golden.shape:
                raise ModelRejected(f"{place}: the graph gives shape {ours.shape}, the file has {golden.shape}")
            difference = largest_difference(ours, golden)
            if not difference <= tolerance:
                raise ModelRejected(
                    f"{place}: the graph is off by {difference:.3g}; at most {tolerance:.3g} is allowed"
                )
            largest = max(largest, difference)
    return largest


def draw_checked_probes(runner: Runner, cases: list[GoldenCase], directory: Path) -> list[Probe]:
    """Probes out of the golden inputs, over which every row is its own and the states carry what is to be kept. Of a
    graph whose rows share scales, neither is looked at: they are run alone, step by step.

    Raises:
        ModelRejected: they are not, or do not, or the graph fails.
    """
    anyhow = runner.promising(ANY)
    try:
        given = [Probe(case.inputs, case.begin(anyhow)) for case in cases[:NUM_PROBED_CASES]]
        probes = draw_probes(anyhow, given, NUM_PROBED_ROWS)
        if runner.manifest.quantized:
            return probes
        check_rows_are_their_own(anyhow, probes)
        if any(case.inputs.shape[1] > 1 for case in cases):  # one step says nothing of how steps follow each other
            check_states_carry(anyhow, probes)
    except (ModelRejected, RunFailed) as error:
        raise ModelRejected(f"{directory / runner.manifest.graphs['step'].file}: {error}") from error
    return probes


def check_promise(runner: Runner, probes: list[Probe], directory: Path) -> Promise:
    """The manifest's promise, where it holds; where the manifest has none, the one that does.

    Raises:
        ModelRejected: the manifest's does not hold.
    """
    stated = runner.manifest.promise
    if stated is None:
        promise = find_promise(runner, probes)
        if promise != ANY:
            logger.warning("%s: the manifest has no promise; found %s: %s", directory, promise, promise.sentence)
        return promise
    if not holds(runner, probes):
        raise ModelRejected(
            f"{directory / MANIFEST_FILE}: promise: it says {str(stated)!r}, and so run the graph rounds a row "
            "differently from how it does by itself: live numbers would differ from offline ones in their last bits. "
            "Export it again, or take 'promise' out to have it found"
        )
    return stated


def _runner(manifest: Manifest, directory: Path, settings: Settings) -> Runner:
    return Runner(
        manifest,
        directory,
        max_batch_size=settings.max_batch_size,
        max_iteration_steps=settings.max_iteration_steps,
    )


def _batch_first(tensor: NDArray[Any], part: Tensor) -> NDArray[Any]:
    """A tensor in the graph's axes as ``[B, T, ...]``; one without T as ``[B, 1, ...]``."""
    first = np.moveaxis(tensor, part.batch_axis, 0)
    if part.time_axis is not None:
        first = np.moveaxis(first, part.time_axis + (part.time_axis < part.batch_axis), 1)
    else:
        first = first[:, None]
    return first.reshape(first.shape[0], first.shape[1], *part.row_shape)


def _final_states(runner: Runner, cases: list[GoldenCase]) -> dict[str, Rows]:
    """The states ``[B, ...]`` behind each golden case."""
    return {case.name: run_offline(runner, case.inputs, begin=case.begin(runner))[1] for case in cases}


def _time_step(runner: Runner) -> float:
    """Warm the graph up in shapes that are served and time one step of a full batch, in seconds.

    Nothing larger than an iteration is run, and the memory of the larger ones is given back: most versions are idle.
    """
    most_rows, most_steps = runner.max_batch_size, runner.max_iteration_steps
    try:
        for batch_size, num_steps in ((1, 1), (max(1, min(most_rows, MAX_ROW_STEPS // most_steps)), most_steps)):
            _run_zeros(runner, batch_size, num_steps)
        seconds = best_seconds(partial(_run_zeros, runner, most_rows, 1))
        with runner.graph.giving_memory_back():
            _run_zeros(runner, 1, 1)
    except OstinatoError as error:
        raise ModelRejected(f"{runner.manifest.name}/{runner.manifest.version}: {error}") from error
    return seconds


def _run_zeros(runner: Runner, batch_size: int, num_steps: int) -> None:
    runner.run(runner.manifest.given.zeros(batch_size, num_steps), runner.initial_states(batch_size))
