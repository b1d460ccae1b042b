"""The promise of an exported version: in which shapes its graphs are run for live and offline numbers to be the same.

By the service's own runners and checks, over more probes than it takes the time for when it loads a version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.preparation import name_of
from ostinato.export.errors import ExportError
from ostinato.export.proofs.sizes import num_rows, num_steps, share
from ostinato.service.artifact.manifest import ALONE, ANY, GraphFile, Manifest, Promise
from ostinato.service.catalogue.generation_checks import check_generation_promise, read_golden_outputs
from ostinato.service.catalogue.probes import Probe, draw_probes
from ostinato.service.catalogue.promise_checks import check_rows_are_their_own, find_promise
from ostinato.service.engine.generation.graphs import DecoderRunner, EncoderRunner
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected, RunFailed

NUM_SEEDS = 4
NUM_ROWS = 24
NUM_STEPS = 40
LARGEST = (256, 64)
"""Rows and steps of the largest run, as a service allows them unless told otherwise."""


def recurrent_promise(contract: Contract, path: Path, *, may_be_any: bool) -> Promise:
    """The promise of a graph.

    Args:
        may_be_any: False where the proof has seen rows that are not the same in any run.

    Raises:
        ExportError: rows depend on each other.
    """
    with _as_export_error():
        runner = _runner(contract, path)
        probes = _probes(contract, runner)
        check_rows_are_their_own(runner, probes)
        return find_promise(runner, probes, may_be_any=may_be_any)


def check_module_rows(contract: Contract) -> None:
    """Refuse a module whose rows are not their own, where it shows before there is a graph: the first next to others.

    Raises:
        ExportError: its answer is another there.
    """
    steps = 5 if contract.inputs.time_axis is not None else 1
    sequences = contract.draw(np.random.default_rng(0), 3, steps)
    beside = sequences.copy()
    beside[1:] = beside[:1]
    wanted, made = (contract.run(contract, each, contract.initial_states(3))[0][:1] for each in (sequences, beside))
    pairs = zip(contract.named(made).values(), contract.named(wanted).values(), strict=True)
    if not all(np.allclose(*pair, rtol=1e-3, atol=1e-3, equal_nan=True) for pair in pairs):
        raise ExportError(
            f"{name_of(contract.module)}: the rows of a batch depend on each other: with other sequences next to it, "
            "the answer to the first one changes. Sequences share their runs with others, so each must be computed by "
            "itself: look for a mean, a norm, a softmax or an attention over the batch, as nn.MultiheadAttention "
            "without batch_first=True is, or a batch and steps that are swapped"
        )


def check_rows(contract: Contract, path: Path) -> None:
    """Find out whether it was for rows that depend on each other that a graph was not proved.

    Raises:
        ExportError: they do.
    """
    runner = _runner(contract, path)
    with contextlib.suppress(RunFailed):  # of which the proof says more
        try:
            check_rows_are_their_own(runner, _probes(contract, runner))
        except ModelRejected as error:
            raise ExportError(f"the exported graph: {error}") from error


def _runner(contract: Contract, path: Path) -> Runner:
    described = Manifest(
        name=path.stem,
        version="1",
        task="recurrent",
        graphs={"step": GraphFile(file=path.name, sha256="0" * 64)},
        inputs=contract.given,
        outputs=contract.made,
        context=contract.context,
        states=contract.states,
        constants=contract.constants,
        promise=ANY,
    )
    rows, steps = LARGEST
    return Runner(
        described,
        path.parent,
        max_batch_size=num_rows(contract, rows),
        max_iteration_steps=num_steps(contract, steps),
    )


def _probes(contract: Contract, runner: Runner) -> list[Probe]:
    probes = []
    rows, steps = num_rows(contract, NUM_ROWS), num_steps(contract, NUM_STEPS)
    for seed in range(NUM_SEEDS if share(contract) == 1 else NUM_SEEDS // 2):
        drawn = contract.draw(np.random.default_rng(seed), rows, steps)
        arrays = contract.rows.unpack(drawn.reshape(rows, steps, contract.rows.width))
        count = len(contract.given)
        sequences = runner.manifest.given.pack([np.ascontiguousarray(array) for array in arrays[:count]])
        states = runner.initial_states(rows)[: len(contract.states)]
        carried = (*states, *(np.ascontiguousarray(array[:, 0]) for array in arrays[count:]))
        probes += draw_probes(runner, [Probe(sequences, carried)], rows, seed)
    return probes


def generation_promise(manifest: Manifest, folder: Path, *, may_be_any: bool) -> Promise:
    """The promise of the graphs ``encode`` and ``decode``, over the golden answers in ``folder``.

    Raises:
        ExportError: rows depend on each other.
    """
    with _as_export_error():
        encoder = EncoderRunner(manifest, folder) if "encode" in manifest.graphs else None
        rows = read_golden_outputs(manifest, folder)
        manifest = manifest.model_copy(update={"promise": None if may_be_any else ALONE})
        return check_generation_promise(manifest, encoder, DecoderRunner(manifest, folder), rows, LARGEST[0])


@contextlib.contextmanager
def _as_export_error() -> Iterator[None]:
    try:
        yield
    except (ModelRejected, RunFailed) as error:
        raise ExportError(f"the exported graph: {error}") from error
