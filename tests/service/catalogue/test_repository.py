from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.catalogue.repository import (
    digest_of,
    find_versions,
    is_complete,
    mark_of,
    place_of,
    read_manifest,
    why_other,
)
from ostinato.service.errors import ModelRejected
from tests import networks
from tests.service.fetching.conftest import write_version


def test_versions_are_found_and_hidden_folders_are_not(tmp_path: Path) -> None:
    for name in ("b/1", "a/2", "a/.tmp", ".git/objects"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "notes.txt").touch()
    assert find_versions(tmp_path) == [tmp_path / "a/2", tmp_path / "b/1"]
    with pytest.raises(ModelRejected, match="there is no such folder"):
        find_versions(tmp_path / "absent")


def test_a_folder_whose_name_is_no_text_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    for name in (os.fsdecode(b"a/\xff"), os.fsdecode(b"\xfe/1")):
        (tmp_path / name).mkdir(parents=True)
    for _ in range(3):
        assert find_versions(tmp_path) == [tmp_path / "a/1"]
    assert [record.getMessage() for record in caplog.records] == [
        r"'a'/'\udcff' is no version: the name of its folder is not UTF-8",
        r"'\udcfe'/'1' is no version: the name of its folder is not UTF-8",
    ]


def test_a_repository_that_cannot_be_looked_at_is_told_as_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_dir(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", is_dir)
    with pytest.raises(ModelRejected, match="Permission denied"):
        find_versions(tmp_path)


def test_a_link_to_nothing_hides_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    marks = {mark_of(tmp_path)}
    (tmp_path / "nowhere").touch()
    marks.add(mark_of(tmp_path))
    assert None not in marks
    assert len(marks) == 2
    assert mark_of(tmp_path / "absent") is None


def test_other_files_under_the_same_name_are_told(tmp_path: Path) -> None:
    inputs = np.ones((2, 3, 3), np.float32)
    directory = networks.lstm(seed=1).named("m", "1").write(tmp_path, inputs)
    digest = digest_of(directory)
    assert why_other(directory, digest) == ""
    shutil.rmtree(directory)
    networks.lstm(seed=2).named("m", "1").write(tmp_path, inputs)
    assert is_complete(directory)
    assert "model.json: it is another" in why_other(directory, digest)
    (directory / "model.onnx").write_bytes(b"no graph")
    assert "SHA-256" in why_other(directory, digest)


def test_a_folder_of_one_model_is_a_repository(tmp_path: Path) -> None:
    version = write_version(tmp_path / "origin", "3")
    assert find_versions(version) == [version]
    assert place_of(version, version) == ("sums", "3")
    assert read_manifest(version, version).version == "3"
    model = version.parent
    (model / "lost+found").mkdir()
    version.rename(model / "any")
    assert find_versions(model) == [model / "any"]
    assert place_of(model / "any", model) == ("sums", "3")
    with pytest.raises(ModelRejected, match=r"it is of sums/3, and lies in sums/any"):
        read_manifest(model / "any", tmp_path / "origin")


def test_folders_decide_where_a_manifest_lies_in_another_place_too(tmp_path: Path) -> None:
    version = write_version(tmp_path)
    for stray in (tmp_path, tmp_path / "sums"):
        shutil.copy(version / "model.json", stray)
    assert find_versions(tmp_path) == [version]
    assert place_of(version, tmp_path) == ("sums", "1")


def test_of_two_folders_of_one_version_the_first_is_it(tmp_path: Path) -> None:
    version = write_version(tmp_path)
    shutil.copytree(version, version.with_name("copy"))
    first, second = find_versions(version.parent)
    assert read_manifest(first, version.parent).version == "1"
    with pytest.raises(ModelRejected, match=rf"{second}/model.json: it is of sums/1, as is {first}"):
        read_manifest(second, version.parent)


@pytest.mark.parametrize("content", ["", "{}", '{"name": "../x", "version": "1"}', "[]"])
def test_a_manifest_that_says_no_names_leaves_those_of_the_folders(content: str, tmp_path: Path) -> None:
    mount = tmp_path / "mnt" / "models"
    mount.mkdir(parents=True)
    (mount / "model.json").write_text(content)
    assert find_versions(mount) == [mount]
    assert place_of(mount, mount) == ("mnt", "models")
