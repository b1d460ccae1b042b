"""``python -m tests.libraries``: networks that libraries trained, served, and compared with what these predict."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from ostinato import Client
from ostinato.export.exporter import export_module
from ostinato.service.artifact.tensors import Input
from tests.libraries.trained import Trained, all_trained
from tests.server import running_server

TOLERANCE = 1e-4
"""Of the largest number: a graph rounds in another order than torch, and a window's scaler multiplies that."""


def main(
    only: Annotated[list[str] | None, typer.Option(help="Library, again for each.")] = None,
) -> None:
    """Train, export, serve and stream every network of docs/windows.md, and compare its answers with what its library
    predicts. Exit status 1 where one differs.
    """
    logging.disable(logging.WARNING)  # the libraries tell of much that is as it should be
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "repository")
        trained = list(all_trained(Path(folder), only or ()))
        for each in trained:
            exported(each, repository)
        with running_server(repository, Path(folder), require_models=True) as server, Client(server.url) as client:
            differences = {each.name: difference(each, answer(each, client)) for each in trained}
    console = Console(highlight=False, width=100)
    for name, found in differences.items():
        console.print(f"{name:<28} differs by {found:.1e} of the largest number")
    failed = sum(not found <= TOLERANCE for found in differences.values())
    console.print(f"{len(differences) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


def exported(each: Trained, repository: Path) -> None:
    """Export one network; where its horizon is a forecast, with its answer as the next step's input."""
    features = tuple(f"column_{number}" for number in range(each.series.shape[1]))
    inputs = Input(name="inputs", dtype="float32", shape=("B", "T", len(features)), features=features)
    more = {"output_features": ["ahead"], "feedback": {"ahead": "column_0"}} if each.horizon else {}
    export_module(each.module, inputs, repository, name=each.name, **more)  # type: ignore[arg-type]


def answer(each: Trained, client: Client) -> NDArray[np.float32]:
    """What a live session says at the end of the series, which it is given in two chunks and a step."""
    with client.session(each.name) as session:
        for begin, end in ((0, 5), (5, -1), (-1, None)):
            made = np.asarray(session.step(each.series[begin:end]), np.float32)
        last: NDArray[np.float32] = made[-1]
        return np.asarray(session.forecast(each.horizon), np.float32)[:, 0] if each.horizon else last


def difference(each: Trained, made: NDArray[np.float32]) -> float:
    """The largest difference, of the largest number that the library predicts."""
    assert made.shape == each.predicted.shape, f"{each.name}: {made.shape} and {each.predicted.shape}"
    return float(np.abs(made - each.predicted).max() / np.abs(each.predicted).max())


if __name__ == "__main__":
    typer.run(main)
