from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ostinato.service.artifact.manifest import DataFile, Manifest
from ostinato.service.artifact.regular_files import sha256_of
from ostinato.service.artifact.version_files import check_files, describe_others, listed_files
from ostinato.service.catalogue.repository import read_manifest
from ostinato.service.errors import ModelRejected
from tests import networks

INPUTS = np.ones((2, 3, 3), np.float32)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version of which every file is listed, its weights in a file of their own."""
    directory = networks.lstm().write(tmp_path, INPUTS)
    graph = directory / "model.onnx"
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    manifest = Manifest.read(directory)
    step = manifest.graphs["step"]
    data = (DataFile(file="model.onnx.data", sha256=sha256_of(directory / "model.onnx.data")),)
    step = step.model_copy(update={"sha256": sha256_of(graph), "data": data})
    describe_others(manifest.model_copy(update={"graphs": {"step": step}}), directory).write(directory)
    return directory


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "golden.safetensors"])
def test_a_change_of_any_file_is_noticed(name: str, version: Path) -> None:
    assert check_files(Manifest.read(version), version) == []
    content = bytearray((version / name).read_bytes())
    content[-1] ^= 1
    (version / name).write_bytes(content)
    with pytest.raises(ModelRejected, match=rf"{name}: its SHA-256 is not the manifest's"):
        read_manifest(version)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "golden.safetensors"])
def test_what_is_no_file_is_not_waited_for(name: str, version: Path) -> None:
    (version / name).unlink()
    os.mkfifo(version / name)
    with pytest.raises(ModelRejected, match=rf"{name}: it is a pipe"):
        read_manifest(version)


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_a_manifest_that_is_no_file_is_not_read(kind: str, version: Path) -> None:
    path = version / "model.json"
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ModelRejected, match=rf"model.json: it is {kind}"):
        read_manifest(version)


def test_weights_that_the_manifest_does_not_list_are_refused(version: Path) -> None:
    manifest = Manifest.read(version)
    step = manifest.graphs["step"].model_copy(update={"data": ()})
    with pytest.raises(ModelRejected, match=re.escape("it reads 'model.onnx.data', of which the manifest has no")):
        check_files(manifest.model_copy(update={"graphs": {"step": step}}), version)


def test_what_an_older_manifest_does_not_list_is_told(version: Path) -> None:
    manifest = Manifest.read(version)
    (told,) = check_files(manifest.model_copy(update={"provenance": {}}), version)
    assert "no SHA-256 of golden.safetensors" in told


def test_a_file_that_nothing_lists_is_told(version: Path) -> None:
    (version / "notes.txt").write_text("mine")
    (told,) = check_files(Manifest.read(version), version)
    assert "does not list 'notes.txt', which nothing reads" in told


@pytest.mark.parametrize("listed", [[], {"golden.safetensors": "0"}, {"golden.safetensors": 1}])
def test_a_list_that_is_none_is_refused(listed: Any, version: Path) -> None:
    content = json.loads((version / "model.json").read_text())
    content["provenance"]["files"] = listed
    (version / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelRejected, match=r"provenance\.files"):
        read_manifest(version)


def test_an_empty_graph_is_refused(version: Path) -> None:
    (version / "model.onnx").write_bytes(b"")
    manifest = Manifest.read(version)
    step = manifest.graphs["step"].model_copy(update={"sha256": sha256_of(version / "model.onnx")})
    with pytest.raises(ModelRejected, match="the file is empty"):
        check_files(manifest.model_copy(update={"graphs": {"step": step}}), version)


NO_NAMES = [
    "",
    ".",
    "..",
    "a/b",
    "../a",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "\x9b",
    "\ud800",
    "x" * 256,
    "ü" * 128,
    "model.json",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_list_of_what_cannot_be_a_file_is_refused_in_words(name: str, version: Path) -> None:
    manifest = Manifest.read(version)
    files = {**manifest.provenance["files"], name: "0" * 64}
    manifest = manifest.model_copy(update={"provenance": {**manifest.provenance, "files": files}})
    for look in (check_files, listed_files):
        with pytest.raises(ModelRejected) as caught:
            look(manifest, version)
        told = str(caught.value)
        assert told.endswith(f"model.json: it lists {name[:80]!r}, which is no name of a file")
        assert told.isprintable()


def test_a_file_may_have_any_other_name(version: Path) -> None:
    for name in ("..a", "notes ü.txt", "x" * 255, "-", "a\\b", ".hidden"):
        (version / name).write_text("of the author")
    manifest = Manifest.read(version)
    described = describe_others(manifest, version)
    described.write(version)
    assert check_files(Manifest.read(version), version) == []
