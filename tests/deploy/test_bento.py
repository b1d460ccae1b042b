"""A Bento built as an operator builds it, then served and asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import ostinato
from ostinato.export.exporter import export_module
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from tests.deploy.serving_bento import BENTOML, served_bento

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("bento")

ROOT = Path(__file__).parents[2]
NUM_FEATURES = 3


class Network(nn.Module):
    """The smallest network that keeps the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(NUM_FEATURES, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return (torch.zeros(1, batch_size, 4),)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        y, hidden = self.recurrent(x, hidden)
        return self.head(y), hidden


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home folder that is empty, and no address at which the network could be reached."""
    home = tmp_path_factory.mktemp("home")
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("OSTINATO_", "BENTOML_", "PYTHON"))
    }
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return own | nowhere | {"HOME": str(home), "BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """The folder of a Bento, built in a copy of the project whose repository holds one small model."""
    project = tmp_path_factory.mktemp("project")
    for name in ("bentofile.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in ("service", "models", "export", "ostinato", "requirements", "tests"):
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    torch.manual_seed(0)
    features = tuple("abc")
    inputs = Input(name="inputs", dtype="float32", shape=("B", "T", NUM_FEATURES), features=features)
    export_module(Network(), inputs, project / "repository", name="small")
    done = subprocess.run(
        [str(BENTOML), "build"], cwd=project, env=environment, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (Path(environment["BENTOML_HOME"]) / "bentos" / "ostinato").glob("*/")
    return folder


@pytest.fixture(scope="module")
def client(
    bento: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A client of ``bentoml serve <the Bento>``, started far from the project, as the image's entry point does it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with served_bento(bento, environment, elsewhere, state=f"lmdb://{elsewhere}/state") as client:
        yield client


def test_a_bento_holds_the_service_its_models_and_nothing_of_training(bento: Path) -> None:
    assert {path.name for path in (bento / "src").iterdir()} == {
        "LICENSE",
        "bentofile.yaml",
        "ostinato",
        "repository",
        "service",
    }
    models = {str(path.relative_to(bento / "src" / "repository")) for path in (bento / "src").rglob("*.json")}
    assert models == {"small/1/model.json"}


def test_a_bento_has_the_command_line(bento: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "ostinato.cli", "verify", "repository"]
    done = subprocess.run(command, cwd=bento / "src", env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "small" in done.stdout


# Runs the command line as the image does: the libraries have metadata and the package has none, nor is there a checkout
# that the environment would look into.
WITHOUT_METADATA = """
import importlib.metadata, runpy, sys
known = importlib.metadata.distribution
def distribution(name):
    if name == "ostinato":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.distribution = distribution
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
runpy.run_module("ostinato.cli", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "exit_status", "output"),
    [
        (("--version",), 0, f"ostinato {ostinato.__version__}\n"),
        (("train", "a.toml"), 1, "error: 'ostinato train' is not in a Bento, which only serves; "),
        (("export", "runs/a"), 1, "error: 'ostinato export' is not in a Bento, which only serves; "),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_bento_s_command_line_knows_what_it_is_without_being_installed(
    arguments: tuple[str, ...], exit_status: int, output: str, bento: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_METADATA, *arguments],
        cwd=bento / "src",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, (done.stdout + done.stderr)[: len(output)]) == (exit_status, output)


def test_a_bento_installs_exactly_the_lock(bento: Path) -> None:
    def pins(path: Path) -> set[str]:
        return {line for line in path.read_text().splitlines() if "==" in line}

    assert pins(bento / "env" / "python" / "requirements.txt") == pins(ROOT / "requirements" / "serving.lock")


def test_the_image_listens_to_who_is_outside_of_it(bento: Path) -> None:
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    assert "ARG OSTINATO_HOST=0.0.0.0\nENV OSTINATO_HOST=$OSTINATO_HOST\n" in dockerfile


def test_a_served_bento_answers_a_session_as_one_run_of_the_graph_does(bento: Path, client: httpx2.Client) -> None:
    sequence = np.random.default_rng(0).standard_normal((7, NUM_FEATURES), dtype=np.float32)
    session = client.post("/v1/models/small/sessions", json={}).raise_for_status().json()["session_id"]
    outputs: list[list[float]] = []
    for start, stop in ((0, 1), (1, 5), (5, 7)):
        body = {"inputs": sequence[start:stop].tolist(), "seq": start}
        outputs += client.post(f"/v1/sessions/{session}/step", json=body).raise_for_status().json()["outputs"]
    assert np.array_equal(np.array(outputs, np.float32), run_whole(bento, sequence))


def test_a_served_bento_predicts_the_same(bento: Path, client: httpx2.Client) -> None:
    sequence = np.random.default_rng(1).standard_normal((5, NUM_FEATURES), dtype=np.float32)
    body = {"sequences": [sequence.tolist()], "return_sequences": True}
    answer = client.post("/v1/models/small/predict", json=body).raise_for_status().json()
    assert np.array_equal(np.array(answer["outputs"][0], np.float32), run_whole(bento, sequence))


def test_a_served_bento_has_the_console(client: httpx2.Client) -> None:
    page = ROOT / "service" / "edge" / "console" / "page"
    files = [path for path in sorted(page.rglob("*")) if path.is_file()]
    assert len(files) > 20
    for path in files:
        answer = client.get(f"/console/{path.relative_to(page).as_posix()}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), path


def run_whole(bento: Path, sequence: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The outputs ``[T, O]`` of one run of the Bento's graph over a sequence ``[T, F]``."""
    folder = bento / "src" / "repository" / "small" / "1"
    manifest = Manifest.read(folder)
    graph = onnxruntime.InferenceSession(folder / manifest.graphs["step"].file, providers=["CPUExecutionProvider"])
    (state,) = manifest.states
    initial = np.expand_dims(state.initial_row(), state.batch_axis)
    (outputs,) = graph.run([manifest.outputs[0].name], {manifest.inputs[0].name: sequence[None], state.input: initial})
    answer: np.ndarray[Any, Any] = np.asarray(outputs)[0]
    return answer
