from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ostinato.conftest import RunCommand


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
