from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.registry import TITLE, UNPACK
from tests.service.fetching.conftest import packed, tree_of, write_version
from tests.service.fetching.registry_server import Registry
from tests.service.fetching.test_fetching import bring
from tests.service.fetching.web_server import Reply, running_web

PACKED = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}


@pytest.mark.parametrize("below", ["", "sums/1"])
def test_an_artifact_of_files_is_a_source(below: str, origin: Path, repository: Path) -> None:
    registry = Registry()
    digest = registry.push_files("1", origin / below)
    with running_web(registry) as web:
        source = f"oci://{web.address}/team/sums:1"
        assert bring(source, repository) == [f"sums/1: fetched, from {source}"]
        assert bring(f"oci://{web.address}/team/sums@sha256:{digest}", repository)
        assert bring(source, repository, digest)
        with pytest.raises(FetchFailed, match=r"no such artifact"):
            bring(source, repository, "0" * 64)
    assert tree_of(repository) == tree_of(origin)


def test_the_tag_is_latest_where_none_is_named(origin: Path, repository: Path) -> None:
    registry = Registry()
    registry.push_files("latest", origin)
    with running_web(registry) as web:
        assert bring(f"oci://{web.address}/team/sums", repository)


@pytest.mark.parametrize("is_folder", [True, False])
def test_layers_that_are_packed_are_unpacked_the_later_above(
    is_folder: bool, origin: Path, repository: Path, tmp_path: Path
) -> None:
    """A folder that was pushed, and an image with models in it."""
    registry, layers = Registry(), list[dict[str, Any]]()
    write_version(tmp_path / "above" / "models", description="the later one")
    (tmp_path / "below").mkdir()
    origin.rename(tmp_path / "below" / "models")
    for name in ("below", "above"):
        content = packed(tmp_path / name, tmp_path / f"{name}.tar.gz").read_bytes()
        of_folder = {"annotations": {TITLE: name, UNPACK: "true"}}
        layers.append({**registry.add(content), **(of_folder if is_folder else PACKED)})
    digest = registry.push("image", layers)
    platform = {"os": "linux", "architecture": "arm64"}
    registry.put("1", {"manifests": [{"digest": f"sha256:{digest}", "platform": platform}]})
    with running_web(registry) as web:
        assert bring(f"oci://{web.address}/team/sums:1", repository)
    assert tree_of(repository) == tree_of(tmp_path / "above" / "models")


def test_a_blob_that_is_not_of_its_digest_is_refused(origin: Path, repository: Path) -> None:
    registry = Registry()
    registry.push_files("1", origin)
    for digest in registry.blobs:
        registry.blobs[digest] += b" "
    with running_web(registry) as web, pytest.raises(FetchFailed, match="its SHA-256 is"):
        bring(f"oci://{web.address}/team/sums:1", repository)
    assert list(repository.iterdir()) == []


def test_a_manifest_that_is_not_of_its_digest_is_refused(origin: Path, repository: Path) -> None:
    registry = Registry()
    digest = registry.push_files("1", origin)
    registry.tags[f"sha256:{digest}"] += b" "
    with running_web(registry) as web, pytest.raises(FetchFailed, match="its SHA-256 is"):
        bring(f"oci://{web.address}/team/sums@sha256:{digest}", repository)


@pytest.mark.parametrize(
    "document",
    [
        *([], {}, {"layers": 3}, {"layers": [{}]}, {"manifests": []}, {"manifests": [{"digest": 1}]}),
        {"layers": [{"digest": "sha256:../../../etc/passwd", "annotations": {TITLE: "model.json"}}]},
        {"layers": [{"digest": "md5:0", "annotations": {TITLE: "model.json"}}]},
    ],
)
def test_what_is_no_artifact_is_refused(document: object, repository: Path) -> None:
    registry = Registry()
    registry.put("1", document)
    with running_web(registry) as web, pytest.raises(FetchFailed, match="its manifest is none of an OCI artifact"):
        bring(f"oci://{web.address}/team/sums:1", repository)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("team/sums:none", "the registry has no such artifact"),
        ("team/SUMS", "write it as oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST"),
        ("../sums:1", "write it as oci://"),
        (f"team/sums@sha256:{'1' * 64}#{'0' * 64}", "its digest is not the checksum that is asked for"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(path: str, sentence: str, repository: Path) -> None:
    with running_web(Registry()) as web, pytest.raises(FetchFailed, match=sentence):
        bring(f"oci://{web.address}/{path}", repository)


def layer(registry: Registry, names: dict[str, bytes | None]) -> dict[str, Any]:
    """A layer of files; None is a link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content or b"")
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "elsewhere"
            file.addfile(entry, io.BytesIO(content or b""))
    return {**registry.add(made.getvalue()), **PACKED}


@pytest.mark.parametrize(
    ("above", "left"),
    [
        ({}, ["1", "2"]),
        ({"m/1/.wh.model.json": b""}, ["2"]),
        ({"m/.wh.1": b""}, ["2"]),
        ({".wh.m": b""}, []),
        ({"m/1/.wh..wh..opq": b""}, ["2"]),
        ({"./m/.wh..wh..opq": b""}, []),
        ({".wh..wh..opq": b""}, []),
        ({"m/1/model.json": None}, ["2"]),
        ({"m/1": None}, ["2"]),
        ({"m/1": b"a file in the place of a folder"}, ["2"]),
        ({"m/.wh.none": b"", "n/.wh..wh..opq": b"", "m/1/.wh.model": b""}, ["1", "2"]),
    ],
)
def test_what_a_later_layer_takes_away_is_not_fetched(
    above: dict[str, bytes | None], left: list[str], repository: Path, tmp_path: Path
) -> None:
    registry, below = Registry(), dict[str, bytes | None]()
    for version in ("1", "2"):
        write_version(tmp_path / "origin", version)
        for name, content in tree_of(tmp_path / "origin" / "sums" / version).items():
            below[f"m/{version}/{name}"] = content
    registry.push("1", [layer(registry, below), layer(registry, above)])
    with running_web(registry) as web:
        source = f"oci://{web.address}/team/sums:1"
        if left:
            assert bring(source, repository) == [f"sums/{version}: fetched, from {source}" for version in left]
        else:
            with pytest.raises(FetchFailed, match=r"there is no model\.json"):
                bring(source, repository)


def test_a_layer_takes_nothing_of_its_own_away_and_the_next_may_bring_it_again(origin: Path, repository: Path) -> None:
    registry = Registry()
    below: dict[str, bytes | None] = {f"m/{name}": content for name, content in tree_of(origin / "sums" / "1").items()}
    whiteouts: dict[str, bytes | None] = {"m/.wh..wh..opq": b"", "m/.wh.model.json": b""}
    registry.push("own", [layer(registry, {**below, **whiteouts})])
    registry.push("again", [layer(registry, below), layer(registry, whiteouts), layer(registry, below)])
    with running_web(registry) as web:
        for tag in ("own", "again"):
            assert bring(f"oci://{web.address}/team/sums:{tag}", repository / tag)
            assert tree_of(repository / tag) == tree_of(origin)


@pytest.mark.parametrize("document", [b"[" * 100_000, b'{"a":' * 100_000, b'{"layers":' + b"9" * 5000 + b"}", b"\0"])
def test_a_manifest_that_no_reader_stands_is_refused(document: bytes, repository: Path) -> None:
    registry = Registry()
    registry.tags["1"] = document
    with running_web(registry) as web, pytest.raises(FetchFailed, match="its manifest is none of an OCI artifact"):
        bring(f"oci://{web.address}/team/sums:1", repository)


def test_a_layer_that_is_packed_otherwise_is_named(repository: Path) -> None:
    registry = Registry()
    registry.push("1", [{**registry.add(b""), "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"}])
    with running_web(registry) as web, pytest.raises(FetchFailed, match="a layer that is packed by zstd; pack it by"):
        bring(f"oci://{web.address}/team/sums:1", repository)


def test_a_registry_that_fails_for_a_while_is_asked_again(origin: Path, repository: Path) -> None:
    registry, failed = Registry(), set[str]()
    registry.push_files("1", origin)

    def answer(path: str, headers: dict[str, str]) -> Reply:
        if path not in failed:
            failed.add(path)
            return Reply(503)
        return registry(path, headers)

    with running_web(answer) as web:
        assert bring(f"oci://{web.address}/team/sums:1", repository)
    assert tree_of(repository) == tree_of(origin)
