from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ostinato.cli import app
from ostinato.commands import import_onnx
from ostinato.commands.import_onnx import show_found
from ostinato.errors import CommandError
from ostinato.export.importing.found import FileSummary, FoundTensor
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
    for word in ("state", "h -> next_h", "Import it so?"):
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


def test_a_model_of_triton_s_that_kills_its_fork_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a_killer", "sums"):
        put(tmp_path / "models", sequence(f"{START} {STATE % ''}"), name=name)

    def fork(file: Path, _repository: Path) -> None:
        if "a_killer" in str(file):
            raise CommandError(f"{file}: the process that ran it was killed")

    monkeypatch.setattr(import_onnx, "fork_under_limits", fork)
    options = ["--triton", str(tmp_path / "models"), "--repository", str(tmp_path / "repository"), "--yes"]
    made = CliRunner().invoke(app, ["import", *options])
    assert made.exit_code == 1
    assert "not imported:" in made.output
    assert [path.name for path in (tmp_path / "repository").iterdir() if path.is_dir()] == ["sums"]


def shown(found: FileSummary) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    show_found(console, found)
    return console.export_text()


def test_names_stay_whole_in_80_columns_and_a_state_has_one_line() -> None:
    name = "StatefulPartitionedCall/model/lstm_1/state:0"
    tensors = (
        FoundTensor("x", "input", "float32 [N, 16, 3]", "x", "[B, T, 3]"),
        FoundTensor(name, "state", "float32 [N, 4]", "state", "[B, 4]"),
        FoundTensor("after:1", "next state", "float32 [N, 4]", "after", "[B, 4]"),
    )
    text = shown(FileSummary("file.onnx", "recurrent", tensors, ((name, "after:1", "their names"),)))
    assert name in text
    assert text.count("after:1") == 1
    assert ("16" in text, "[N, 4]" in text) == (True, False)
    assert all(len(line) <= 80 for line in text.splitlines())


def test_dozens_of_states_of_one_kind_are_told_together() -> None:
    names = [(f"cached_{place}", f"new_cached_{place}") for place in range(30)]
    tensors = [FoundTensor(given, "state", "float32 [N, 4]", given, "[B, 4]") for given, _ in names]
    pairs = tuple((given, made, "their names") for given, made in names)
    text = shown(FileSummary("file.onnx", "recurrent", tuple(tensors), pairs))
    assert ("30 states" in text, "cached_0 ... cached_29" in text, "cached_7" in text) == (True, True, False)
