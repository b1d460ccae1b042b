"""The checks of what generates, when a version is loaded: its graphs, golden outputs, and what its rows depend on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ostinato.service.artifact.manifest import ALONE, ANY, GOLDEN_FILE, Manifest, Promise
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference
from ostinato.service.catalogue.promise_checks import DEPENDENT, SAME_IN_SHAPE
from ostinato.service.catalogue.timing import best_seconds
from ostinato.service.engine.generation.decoding import Numbers, OutputPlan
from ostinato.service.engine.generation.graphs import DecoderRunner, EncoderRunner, Start
from ostinato.service.engine.generation.lanes import Lanes
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

logger = logging.getLogger(__name__)

NUM_WATCHED = 3


class LoadedGenerator(NamedTuple):
    """A version's graphs that generate, checked.

    Attributes:
        manifest: as read, with the promise as found here: ``any``, or each output alone.
        encoder: None where there is no graph ``encode``.
        step_seconds: how long a step of a full set of lanes took.
        golden_difference: the largest difference to the golden outputs, as the manifest's parity measures it.
    """

    manifest: Manifest
    encoder: EncoderRunner | None
    decoder: DecoderRunner
    step_seconds: float
    golden_difference: float


class GoldenOutput(NamedTuple):
    """What the trained network gives for one row, fed what ``previous`` holds.

    Attributes:
        source: what the decoder starts from: the source, to be encoded, or None of a generator.
        previous: ``[T]`` codes or ``[T, O]`` numbers; the steps are counted by ``output`` where there are none.
        output: ``[T, O]``.
    """

    place: str
    source: NDArray[Any] | None
    previous: NDArray[Any]
    output: NDArray[Any]


def load_generator(manifest: Manifest, directory: Path, *, max_lanes: int) -> LoadedGenerator:
    """Load an encoder-decoder or a generator and check it.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    encoder = EncoderRunner(manifest, directory) if manifest.task == "encoder_decoder" else None
    decoder = DecoderRunner(manifest, directory)
    rows = read_golden_outputs(manifest, directory)
    try:
        difference = _check_golden(manifest, encoder, decoder, rows)
        manifest = manifest.model_copy(
            update={"promise": check_generation_promise(manifest, encoder, decoder, rows, max_lanes)}
        )
        seconds = _time_step(encoder, decoder, rows, max_lanes)
    except RunFailed as error:
        raise ModelRejected(f"{directory}: {error}") from error
    return LoadedGenerator(manifest, encoder, decoder, seconds, difference)


def load_session_decoder(
    manifest: Manifest, directory: Path, final_states: Mapping[str, Rows], max_lanes: int
) -> LoadedGenerator:
    """Load the decoder of a recurrent model and check it on the states behind the golden sequences.

    Args:
        final_states: golden case -> states ``[B, ...]``. The case's ``<case>/decode/<output>`` is what the trained
            network gives from there on, ``[B, N, O]``.

    Raises:
        ModelRejected: a check failed; the message names the file and the reason.
    """
    decoder = DecoderRunner(manifest, directory)
    path = directory / GOLDEN_FILE
    tensors = load_file(path)
    part = decoder.part
    largest = 0.0
    starts: list[Start] = []
    for case, states in final_states.items():
        key = f"{case}/decode/{part.output.name}"
        if key not in tensors:
            raise ModelRejected(f"{path}: it lacks {key!r}")
        golden = tensors[key].reshape(*tensors[key].shape[:2], part.output.num_features)
        for row in range(len(golden)):
            start = decoder.start_of_session(manifest, [state[row] for state in states])
            starts.append(start)
            made = run_free(decoder, [start], golden.shape[1])[0]
            largest = max(largest, largest_difference(made, golden[row]))
    tolerance = manifest.parity.tolerance if manifest.parity else DEFAULT_TOLERANCE
    if not largest <= tolerance:
        raise ModelRejected(f"{path}: the decoder is off by {largest:.3g}; at most {tolerance:.3g} is allowed")
    manifest = manifest.model_copy(update={"promise": ANY if part.shares_runs else ALONE})
    if part.shares_runs:
        crowd = [starts[index % len(starts)] for index in range(max_lanes)]
        _check_same(run_free(decoder, crowd[:2], 3)[0], run_free(decoder, crowd[:1] * 2, 3)[0], "a forecast")
        made = run_free(decoder, crowd, 3)
        alone = [run_free(decoder, [start], 3)[0] for start in starts]
        if any(row.tobytes() != alone[index % len(starts)].tobytes() for index, row in enumerate(made)):
            logger.warning("%s: forecasts are rounded by what shares their run, so each is run alone", directory)
            manifest = manifest.model_copy(update={"promise": ALONE})
    seconds = best_seconds(lambda: run_free(decoder, [starts[0]] * max_lanes, 1))
    with decoder.graph.giving_memory_back():
        run_free(decoder, starts[:1], 1)
    return LoadedGenerator(manifest, None, decoder, seconds, largest)


def run_free(decoder: DecoderRunner, starts: list[Start], num_steps: int) -> NDArray[Any]:
    """Numbers ``[B, T, O]`` of lanes that are fed their own.

    Raises:
        RunFailed: the graph failed.
    """
    decodings = [Numbers(OutputPlan(decoder.start_value, None, num_steps)) for _ in starts]
    lanes = Lanes(decoder)
    lanes.join(list(zip(decodings, starts, strict=True)))
    for _ in range(num_steps):
        _, failures = lanes.advance()
        for error in failures.values():
            raise error
    return np.stack([decoding.outputs[0].codes for decoding in decodings])


def read_golden_outputs(manifest: Manifest, directory: Path) -> list[GoldenOutput]:
    """The rows of all cases of ``golden.safetensors``: tensors ``<case>/<name in the graph>``, in the graph's axes;
    those of the decoder have an axis for the steps behind that of the batch.

    Raises:
        ModelRejected: the file is absent, cut short, empty, or lacks a tensor.
    """
    path = directory / GOLDEN_FILE
    assert manifest.decoder is not None
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelRejected(f"{path}: {error}") from error
    rows = []
    for case in sorted({name.partition("/")[0] for name in tensors}):
        try:
            rows += _rows_of_case(manifest, case, tensors)
        except (KeyError, ValueError, IndexError) as error:
            raise ModelRejected(f"{path}: case {case!r} does not fit the manifest: {error}") from error
    if not rows:
        raise ModelRejected(f"{path}: it holds no case")
    return rows


def run_forced(decoder: DecoderRunner, starts: list[Start], previous: NDArray[Any], num_steps: int) -> NDArray[Any]:
    """Outputs ``[B, T, O]`` of lanes that are fed ``previous`` ``[B, T]`` (or ``[B, T, O]``).

    Raises:
        RunFailed: the graph failed.
    """
    axes = [state.batch_axis for state in decoder.part.states]
    states = [np.stack([start.states[index] for start in starts], axis) for index, axis in enumerate(axes)]
    memory = [np.stack([start.memory[index] for start in starts]) for index in range(len(starts[0].memory))]
    lengths = np.array([start.num_source_steps for start in starts], np.int64)
    outputs = []
    for index in range(num_steps):
        step = decoder.run(previous[:, index], states, memory, lengths)
        states = step.states
        outputs.append(step.output)
    return np.stack(outputs, axis=1)


def check_generation_promise(
    manifest: Manifest,
    encoder: EncoderRunner | None,
    decoder: DecoderRunner,
    rows: list[GoldenOutput],
    max_lanes: int,
) -> Promise:
    """``any`` where it holds, else ``alone``.

    Raises:
        ModelRejected: rows depend on each other; or the manifest says ``any``, and it does not hold.
    """
    check_rows_are_their_own(encoder, decoder, rows)
    if manifest.promise == ALONE:
        return ALONE
    if is_batch_invariant(encoder, decoder, rows, max_lanes):
        return ANY
    if manifest.promise is not None:
        raise ModelRejected(
            "promise: the manifest says 'any', and outputs are rounded by what shares their run; export it again, or "
            "take 'promise' out to have it found"
        )
    logger.warning(
        "%s/%s: outputs are rounded by what shares their run, so each runs alone", manifest.name, manifest.version
    )
    return ALONE


def check_rows_are_their_own(encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput]) -> None:
    """Run each golden row next to others, and compare with the row next to copies of itself.

    Raises:
        ModelRejected: its output changes by more than rounding.
    """
    for group in _groups(encoder, rows):
        for index, row in enumerate(group[:NUM_WATCHED]):
            # Fed in the order turned round, and from other sources, if there are any: no row is like the one watched.
            others = [
                other._replace(previous=other.previous[::-1]) for other in (group[index + 1 :] + group[:index] or [row])
            ]
            beside = [row, *(others * 2)[:3]]
            copies = [row] * len(beside)
            made, wanted = (_run_rows(encoder, decoder, crowd)[0] for crowd in (beside, copies))
            _check_same(made, wanted, row.place)


def _check_same(beside: NDArray[Any], wanted: NDArray[Any], place: str) -> None:
    difference = largest_difference(beside, wanted)
    if not difference <= SAME_IN_SHAPE:
        raise ModelRejected(DEPENDENT.format(what="with others next to it", place=place, difference=difference))


def is_batch_invariant(
    encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput], max_lanes: int
) -> bool:
    """Whether the outputs of every row are the same to the bit alone and among the most that may share its run."""
    for group in _groups(encoder, rows):
        alone = [_run_rows(encoder, decoder, [row]) for row in group]
        crowd = [group[index % len(group)] for index in range(max_lanes)]
        for size in sorted({2, 3, len(group), max_lanes}):
            made = _run_rows(encoder, decoder, crowd[:size])
            for index, output in enumerate(made):
                own = alone[index % len(group)][0]
                if output[: len(own)].tobytes() != own.tobytes():
                    return False
    return True


def _rows_of_case(manifest: Manifest, case: str, tensors: dict[str, NDArray[Any]]) -> list[GoldenOutput]:
    part = manifest.decoder
    assert part is not None
    made = tensors[f"{case}/{part.output.name}"]
    outputs = made.reshape(*made.shape[:2], part.output.num_features)
    previous: NDArray[Any] = np.zeros(outputs.shape[:2], np.int64)
    if part.previous is not None:
        previous = tensors[f"{case}/{part.previous.name}"]
    sources: list[NDArray[Any] | None] = [None] * len(outputs)
    if manifest.inputs:
        source = manifest.inputs[0]
        batch = np.moveaxis(tensors[f"{case}/{source.name}"], source.batch_axis, 0)
        if source.source_axis is None:
            sources = list(batch)
        else:
            axis = source.source_axis + (source.source_axis < source.batch_axis)
            batch = np.moveaxis(batch, axis, 1)
            lengths = tensors[f"{case}/{manifest.encoder_lengths or 'lengths'}"].tolist()
            sources = [row[:length] for row, length in zip(batch, lengths, strict=True)]
    return [GoldenOutput(f"{case}[{row}]", sources[row], previous[row], outputs[row]) for row in range(len(outputs))]


def _check_golden(
    manifest: Manifest, encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput]
) -> float:
    tolerance = manifest.parity.tolerance if manifest.parity else DEFAULT_TOLERANCE
    largest = 0.0
    assert manifest.decoder is not None
    has_codes = manifest.decoder.num_codes is not None
    for row in rows:
        # A score of minus infinity rules its code out; numbers are all finite.
        is_answer = np.isfinite(row.output) | (has_codes & (row.output < 0))
        if not (is_answer.all() and (row.output > -np.inf).any(axis=-1).all()):
            raise ModelRejected(
                f"{GOLDEN_FILE}: {row.place}: the trained network's own output is NaN or infinite, and nothing could "
                "be generated from it"
            )
        difference = largest_difference(_run_rows(encoder, decoder, [row])[0], row.output)
        if not difference <= tolerance:
            raise ModelRejected(
                f"{GOLDEN_FILE}: {row.place}: the graphs are off by {difference:.3g}; "
                f"at most {tolerance:.3g} is allowed"
            )
        largest = max(largest, difference)
    return largest


def _run_rows(encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput]) -> list[NDArray[Any]]:
    """Outputs ``[T, O]`` of rows that are run together for as long as the longest."""
    starts = _starts(encoder, decoder, rows)
    num_steps = max(len(row.output) for row in rows)
    previous = np.zeros((len(rows), num_steps, *rows[0].previous.shape[1:]), rows[0].previous.dtype)
    for index, row in enumerate(rows):
        previous[index, : len(row.previous)] = row.previous
    outputs = run_forced(decoder, starts, previous, num_steps)
    return [output[: len(row.output)] for output, row in zip(outputs, rows, strict=True)]


def _groups(encoder: EncoderRunner | None, rows: list[GoldenOutput]) -> list[list[GoldenOutput]]:
    """Rows that may share a run."""
    groups: dict[int, list[GoldenOutput]] = {}
    for row in rows:
        length = 0 if encoder is None or row.source is None else encoder.padded_length(len(row.source))
        groups.setdefault(length, []).append(row)
    return list(groups.values())


def _time_step(
    encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput], max_lanes: int
) -> float:
    """Time one step of a full set of lanes, in seconds."""
    group = _groups(encoder, rows)[0]
    crowd = [group[index % len(group)] for index in range(max_lanes)]
    starts = _starts(encoder, decoder, crowd)
    previous = np.stack([row.previous[:1] for row in crowd])
    seconds = best_seconds(lambda: run_forced(decoder, starts, previous, 1))
    with ExitStack() as stack:
        for part in (encoder, decoder):
            if part is not None:
                stack.enter_context(part.graph.giving_memory_back())
        run_forced(decoder, _starts(encoder, decoder, crowd[:1]), previous[:1], 1)
    return seconds


def _starts(encoder: EncoderRunner | None, decoder: DecoderRunner, rows: list[GoldenOutput]) -> list[Start]:
    return [decoder.start()] * len(rows) if encoder is None else encoder.run([_source(row) for row in rows])


def _source(row: GoldenOutput) -> NDArray[Any]:
    assert row.source is not None
    return row.source
