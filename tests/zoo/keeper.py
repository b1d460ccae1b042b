"""The keeper of the zoo: exports its modules, serves them, and streams them in random chunks by concurrent sessions.

What each session was answered is held to the offline run in the way that the model's manifest promises, to the bit.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.export.exporter import export_module
from ostinato.export.sequence_exporter import export_sequence
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from tests.live_sequences import Sequence as LiveSequence
from tests.live_sequences import draw, plain
from tests.server import ServerProcess
from tests.zoo.entries import Entry, all_entries

NUM_SESSIONS, NUM_STEPS, MAX_CHUNK_STEPS, NUM_SEQUENCES = 8, 40, 9, 6


class Outcome(NamedTuple):
    """What came of an entry; ``failure`` is empty where it is as promised."""

    name: str
    promise: str
    failure: str


def export_entry(name: str, entry: Callable[[], Entry], repository: Path) -> Path:
    """Export one module; returns its version's directory."""
    torch.manual_seed(0)
    module, options = entry()
    export = export_sequence if options.pop("task", "") == "sequence" else export_module
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return export(
            module.eval(), options.pop("inputs"), repository, name=name.replace("_", "-"), **options
        ).directory


def export_all(names: Sequence[str], repository: Path) -> Iterator[tuple[str, Path | str]]:
    """Export modules by their names, a process for each core; yields each with its directory, or why there is none."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        under_way = {pool.submit(_export_named, name, repository): name for name in names}
        for done in as_completed(under_way):
            yield under_way[done], done.result()


def _export_named(name: str, repository: Path) -> Path | str:
    try:
        return export_entry(name, all_entries()[name], repository)
    except Exception as error:  # whatever it is, the others are judged
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def stream_entry(directory: Path, server: ServerProcess, seed: int = 0) -> None:
    """Stream one version by concurrent sessions, and compare.

    Raises:
        AssertionError: a number is not that of the offline run, or the service refused a chunk.
    """
    manifest = Manifest.read(directory)
    sequences = [LiveSequence(manifest, seed + number, NUM_STEPS) for number in range(NUM_SESSIONS)]

    def live(number: int) -> None:
        sequence, generator = sequences[number], np.random.default_rng([seed, number])
        with server.client() as client:
            opened = client.post(f"/v1/models/{manifest.name}/sessions", json=sequence.opening)
            assert opened.status_code == 201, opened.text
            while sequence.done < NUM_STEPS:
                num_steps = min(int(generator.integers(1, MAX_CHUNK_STEPS)), NUM_STEPS - sequence.done)
                content = {"inputs": sequence.chunk(num_steps), "seq": sequence.done}
                answer = client.post(f"/v1/sessions/{sequence.session_id}/step", json=content)
                assert answer.status_code == 200, answer.text
                sequence.take(answer.json(), num_steps)
            client.delete(f"/v1/sessions/{sequence.session_id}")

    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        list(pool.map(live, range(NUM_SESSIONS)))
    runner = Runner(manifest, directory, max_batch_size=256, max_iteration_steps=NUM_STEPS)
    for sequence in sequences:
        sequence.check(_offline(runner, sequence))


def predict_entry(directory: Path, server: ServerProcess, seed: int = 0) -> None:
    """Have one version of whole sequences answer ragged requests of concurrent clients, and compare.

    Raises:
        AssertionError: a number is not that of the offline run, or the service refused a request.
    """
    manifest = Manifest.read(directory)
    runner = SequenceRunner(manifest, directory, max_batch_size=256)
    lengths = np.random.default_rng(seed).integers(1, NUM_STEPS, (NUM_SESSIONS, NUM_SEQUENCES))

    def ask(number: int) -> None:
        drawn = [draw(manifest, np.random.default_rng([seed, number, n]), 1, n) for n in lengths[number].tolist()]
        inputs = [{name: array[0] for name, array in inputs.items()} for inputs, _ in drawn]
        context = [{name: array[0] for name, array in context.items()} for _, context in drawn]
        body: dict[str, Any] = {"sequences": [_as_sent(manifest, plain(each)) for each in inputs]}
        if manifest.context:
            body["context"] = [plain(each) for each in context]
        with server.client() as client:
            answer = client.post(f"/v1/models/{manifest.name}/predict", json=body)
        assert answer.status_code == 200, answer.text
        for given, known, made in zip(inputs, context, answer.json()["outputs"], strict=True):
            wanted = run_alone(runner, manifest.given.pack(list(given.values())), tuple(known.values()))
            for part, numbers in zip(manifest.outputs, manifest.made.unpack(wanted), strict=True):
                golden = numbers if part.time_axis is not None else numbers[-1:]
                ours = np.array(made[part.name] if isinstance(made, dict) else made, part.dtype)
                assert ours.size == golden.size
                assert ours.tobytes() == golden.tobytes(), f"{manifest.name}: {part.name}"

    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        list(pool.map(ask, range(NUM_SESSIONS)))


def _as_sent(manifest: Manifest, steps: Any) -> Any:
    """A sequence in the form in which the model takes it."""
    if len(steps) > 1:
        return steps
    (rows,) = steps.values()
    return rows if manifest.inputs[0].row_shape else [[row] for row in rows]


def _offline(runner: Runner, sequence: LiveSequence) -> dict[str, NDArray[Any]]:
    """The offline run of one sequence by itself, by the names of its outputs."""
    manifest = runner.manifest
    rows = manifest.given.pack([array[None] for array in sequence.sent().values()])
    states = runner.initial_states(1)[: len(manifest.states)]
    outputs, _ = run_offline(runner, rows, begin=(*states, *(array[None] for array in sequence.context.values())))
    made = zip(manifest.outputs, manifest.made.unpack(outputs), strict=True)
    is_once = {part.name: part.time_axis is None and runner.takes_many_steps for part in manifest.outputs}
    return {part.name: array[0, -1] if is_once[part.name] else array[0] for part, array in made}


def judge(directories: Iterable[Path], server: ServerProcess) -> Iterable[Outcome]:
    """What came of each version, one after the other."""
    for directory in directories:
        manifest = Manifest.read(directory)
        failure = ""
        try:
            (predict_entry if manifest.task == "sequence" else stream_entry)(directory, server)
        except AssertionError as error:
            failure = str(error).partition("\n")[0]
        yield Outcome(manifest.name, str(manifest.promise), failure)
