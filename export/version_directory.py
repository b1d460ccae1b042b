"""A version's directory while it is made: all of it appears in the repository at once, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from ostinato.export.errors import ExportError
from ostinato.service.artifact.manifest import GraphFile, Manifest, Name

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@contextlib.contextmanager
def new_version(repository: Path | str, name: str, version: str, *, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``<repository>/<name>/<version>/`` at the end, unless something was raised.

    Meanwhile torch runs on one thread, as the graphs do: what is compared does not depend on the machine's cores.

    Raises:
        ExportError: the version exists and is not to be replaced (``force``), or a name would lead elsewhere.
    """
    directory = _free_directory(Path(repository), name, version, force=force)
    Path(repository).mkdir(parents=True, exist_ok=True)
    with _one_thread(), tempfile.TemporaryDirectory(prefix=".export-", dir=repository) as folder:
        built = Path(folder) / version
        built.mkdir()
        yield built
        _move_into_place(built, directory)


def valid_manifest(**fields: Any) -> Manifest:
    """The manifest of these fields, the library versions in its provenance.

    Raises:
        ExportError: it would not be valid.
    """
    provenance = {"libraries": library_versions(), **(fields.pop("provenance", None) or {})}
    try:
        return Manifest(provenance=provenance, **fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in error.errors())
        raise ExportError(f"the manifest of {fields['name']!r} would not be valid: {faults}") from error


def describe_graph(path: Path) -> GraphFile:
    """A graph's entry in the manifest."""
    return GraphFile(file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def library_versions() -> dict[str, str]:
    """What the export ran on."""
    return {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}}


def _free_directory(repository: Path, name: str, version: str, *, force: bool) -> Path:
    """Where the version goes; names are checked before they become folders."""
    for what, word in (("name", name), ("version", version)):
        try:
            _NAME.validate_python(word)
        except ValidationError as error:
            raise ExportError(
                f"{what} {word!r}: use 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or a digit"
            ) from error
    directory = repository / name / version
    if directory.exists() and not force:
        raise ExportError(f"{directory} exists already: choose another version, or replace it (force=True, --force)")
    return directory


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _move_into_place(built: Path, directory: Path) -> None:
    """Rename the finished folder to its name, so that a reader finds all of a version or nothing of it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Who serves is not who exported.
    built.chmod(0o755)
    for file in built.iterdir():
        file.chmod(0o644)
    if directory.exists():
        replaced = Path(tempfile.mkdtemp(prefix=".replaced-", dir=directory.parent.parent)) / "version"
        directory.rename(replaced)
        built.rename(directory)
        shutil.rmtree(replaced.parent)
    else:
        built.rename(directory)
