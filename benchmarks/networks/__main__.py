"""``python -m benchmarks.networks``: every network trained small, exported, and measured, as rows of docs/models.md."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

from benchmarks.networks import training
from benchmarks.networks.rows import NetworkRow, all_rows
from benchmarks.networks.series import Floats
from benchmarks.networks.training import answer
from ostinato.export.exporter import export_module
from ostinato.export.sequence_exporter import export_sequence
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Statistics

BATCH_SIZES = (1, 64)
_ROUNDS, _RUNS, _SEQUENCE_STEPS = 15, 20, 100
COLUMNS = ("network", "source", "task", "NRMSE", "rival", "parity", "promise", "step, 1 row", "step, 64 rows")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Part of a network's name, again for each.")] = None,
    costs: Annotated[bool, typer.Option(help="Train for a moment only: what a step costs, and no figures.")] = False,
) -> None:
    """Train, export and measure each network, and print the rows of docs/models.md."""
    if costs:
        training.NUM_EPOCHS = training.NUM_UPDATES = 1
    torch.set_num_threads(1)
    _print(COLUMNS)
    _print(["---"] * len(COLUMNS))
    for number, row in enumerate(all_rows()):
        if only and not any(part in row.network for part in only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            _print(measured(row, number, Path(folder)))


def measured(row: NetworkRow, number: int, folder: Path) -> list[str]:
    """The cells of one row."""
    torch.manual_seed(0)
    network = row.build()
    error = row.task.nrmse(answer(network, row.task.x, row.constants))
    directory, parity = _exported(network, row, f"network-{number}", folder)
    manifest = Manifest.read(directory)
    costs = [f"{step_microseconds(manifest, directory, size):.0f} us" for size in BATCH_SIZES]
    figure = f"{error:.4f}" if error < 0.01 else f"{error:.3f}"
    return [row.network, row.source, row.task.name, figure, row.rival, f"{parity:.0e}", str(manifest.promise), *costs]


def _exported(network: nn.Module, row: NetworkRow, name: str, folder: Path) -> tuple[Path, float]:
    shape = row.task.x.shape[1:]
    features = tuple(f"x{index}" for index in range(int(np.prod(shape))))
    inputs = Input(
        name="inputs", dtype="float32", shape=("B", "T", *shape), features=features, statistics=_statistics(row.task.x)
    )
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if not hasattr(network, "initial_state"):
            exported = export_sequence(network, inputs, folder, name=name)
        else:
            context = []
            if row.constants is not None:
                names = tuple(f"k{index}" for index in range(len(row.constants)))
                context = [Input(name="constants", dtype="float32", shape=("B", len(names)), features=names)]
            exported = export_module(
                network,
                inputs,
                folder,
                name=name,
                context=context,
                state_names=network.state_names,  # type: ignore[arg-type]
            )
    return exported.directory, exported.proof.parity.max_difference


def _statistics(x: Floats) -> Statistics:
    flat = x.reshape(len(x), -1).astype(np.float64)
    numbers = (flat.mean(axis=0), flat.std(axis=0), flat.min(axis=0), flat.max(axis=0), np.zeros(flat.shape[1]))
    mean, std, minimum, maximum, missing = (tuple(each.tolist()) for each in numbers)
    return Statistics(mean=mean, std=std, minimum=minimum, maximum=maximum, missing_fraction=missing)


def step_microseconds(manifest: Manifest, directory: Path, batch_size: int) -> float:
    """Processor time of a step in a bare run of the graph on one thread, all rows together; the best of some rounds.

    Of sessions it is a run of one step, over as many steps as the slowest clock has; of whole sequences a hundredth of
    a run of 100 steps.
    """
    (graph,) = (graph for name, graph in manifest.graphs.items() if name in ("step", "sequence"))
    session = open_graph(directory / graph.file)
    is_whole = manifest.task == "sequence"
    num_steps = _SEQUENCE_STEPS if is_whole else 1
    sizes = {"B": batch_size, "T": num_steps}
    generator = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for given in session.get_inputs():
        shape = [sizes.get(size, size) for size in given.shape]
        dtype = np.int64 if "int64" in given.type else np.float32
        feeds[given.name] = np.zeros(shape, dtype)
    for part in manifest.inputs:
        feeds[part.name] = generator.standard_normal(feeds[part.name].shape).astype(np.float32)
    if manifest.lengths:
        feeds[manifest.lengths] = np.full(batch_size, num_steps, np.int64)
    names = {state.output: state.input for state in manifest.states}
    outputs = [made.name for made in session.get_outputs()]
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        for _ in range(_RUNS):
            made = dict(zip(outputs, session.run(None, feeds), strict=True))
            feeds |= {names[name]: made[name] for name in names}
        best = min(best, (time.thread_time() - begun) / _RUNS)
    return best / num_steps * 1e6


def _print(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
