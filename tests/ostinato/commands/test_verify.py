from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ostinato.export.exporter import export_module
from tests.export.test_streaming_decoder import LOADS, Streamer
from tests.export.writers import small_proofs
from tests.generation_networks import export_letter_model
from tests.networks import relist
from tests.ostinato.conftest import RunCommand
from tests.service.far_arrays import far_library

CMUDICT = Path(__file__).parents[3] / "examples" / "cmudict" / "repository"


@pytest.fixture
def repository(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models, tmp_path / "repository"))


def test_sound_models_pass(repository: Path, run_command: RunCommand) -> None:
    result = run_command("verify", repository)
    assert result.exit_code == 0
    assert "loads" in result.output
    assert "gusts" in result.output
    assert result.output.count("ok") == 2
    assert result.output.count("yes") == 2  # both are independent of what shares their batch


def test_a_device_has_its_own_checks_behind_those_of_the_cpu(
    repository: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTINATO_DEVICE", "cpu")  # a flag goes before it
    monkeypatch.setenv("OSTINATO_DEVICE_ROWS", "16")
    with far_library():
        result = run_command("verify", repository, "--device", "cuda")
    assert result.exit_code == 0, result.output
    assert result.output.count("no: runs fixed at 16 x 1") == 2


def test_a_damaged_model_fails_with_its_file_and_the_others_are_still_checked(
    repository: Path, run_command: RunCommand
) -> None:
    graph = repository / "gusts" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    result = run_command("verify", repository)
    assert result.exit_code == 1
    assert result.output.count("ok") == 1
    assert f"gusts/1 failed: {graph}: its SHA-256 is not the manifest's" in result.output


def test_golden_answers_of_another_network_fail(repository: Path, run_command: RunCommand) -> None:
    golden = repository / "gusts" / "1" / "golden.safetensors"
    shutil.copy(repository / "loads" / "1" / "golden.safetensors", golden)
    result = run_command("verify", repository / "gusts" / "1")
    assert result.exit_code == 1
    assert str(golden) in result.output


@pytest.mark.parametrize("place", ["loads", "loads/1"])
def test_a_model_or_a_version_may_be_named(place: str, repository: Path, run_command: RunCommand) -> None:
    result = run_command("verify", repository / place)
    assert result.exit_code == 0
    assert "gusts" not in result.output


def test_a_version_s_own_folder_may_be_the_current_one(
    repository: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "loads" / "1")
    assert run_command("verify", ".").exit_code == 0


def test_an_empty_folder_is_refused(tmp_path: Path, run_command: RunCommand) -> None:
    result = run_command("verify", tmp_path)
    assert result.exit_code == 1
    assert "there is no <model>/<version> in it" in result.stderr


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-decoder, a generator and a recurrent model with a decoder."""
    repository: Path = tmp_path_factory.mktemp("writers")
    shutil.copytree(CMUDICT, repository, dirs_exist_ok=True)
    with small_proofs():
        export_letter_model(repository)
        export_module(Streamer(), LOADS, repository, name="streamer", output_features=("load",))
    return repository


def test_what_writes_is_checked_by_all_of_its_graphs(writers: Path, run_command: RunCommand) -> None:
    result = run_command("verify", writers)
    assert result.exit_code == 0
    rows = {
        cells[0]: cells[2]
        for line in result.output.splitlines()
        if len(cells := [c.strip() for c in line.split("│")[1:]]) > 5
    }
    assert rows == {"g2p": "encode, decode", "letters": "decode", "streamer": "step, decode"}
    assert result.output.count("yes") == result.output.count("ok") == 3


@pytest.mark.parametrize(("model", "tensor"), [("g2p", "short/scores"), ("letters", "first/scores")])
def test_a_decoder_that_answers_otherwise_fails(
    writers: Path, run_command: RunCommand, tmp_path: Path, model: str, tensor: str
) -> None:
    directory = Path(shutil.copytree(writers / model / "1", tmp_path / model / "1"))
    golden = load_file(directory / "golden.safetensors")
    save_file({**golden, tensor: golden[tensor] + np.float32(0.01)}, directory / "golden.safetensors")
    relist(directory)
    result = run_command("verify", tmp_path)
    assert result.exit_code == 1
    assert (
        f"{model}/1 failed: golden.safetensors: {tensor.partition('/')[0]}[0]: the graphs are off by" in result.output
    )
