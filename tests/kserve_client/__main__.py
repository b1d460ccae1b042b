"""``python -m tests.kserve_client PYTHON``: KServe's client, which another Python has, asks a server of this one."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tests import programs
from tests.networks import lstm, offline
from tests.server import free_port, running_server

NUM_SEQUENCES, NUM_STEPS, NUM_FEATURES = 32, 20, 3


def main(python: Annotated[Path, typer.Argument(help="Of the environment that KServe is installed in.")]) -> None:
    """Let KServe's client ask over HTTP and gRPC, and hold what it is answered to offline runs, to the bit."""
    console = programs.console()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "repository")
        inputs = np.random.default_rng(1).normal(size=(NUM_SEQUENCES, NUM_STEPS, NUM_FEATURES)).astype(np.float32)
        directory = lstm(hidden_size=16).write(repository, inputs[:3])
        golden = np.stack([offline(directory, sequence) for sequence in inputs])
        arrays = Path(folder, "arrays.npz")
        np.savez(arrays, inputs=inputs, golden=golden)
        grpc_port = free_port()
        with running_server(repository, Path(folder), grpc_port=grpc_port) as server:
            asking = Path(__file__).with_name("asking.py")
            command = [str(python), str(asking), server.url, f"127.0.0.1:{grpc_port}", str(arrays)]
            asked = subprocess.run(command)
    if asked.returncode:
        raise typer.Exit(1)
    console.print(f"KServe's client: {NUM_SEQUENCES} sequences by each way as offline, to the bit", highlight=False)


if __name__ == "__main__":
    programs.command_line(main)(prog_name="python -m tests.kserve_client")
