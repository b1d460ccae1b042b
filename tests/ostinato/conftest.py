"""A running service on two tiny networks, and a command line to call."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner, Result

from ostinato.cli import app
from ostinato.service.artifact.tensors import Input
from tests import generation_networks
from tests.conftest import PutNetworks
from tests.networks import Network, accumulator, lstm
from tests.server import ServerProcess, free_port, running_server

EXAMPLES = Path(__file__).parents[2] / "examples"
RunCommand = Callable[..., Result]


@pytest.fixture
def run_command() -> RunCommand:
    """Calls the command line in this process."""
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})

    def run(*arguments: object) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


def total_of_loads() -> Network:
    """The running total of ``load``, which is said to predict the next ``load``; a missing load counts as 0."""
    network = accumulator()
    for node in network.model.graph.node:
        for index, name in enumerate(node.input):
            if name == "inputs":
                node.input[index] = "filled"
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["holes"]),
        helper.make_node("Where", ["holes", "nothing", "inputs"], ["filled"]),
    ]
    for node in reversed(nodes):
        network.model.graph.node.insert(0, node)
    network.model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    onnx.checker.check_model(network.model)
    part = Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("load",), missing=True)
    return network.named("loads", inputs=(part,), feedback={"total": "load"})


def words_and_numbers() -> Network:
    """An LSTM over a number, a word and a word that looks like a number; it predicts nothing."""
    part = Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", 3),
        features=("level", "wind", "hour"),
        categories={"wind": ("N", "SE"), "hour": tuple(str(hour) for hour in range(24))},
    )
    return lstm(3, num_outputs=2).named("gusts", inputs=(part,))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with both networks."""
    repository = tmp_path_factory.mktemp("repository")
    total_of_loads().write(repository, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    words_and_numbers().write(repository, np.ones((2, 3, 3), np.float32))
    return repository


@pytest.fixture(scope="session")
def grpc_port() -> int:
    """Where that service speaks gRPC."""
    return free_port()


@pytest.fixture(scope="session")
def server(models: Path, grpc_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The service, ready, on that repository."""
    with running_server(models, tmp_path_factory.mktemp("home"), grpc_port=grpc_port) as process:
        yield process


@pytest.fixture(scope="session")
def writing_server(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Iterator[ServerProcess]:
    """The service, ready, on models that write: ``g2p`` from text, ``letters`` from nothing, and numbers."""
    repository = tmp_path_factory.mktemp("writers")
    shutil.copytree(EXAMPLES / "cmudict" / "repository", repository, dirs_exist_ok=True)
    put_networks(repository, generation_networks.export_letter_model, generation_networks.export_hours_ahead)
    with running_server(repository, tmp_path_factory.mktemp("writing"), max_output_steps=1000) as process:
        yield process
