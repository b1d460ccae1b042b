"""Checks of a version with sessions, at load: its graph against its manifest, golden answers, and invariance."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ostinato.service.artifact.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference
from ostinato.service.catalogue.generation_checks import LoadedGenerator, load_session_decoder
from ostinato.service.catalogue.repository import read_manifest
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, OstinatoError
from ostinato.service.state.arena import Rows

logger = logging.getLogger(__name__)


class LoadedModel(NamedTuple):
    """A version that passed its checks.

    Attributes:
        manifest: as read, but with ``batch_invariant`` as found here.
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
    manifest = read_manifest(directory)
    if manifest.task != "recurrent":
        raise ModelRejected(f"{directory / MANIFEST_FILE}: task {manifest.task!r} is not served yet")
    runner = _runner(manifest, directory, settings)
    cases = read_golden(manifest, directory)
    if manifest != (seen := _with_seen_states(manifest, cases)):
        manifest, runner = seen, _runner(seen, directory, settings)
    difference = check_golden(runner, cases, directory)
    rough = answered(runner, roughened(manifest, cases))
    if manifest.batch_invariant and not is_batch_invariant(runner, [*cases, *rough]):
        logger.warning("%s: rows depend on what shares their run, so the model is run alone", directory)
        manifest = manifest.model_copy(update={"batch_invariant": False})
        runner = _runner(manifest, directory, settings)
    generator = None
    if manifest.decoder is not None:
        generator = load_session_decoder(manifest, directory, _final_states(runner, cases), settings.max_batch_size)
        manifest = manifest.model_copy(update={"batch_invariant": generator.manifest.batch_invariant})
        difference = max(difference, generator.golden_difference)
    return LoadedModel(manifest, runner, _time_step(runner), difference, generator)


class GoldenCase(NamedTuple):
    """Inputs ``[B, T, F]`` with the outputs ``[B, T, O]`` and final states ``[B, ...]`` of the trained network."""

    name: str
    inputs: NDArray[Any]
    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]


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
        wanted = [manifest.inputs[0], manifest.outputs[0]]
        try:
            inputs, outputs = (_batch_first(tensors[f"{case}/{part.name}"], part) for part in wanted)
            states = tuple(
                np.moveaxis(tensors[f"{case}/{state.output}"], state.batch_axis, 0) for state in manifest.states
            )
        except (KeyError, ValueError) as error:
            raise ModelRejected(f"{path}: case {case!r} does not fit the manifest: {error}") from error
        cases.append(GoldenCase(case, inputs, outputs, states))
    if not cases:
        raise ModelRejected(f"{path}: it holds no case")
    return cases


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
    largest = 0.0
    for case in cases:
        if runner.manifest.outputs[0].is_unsound(case.outputs).any():
            raise ModelRejected(
                f"{directory / GOLDEN_FILE}: case {case.name!r}: the trained network's own output is NaN or "
                "infinite, and no step could be answered with it; bound it (clamp), or where minus infinity is meant, "
                "export it again: the manifest then says so"
            )
        outputs, states = run_sequence(runner, case.inputs, case.inputs.shape[1])
        for name, made, golden in zip(
            [runner.manifest.outputs[0].name, *(state.output for state in runner.manifest.states)],
            [outputs, *states],
            [case.outputs, *case.states],
            strict=True,
        ):
            place = f"{directory / GOLDEN_FILE}: case {case.name!r}, {name!r}"
            if made.shape != golden.shape:
                raise ModelRejected(f"{place}: the graph gives shape {made.shape}, the file has {golden.shape}")
            difference = largest_difference(made, golden)
            if not difference <= tolerance:
                raise ModelRejected(
                    f"{place}: the graph is off by {difference:.3g}; at most {tolerance:.3g} is allowed"
                )
            largest = max(largest, difference)
    return largest


def roughened(manifest: Manifest, cases: list[GoldenCase]) -> list[GoldenCase]:
    """The cases with inputs that no sum of theirs is exact for, as whole numbers' are: there a graph whose rounding
    depends on how it is run would go unnoticed. Categories and integers stay as they are.
    """
    part = manifest.inputs[0]
    if not part.dtype.startswith("float"):
        return []
    columns = [index for index, name in enumerate(part.features) if name not in {*part.categories, *part.ranges}]
    rough = []
    for case in cases:
        inputs = case.inputs.copy()
        scales = np.random.default_rng(0).uniform(0.6, 1.0, inputs[..., columns].shape)
        inputs[..., columns] *= scales.astype(part.dtype)
        rough.append(case._replace(name=f"{case.name}, roughened", inputs=inputs))
    return rough


def answered(runner: Runner, cases: list[GoldenCase]) -> list[GoldenCase]:
    """The cases without the rows that the graph gives NaN for: where such a row is cut, other steps of it are NaN."""
    kept = []
    for case in cases:
        outputs, _ = run_sequence(runner, case.inputs, case.inputs.shape[1])
        sound = (outputs == outputs).reshape(len(outputs), -1).all(axis=1)
        if sound.any():
            kept.append(case._replace(inputs=case.inputs[sound]))
    return kept


def is_batch_invariant(runner: Runner, cases: list[GoldenCase]) -> bool:
    """Whether every row of every case is the same to the bit however it is run.

    Alone and in its case's batch; in one run, step by step and three steps at a time; and in the largest iteration
    that there may be, where the case's rows are repeated.
    """
    for case in cases:
        num_steps = case.inputs.shape[1]
        whole = run_sequence(runner, case.inputs, num_steps)
        if not all(_same(whole, run_sequence(runner, case.inputs, chunk_steps)) for chunk_steps in (1, 3)):
            return False
        rows = np.arange(runner.max_batch_size) % len(case.inputs)
        crowd = run_sequence(runner, case.inputs[rows], runner.max_iteration_steps)
        for row in range(len(case.inputs)):
            alone = run_sequence(runner, case.inputs[row : row + 1], num_steps)
            if not _same(alone, _rows(whole, [row])):
                return False
        if not _same(_rows(whole, rows), crowd):
            return False
    return True


def run_sequence(runner: Runner, inputs: NDArray[Any], chunk_steps: int) -> tuple[NDArray[Any], Rows]:
    """Run whole sequences ``[B, T, F]`` from the initial state, ``chunk_steps`` at a time, one where the graph takes
    no more; returns outputs ``[B, T, O]`` (``[B, 1, O]`` of a graph that answers once) and the final states.
    """
    states: Rows = runner.initial_states(len(inputs))
    if runner.manifest.inputs[0].time_axis is None:
        chunk_steps = 1
    outputs = []
    for start in range(0, inputs.shape[1], chunk_steps):
        made, states = runner.run(inputs[:, start : start + chunk_steps], states)
        outputs.append(made)
    if runner.manifest.outputs[0].time_axis is None and runner.manifest.inputs[0].time_axis is not None:
        outputs = outputs[-1:]
    return np.concatenate(outputs, axis=1), states


def _runner(manifest: Manifest, directory: Path, settings: Settings) -> Runner:
    return Runner(
        manifest,
        directory,
        max_batch_size=settings.max_batch_size,
        max_iteration_steps=settings.max_iteration_steps,
    )


def _batch_first(tensor: NDArray[Any], part: Any) -> NDArray[Any]:
    """A tensor in the graph's axes as ``[B, T, F]``; one without T as ``[B, 1, F]``."""
    first = np.moveaxis(tensor, part.batch_axis, 0)
    if part.time_axis is not None:
        first = np.moveaxis(first, part.time_axis + (part.time_axis < part.batch_axis), 1)
    else:
        first = first[:, None]
    return first.reshape(first.shape[0], first.shape[1], part.num_features)


def _final_states(runner: Runner, cases: list[GoldenCase]) -> dict[str, Rows]:
    """The states ``[B, ...]`` behind each golden case."""
    return {case.name: run_sequence(runner, case.inputs, case.inputs.shape[1])[1] for case in cases}


def _rows(ran: tuple[NDArray[Any], Rows], rows: Any) -> tuple[NDArray[Any], Rows]:
    return ran[0][rows], tuple(state[rows] for state in ran[1])


def _same(one: tuple[NDArray[Any], Rows], other: tuple[NDArray[Any], Rows]) -> bool:
    pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]] = zip([one[0], *one[1]], [other[0], *other[1]], strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def _time_step(runner: Runner) -> float:
    """Warm the graph up and time one step of a full batch, in seconds."""
    part = runner.manifest.inputs[0]
    for batch_size, num_steps in (
        (1, 1),
        (runner.max_batch_size, runner.max_iteration_steps),
        (runner.max_batch_size, 1),
    ):
        inputs = np.zeros((batch_size, num_steps, part.num_features), part.dtype)
        states = runner.initial_states(batch_size)
        began_at = time.perf_counter()
        try:
            runner.run(inputs, states)
        except OstinatoError as error:
            raise ModelRejected(f"{runner.manifest.name}/{runner.manifest.version}: {error}") from error
    return time.perf_counter() - began_at
