from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.version_files import check_files
from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import fetching
from ostinato.service.fetching.fetching import fetch_all
from ostinato.service.fetching.sources import read_source
from tests.networks import relist
from tests.service.fetching.conftest import packed, tree_of, write_version


def bring(text: str | Path, repository: Path, checksum: str = "") -> list[str]:
    return [str(each) for each in fetch_all([read_source(str(text), checksum)], repository)]


@pytest.mark.parametrize("below", ["", "sums", "sums/1"])
def test_a_folder_is_a_repository_a_model_or_a_version(below: str, origin: Path, repository: Path) -> None:
    source = str(origin / below)
    assert bring(source, repository) == [f"sums/1: fetched, from {source}"]
    assert tree_of(repository) == tree_of(origin)
    assert bring(source, repository) == [f"sums/1: was there already, from {source}"]
    assert [path.name for path in repository.iterdir()] == ["sums"], "nothing is left"


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar", ".zip"])
def test_an_archive_is_unpacked(ending: str, origin: Path, repository: Path, tmp_path: Path) -> None:
    write_version(origin, "2")
    archive = packed(origin, tmp_path / f"models{ending}")
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert bring(archive, repository, checksum) == [f"sums/{n}: fetched, from {archive}" for n in (1, 2)]
    assert tree_of(repository) == tree_of(origin)
    with pytest.raises(FetchFailed, match=r"its SHA-256 is \w+ and not 0{64}; it was changed, or cut short"):
        bring(archive, repository, "0" * 64)


def test_a_checksum_holds_a_version_s_manifest(origin: Path, repository: Path) -> None:
    checksum = hashlib.sha256((origin / "sums" / "1" / "model.json").read_bytes()).hexdigest()
    with pytest.raises(FetchFailed, match=r"model\.json: its SHA-256 is"):
        bring(origin, repository, "0" * 64)
    assert tree_of(repository) == {}
    assert bring(origin, repository, checksum)
    write_version(origin, "2")
    with pytest.raises(FetchFailed, match="a checksum is of one version, and there are 2"):
        bring(origin, repository, checksum)


def test_what_nobody_lists_stays_where_it_is(origin: Path, repository: Path) -> None:
    before = tree_of(origin)
    (origin / "sums" / "1" / "notes.txt").write_text("of the author")
    (origin / "sums" / ".hidden").mkdir()
    (origin / "sums" / ".hidden" / "model.json").write_text("{}")
    bring(origin, repository)
    assert tree_of(repository) == before


def test_golden_answers_that_an_older_manifest_does_not_list_come_along(origin: Path, repository: Path) -> None:
    path = origin / "sums" / "1" / "model.json"
    manifest = json.loads(path.read_text())
    del manifest["provenance"]["files"]
    path.write_text(json.dumps(manifest))
    bring(origin, repository)
    assert tree_of(repository) == tree_of(origin)
    (origin / "sums" / "1" / "golden.safetensors").unlink()
    bring(origin, other := repository.parent / "other")
    assert tree_of(other) == tree_of(origin)


def damage(version: Path, how: str) -> None:
    graph, manifest = version / "model.onnx", version / "model.json"
    if how == "changed":
        graph.write_bytes(b"x" + graph.read_bytes()[1:])
    elif how == "absent":
        graph.unlink()
    elif how == "pipe":
        graph.unlink()
        os.mkfifo(graph)
    elif how == "no manifest":
        manifest.write_text("{")
    elif how == "outside":
        said = json.loads(manifest.read_text())
        said["provenance"]["files"][".."] = "0" * 64
        manifest.write_text(json.dumps(said))
    elif how == "no model":
        manifest.unlink()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("changed", r"model\.onnx: its SHA-256 is"),
        ("absent", r"there is no model\.onnx"),
        ("pipe", r"model\.onnx: it is a pipe, and no file"),
        ("no manifest", r"model\.json: "),
        ("outside", r"model\.json: it lists '\.\.', which is no name of a file"),
        ("no model", r"there is no model\.json in it; 'ostinato export' makes a version"),
    ],
)
def test_what_is_not_whole_is_refused_and_leaves_nothing(
    how: str, sentence: str, origin: Path, repository: Path
) -> None:
    damage(origin / "sums" / "1", how)
    with pytest.raises(FetchFailed, match=sentence):
        bring(origin, repository)
    assert list(repository.iterdir()) == []


def test_a_version_that_is_there_and_differs_is_refused(origin: Path, repository: Path) -> None:
    write_version(repository, description="another")
    before = tree_of(repository)
    with pytest.raises(FetchFailed, match="sums/1 is in the repository, and is another; a version does not change"):
        bring(origin, repository)
    assert tree_of(repository) == before


def test_a_version_that_is_there_and_is_damaged_is_refused(origin: Path, repository: Path) -> None:
    bring(origin, repository)
    graph = repository / "sums" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(FetchFailed, match=r"sums/1 is in the repository, and is damaged: .*; remove it first"):
        bring(origin, repository)


def test_one_that_another_has_put_there_meanwhile_is_compared(
    origin: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_be_late(manifest: Manifest, directory: Path) -> list[str]:
        if not (repository / "sums").exists():
            write_version(repository)
        return check_files(manifest, directory)

    monkeypatch.setattr(fetching, "check_files", check_and_be_late)
    assert bring(origin, repository) == [f"sums/1: was there already, from {origin}"]


def test_too_much_is_refused(origin: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 100)
    with pytest.raises(FetchFailed, match="it has more than 100 bytes"):
        bring(origin, repository)
    monkeypatch.setattr("ostinato.service.fetching.tree.MAX_FILES", 2)
    with pytest.raises(FetchFailed, match="it has more than 2 files; name the folder of the models themselves"):
        bring(origin, repository)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("/nowhere", "/nowhere: there is no such folder"),
        ("/proc/version", "/proc/version: it is no folder, and no archive by its name"),
        ("bentoml:nowhere:1", "bentoml:nowhere:1: BentoML's store has no such model"),
        ("quux://a/b", "quux://a/b: Protocol not known: quux"),
    ],
)
def test_where_there_is_nothing_a_sentence_says_so(source: str, sentence: str, repository: Path) -> None:
    with pytest.raises(FetchFailed, match=sentence):
        bring(source, repository)


def test_a_repository_that_cannot_be_one_is_refused(origin: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="it is a version itself, and no repository"):
        bring(origin, origin / "sums" / "1")
    (tmp_path / "file").touch()
    with pytest.raises(FetchFailed, match="name a folder with room that may be written to"):
        bring(origin, tmp_path / "file" / "repository")


def test_a_report_hears_of_every_byte(origin: Path, repository: Path) -> None:
    told: list[tuple[str, int]] = []
    source = read_source(str(origin))
    list(fetch_all([source], repository, lambda shown, num_bytes: told.append((shown, num_bytes))))
    assert sum(num_bytes for _, num_bytes in told) == sum(map(len, tree_of(origin).values()))
    assert f"{origin}: sums/1/model.onnx" in {shown for shown, _ in told}


def test_what_the_checks_at_load_would_refuse_is_refused(origin: Path, repository: Path) -> None:
    version = origin / "sums" / "1"
    (version / "model.onnx").write_bytes(b"")
    relist(version)
    with pytest.raises(FetchFailed, match=r"sums/1: model\.onnx: the file is empty"):
        bring(origin, repository)
