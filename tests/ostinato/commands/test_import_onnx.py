from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ostinato.cli import app
from ostinato.service.artifact.manifest import Manifest
from tests.export.importing.test_frames import step_cell
from tests.export.writers import small_proofs
from tests.foreign.triton import START, STATE, put, sequence


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with small_proofs():
        yield


def run(folder: Path, *options: str, typed: str = "") -> Result:
    path = folder / "policy.onnx"
    path.write_bytes(step_cell().model("else").SerializeToString())
    return CliRunner().invoke(
        app, ["import", str(path), "--repository", str(folder / "repository"), *options], input=typed
    )


def test_with_yes_a_file_becomes_a_version_without_a_question(tmp_path: Path) -> None:
    made = run(tmp_path, "--yes", "--version", "7", "--features", "a,b,c")
    assert made.exit_code == 0, made.output
    assert "Import it so?" not in made.output
    manifest = Manifest.read(tmp_path / "repository" / "policy" / "7")
    assert manifest.inputs[0].features == ("a", "b", "c")
    assert "to the bit" in made.output


@pytest.mark.parametrize(("typed", "is_written"), [("y\n", True), ("n\n", False), ("", False)])
def test_without_it_what_was_found_is_shown_and_a_question_asked(typed: str, is_written: bool, tmp_path: Path) -> None:
    made = run(tmp_path, typed=typed)
    assert (made.exit_code == 0) == is_written
    for word in ("next state", "next_h", "Import it so?"):
        assert word in made.output
    assert (tmp_path / "repository" / "policy" / "1").exists() == is_written


@pytest.mark.parametrize(
    "options",
    [
        ("--state", "h"),
        ("--constant", "sr=wide"),
        ("--axes", "x=B,Q"),
        ("--framing", "512"),
        ("--state", "h=a", "--state", "h=b"),
    ],
)
def test_an_option_of_another_form_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    made = run(tmp_path, "--yes", *options)
    assert made.exit_code == 2
    assert options[0] in made.output
    assert not (tmp_path / "repository").exists()


def of_triton(folder: Path, *options: str) -> Result:
    repository = str(folder / "repository")
    return CliRunner().invoke(app, ["import", "--triton", str(folder / "models"), "--repository", repository, *options])


def test_models_of_triton_that_cannot_be_imported_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    put(tmp_path / "models", 'backend: "python"', name="first")
    put(tmp_path / "models", sequence(START + STATE % ""), version="3")
    made = of_triton(tmp_path, "--yes")
    assert made.exit_code == 0, made.output
    for word in ("not imported:", "'python'", "START (START) is true in a session's first run"):
        assert word in made.output
    assert [str(path.relative_to(tmp_path / "repository")) for path in tmp_path.glob("repository/*/*")] == ["sums/3"]


@pytest.mark.parametrize("backend", ["python", "ensemble"])
def test_a_repository_of_which_nothing_is_imported_fails(backend: str, tmp_path: Path) -> None:
    put(tmp_path / "models", f'backend: "{backend}"')
    assert of_triton(tmp_path, "--yes").exit_code == 1


def test_triton_s_files_say_what_other_options_would(tmp_path: Path) -> None:
    put(tmp_path / "models", sequence(START + STATE % ""))
    made = of_triton(tmp_path, "--state", "a=b")
    assert made.exit_code == 2
    assert "--state is not for" in made.output
    assert CliRunner().invoke(app, ["import"]).exit_code == 2
