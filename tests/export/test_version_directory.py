from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ostinato.export.errors import ExportError
from ostinato.export.proofs.proof import Measured, Proof
from ostinato.export.version_directory import new_version
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.manifest import Manifest, Parity
from ostinato.service.artifact.tensors import Input, Output, State


def test_all_of_a_version_appears_at_once(tmp_path: Path) -> None:
    repository = tmp_path / "deep" / "repository"
    with new_version(repository, "speller", "1", force=False) as new:
        (new.folder / "model.json").write_text("{}")
        assert not (repository / "speller").exists()
    assert [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()] == [
        "speller/1/model.json"
    ]
    # Others may read it: who serves is not who exported.
    assert (repository / "speller" / "1").stat().st_mode & 0o777 == 0o755
    assert (repository / "speller" / "1" / "model.json").stat().st_mode & 0o777 == 0o644


def test_nothing_stays_of_a_version_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with new_version(tmp_path, "speller", "1", force=False) as new:
            (new.folder / "model.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_replaced_by_force_alone(tmp_path: Path) -> None:
    for content, force in (("old", False), ("new", True)):
        with new_version(tmp_path, "speller", "1", force=force) as new:
            (new.folder / content).write_text(content)
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


PROOF = Proof(
    (Measured("whole", "B 1", 1e-7, bit_identical=True),),
    Parity(max_difference=1e-7, tolerance=1e-5, batch_sizes=(1,), lengths=(), num_chunkings=0),
)
CODES = Input(name="previous", dtype="int64", shape=("B",), features=("code",), num_codes=2)
DECODER = Decoder(
    previous=CODES,
    start=0,
    output=Output(name="scores", dtype="float32", shape=("B", 2), features=("a", "b")),
    states=(State(name="h", input="h", output="h_next", dtype="float32", shape=("B", 3)),),
)


def test_a_manifest_that_would_not_be_valid_is_refused_with_the_place_and_nothing_stays(tmp_path: Path) -> None:
    def fail() -> None:
        with new_version(tmp_path, "speller", "1", force=False) as new:
            new.finish(PROOF, {}, {}, task="generator")

    with pytest.raises(ExportError, match=r"the manifest of 'speller' would not be valid: .*a generator has one graph"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_version_has_graphs_manifest_golden_answers_and_proof(tmp_path: Path) -> None:
    golden = {"first/previous": np.zeros((1, 1), np.int64)}
    with new_version(tmp_path, "speller", "2", force=False) as new:
        (new.folder / "decode.onnx").write_bytes(b"graph")
        given = {"licence": "CC0"}
        exported = new.finish(PROOF, golden, {"decode": "decode.onnx"}, given, task="generator", decoder=DECODER)
    assert exported.directory == tmp_path / "speller" / "2"
    assert {file.name for file in exported.directory.iterdir()} == {"decode.onnx", "model.json", "golden.safetensors"}
    manifest = Manifest.read(exported.directory)
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version, manifest.parity) == ("speller", "2", PROOF.parity)
    assert manifest.graphs["decode"].sha256 == hashlib.sha256(b"graph").hexdigest()
    assert manifest.provenance["licence"] == "CC0"
    assert manifest.provenance["libraries"]["torch"] == torch.__version__
    assert manifest.batch_invariant
    assert load_file(exported.directory / "golden.safetensors").keys() == golden.keys()
