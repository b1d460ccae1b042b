from __future__ import annotations

import json
import math
import pkgutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from typer.testing import CliRunner

from ostinato.commands.export import export
from ostinato.export import runs
from ostinato.export.errors import ExportError
from ostinato.export.runs.registry import export_run
from ostinato.export.version_directory import Exported
from ostinato.models.errors import RunError
from ostinato.models.kinds.forecaster import load_run
from ostinato.models.kinds.registry import kind_names
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import TableTimes
from ostinato.tables.cells import MISSING_WORDS
from tests.training import train_run

RECIPE = """
name = "wave"
description = "A wave, one hour ahead"
[data]
file = "wave.csv"
source = "made for this test"
licence = "CC0"
target = "level"
features = ["wind", "level"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
[network]
cell = "lstm"
hidden_size = 5
num_layers = 2
[training]
num_streams = 4
window_steps = 12
max_epochs = 3
"""


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wave")
    rows = []
    for hour in range(400):
        level, wind = 10 + 5 * math.sin(hour / 2), "NE" if hour % 3 else "SW"
        rows.append(f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{level:.4f},{wind}")
    (folder / "wave.csv").write_text("\n".join(["time,level,wind", *rows]), encoding="utf-8")
    (folder / "wave.toml").write_text(RECIPE, encoding="utf-8")
    directory, _ = train_run(folder / "wave.toml", folder / "run")
    return directory


@pytest.fixture(scope="module")
def exported(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_run(run_directory, tmp_path_factory.mktemp("repository"))


def test_the_forecast_feeds_back_into_the_target(exported: Exported) -> None:
    manifest = Manifest.read(exported.directory)
    assert manifest.inputs[0].features == ("wind", "level")
    assert manifest.outputs[0].features == ("level",)
    assert manifest.feedback == {"level": "level"}


def test_a_row_may_have_holes_and_words_have_codes(exported: Exported) -> None:
    inputs = exported.manifest.inputs[0]
    assert inputs.missing
    assert inputs.categories == {"wind": ("NE", "SW")}
    assert inputs.missing_words == MISSING_WORDS
    assert inputs.times == TableTimes(columns=("time",), step="1 hour", gaps="fill")
    assert inputs.statistics is not None
    assert inputs.statistics.mean[1] == pytest.approx(10, abs=0.5)
    assert [state.name for state in exported.manifest.states] == ["last_seen", "h", "c"]


def test_the_manifest_says_where_the_model_comes_from_and_how_good_it_is(exported: Exported) -> None:
    provenance = exported.manifest.provenance
    assert provenance["licence"] == "CC0"
    assert provenance["data"]["source"] == "made for this test"
    assert provenance["metrics"]["num_scored_steps"] > 0
    assert provenance["metrics"]["first_time"].startswith("2024-01-14")
    assert {"mae", "persistence_mae", "seasonal_naive_mae"} <= set(provenance["metrics"])


def test_the_graph_is_near_the_network_and_independent_of_batch_and_chunks(exported: Exported) -> None:
    assert exported.proof.parity.max_difference <= 1e-5
    assert exported.proof.batch_invariant


def test_a_stream_with_holes_is_filled_across_chunks_as_the_network_fills_it(
    exported: Exported, run_directory: Path
) -> None:
    session = onnxruntime.InferenceSession(exported.directory / "model.onnx")
    nan = float("nan")
    x = np.array([[[0, 12], [nan, nan], [1, nan], [nan, nan], [0, 9]]], np.float32)
    states = {state.input: state.initial_row() for state in exported.manifest.states}
    feeds = {name: np.expand_dims(row, 0 if name == "last_seen" else 1) for name, row in states.items()}
    answers = []
    for step in range(5):
        y, *after = session.run(None, {"inputs": x[:, step : step + 1], **feeds})
        feeds = dict(zip(feeds, after, strict=True))
        answers.append(y[0, 0, 0])
    network = load_run(run_directory).network
    with torch.no_grad():
        wanted, *_ = network(torch.from_numpy(x), *network.initial_state(1))
    np.testing.assert_allclose(answers, wanted.flatten().numpy(), rtol=1e-5)
    assert feeds["last_seen"].tolist() == [[0.0, 9.0]]


@pytest.mark.parametrize("kind", ["translation", "registry", "../kinds/caption", 3, None, ["forecaster"]])
def test_a_run_of_a_kind_that_there_is_not_is_refused(kind: object, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"kind": kind}))
    with pytest.raises(ExportError, match=r"a run of kind .*; known are caption, forecaster, labels, "):
        export_run(tmp_path, tmp_path / "repository")


def test_each_kind_that_can_be_trained_can_be_exported() -> None:
    modules = {module.name for module in pkgutil.iter_modules(runs.__path__)} - {"registry"}
    assert modules == set(kind_names())


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run directory"):
        export_run(tmp_path, tmp_path / "repository")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(export)
    return app


@pytest.mark.usefixtures("quick")
def test_the_command_exports_a_run_and_shows_the_proof(app: typer.Typer, run_directory: Path, tmp_path: Path) -> None:
    arguments = [str(run_directory), "--repository", str(tmp_path), "--version", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert Manifest.read(tmp_path / "wave" / "2").name == "wave"
    for word in ("tolerance 1e-05", "to the bit", "last_seen"):
        assert word in result.output
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, ExportError)
    assert "exists already" in str(again.exception)
