"""Files of a version's directory, each with its SHA-256 in the manifest.

Graphs and their weights have it in ``graphs``; all others in ``provenance.files``, since an older release, which
refuses keys that it does not know, takes any there.
"""

from __future__ import annotations

import mmap
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ostinato.service.artifact.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest
from ostinato.service.artifact.regular_files import open_regular, sha256_of
from ostinato.service.artifact.wire import BrokenWire, external_files
from ostinato.service.errors import ModelRejected

FILES = "files"
MAX_NAME_BYTES = 255
"""As file systems have it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def describe_others(manifest: Manifest, directory: Path) -> Manifest:
    """The manifest with the SHA-256 of each file of the directory that it does not list as a graph's."""
    graphs = _of_graphs(manifest)
    names = sorted(path.name for path in directory.iterdir() if path.name not in {*graphs, MANIFEST_FILE})
    sums = {name: sha256_of(directory / name) for name in names}
    return manifest.model_copy(update={"provenance": {**manifest.provenance, FILES: sums}})


def check_files(manifest: Manifest, directory: Path) -> list[str]:
    """That each file is the one that the manifest lists.

    Returns:
        what cannot be told, in sentences: of files that it does not list.

    Raises:
        ModelRejected: one is absent, damaged, or no regular file; or a graph reads one that is not listed.
    """
    others = _of_others(manifest, directory)
    graphs = _of_graphs(manifest)
    _check_names((*graphs, *(others or {})), directory)
    for name, sha256 in (*graphs.items(), *(others or {}).items()):
        _check_file(directory / name, sha256)
    for graph in manifest.graphs.values():
        unlisted = set(_read_by(directory / graph.file)) - {part.file for part in graph.data}
        if unlisted:
            raise ModelRejected(
                f"{directory / graph.file}: it reads {min(unlisted)!r}, of which the manifest has no SHA-256"
            )
    return _warnings(directory, {*graphs, *(others or {})}, is_old=others is None)


def listed_files(manifest: Manifest, directory: Path) -> dict[str, str]:
    """The files that a manifest lists, which need not be there yet, with their SHA-256.

    Raises:
        ModelRejected: the list is none, or names what cannot be a file of the directory.
    """
    listed = {**_of_graphs(manifest), **(_of_others(manifest, directory) or {})}
    _check_names(listed, directory)
    return listed


def _of_graphs(manifest: Manifest) -> dict[str, str]:
    return {part.file: part.sha256 for graph in manifest.graphs.values() for part in (graph, *graph.data)}


def _check_names(names: Iterable[str], directory: Path) -> None:
    for name in names:
        if not _is_name(name):
            raise ModelRejected(f"{directory / MANIFEST_FILE}: it lists {name[:80]!r}, which is no name of a file")


def _is_name(name: str) -> bool:
    """Whether a file may have a name wherever its directory comes to, and whoever shows it may show it."""
    is_plain = "/" not in name and not any(unicodedata.category(each) in ("Cc", "Cs") for each in name)
    return is_plain and name not in ("", ".", "..", MANIFEST_FILE) and len(name.encode()) <= MAX_NAME_BYTES


def _of_others(manifest: Manifest, directory: Path) -> dict[str, str] | None:
    """None where an older exporter wrote the manifest, or a person."""
    listed: Any = manifest.provenance.get(FILES)
    if listed is None:
        return None
    is_sound = isinstance(listed, dict) and all(
        isinstance(sha256, str) and _SHA256.fullmatch(sha256) for sha256 in listed.values()
    )
    if not is_sound:
        raise ModelRejected(f"{directory / MANIFEST_FILE}: provenance.files: an object of names and their SHA-256")
    return dict(listed)


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelRejected(f"{path}: {error.strerror}") from error
    if found != sha256:
        raise ModelRejected(f"{path}: its SHA-256 is not the manifest's; the file is damaged or another's")


def _read_by(path: Path) -> list[str]:
    """The files that a graph reads its weights from."""
    try:
        with open_regular(path) as file:
            if not file.seek(0, 2):
                raise ModelRejected(f"{path}: the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return external_files(content)
    except OSError as error:
        raise ModelRejected(f"{path}: {error.strerror}") from error
    except BrokenWire as error:
        raise ModelRejected(f"{path}: it is no ONNX file, or is damaged: {error}") from error


def _warnings(directory: Path, listed: set[str], *, is_old: bool) -> list[str]:
    found = []
    unlisted = sorted({path.name for path in directory.iterdir()} - listed - {MANIFEST_FILE})
    if GOLDEN_FILE in unlisted:
        _check_regular(directory / GOLDEN_FILE)
    if is_old and GOLDEN_FILE in unlisted:
        unlisted.remove(GOLDEN_FILE)
        found.append(
            f"{directory}: its manifest has no SHA-256 of {GOLDEN_FILE}, as those of older releases: a change of it is "
            "not noticed. Export it again"
        )
    if unlisted:
        names = ", ".join(map(repr, unlisted[:5])) + (", ..." if len(unlisted) > 5 else "")
        found.append(f"{directory}: its manifest does not list {names}, which nothing reads")
    return found


def _check_regular(path: Path) -> None:
    try:
        open_regular(path).close()
    except OSError as error:
        raise ModelRejected(f"{path}: {error.strerror}") from error
