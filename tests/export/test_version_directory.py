from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ostinato.export.errors import ExportError
from ostinato.export.version_directory import describe_graph, library_versions, new_version, valid_manifest


def test_all_of_a_version_appears_at_once(tmp_path: Path) -> None:
    repository = tmp_path / "deep" / "repository"
    with new_version(repository, "speller", "1", force=False) as built:
        (built / "model.json").write_text("{}")
        assert not (repository / "speller").exists()
    assert [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()] == [
        "speller/1/model.json"
    ]
    # Others may read it: who serves is not who exported.
    assert (repository / "speller" / "1").stat().st_mode & 0o777 == 0o755
    assert (repository / "speller" / "1" / "model.json").stat().st_mode & 0o777 == 0o644


def test_nothing_stays_of_a_version_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with new_version(tmp_path, "speller", "1", force=False) as built:
            (built / "model.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_replaced_by_force_alone(tmp_path: Path) -> None:
    for content, force in (("old", False), ("new", True)):
        with new_version(tmp_path, "speller", "1", force=force) as built:
            (built / content).write_text(content)
    assert [path.name for path in (tmp_path / "speller" / "1").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["speller"]
    with pytest.raises(ExportError, match=r"speller/1 exists already: choose another version"):
        new_version(tmp_path, "speller", "1", force=False).__enter__()


@pytest.mark.parametrize(("name", "version"), [("../speller", "1"), ("", "1"), ("speller", "a/b"), ("speller", ".")])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(ExportError, match="use 1 to 128 of"):
        new_version(tmp_path, name, version, force=False).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_torch_has_one_thread_meanwhile(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with new_version(tmp_path, "speller", "1", force=False):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_manifest_that_would_not_be_valid_is_refused_with_the_place() -> None:
    with pytest.raises(ExportError, match=r"the manifest of 'speller' would not be valid: .*a generator has one graph"):
        valid_manifest(name="speller", version="1", task="generator", graphs={})


def test_graphs_are_named_by_their_content_and_libraries_by_their_versions(tmp_path: Path) -> None:
    (tmp_path / "encode.onnx").write_bytes(b"graph")
    described = describe_graph(tmp_path / "encode.onnx")
    assert (described.file, described.sha256) == ("encode.onnx", hashlib.sha256(b"graph").hexdigest())
    assert library_versions()["torch"] == torch.__version__
