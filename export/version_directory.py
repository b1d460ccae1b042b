"""A version's directory while it is made: all of it appears in the repository at once, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file

from ostinato.export.contracts.axes import Array
from ostinato.export.errors import ExportError
from ostinato.export.proofs.proof import Proof
from ostinato.service.artifact.manifest import (
    ALONE,
    ANY,
    GOLDEN_FILE,
    DataFile,
    GraphFile,
    Limits,
    Manifest,
    Name,
    Promise,
)
from ostinato.service.artifact.regular_files import sha256_of
from ostinato.service.artifact.version_files import describe_others
from ostinato.service.artifact.wire import external_files

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was proved."""

    directory: Path
    manifest: Manifest
    proof: Proof


class NewVersion:
    """A version while it is made, in a folder of its own: ``folder`` is for its graphs, ``finish`` writes the rest."""

    def __init__(self, folder: Path, directory: Path, name: str, version: str) -> None:
        self.folder = folder
        self._directory = directory
        self._name = name
        self._version = version

    def finish(
        self,
        proof: Proof,
        golden: dict[str, Array],
        graphs: Mapping[str, str],
        provenance: Mapping[str, Any] | None = None,
        *,
        find_promise: Callable[[Manifest, Path], Promise] | None = None,
        **described: Any,
    ) -> Exported:
        """Write manifest and golden answers next to the graphs.

        Args:
            golden: name -> array, as ``ostinato.export.proofs.golden`` tells.
            graphs: role -> file in ``folder``.
            provenance: where the model comes from; the library versions are added.
            find_promise: tells the promise of the version whose manifest, yet without it, and folder it is given;
                None = what the proof alone tells.
            described: the manifest's other fields; with framing a chunk may have as many frames as others have steps,
                where no limits are said.

        Raises:
            ExportError: the manifest would not be valid, or no promise holds.
        """
        framing = described.get("framing")
        if framing is not None and "limits" not in described:
            described["limits"] = Limits(max_chunk_steps=framing.max_chunk_steps)
        manifest = _valid_manifest(
            name=self._name,
            version=self._version,
            graphs={role: _describe_graph(self.folder / file) for role, file in graphs.items()},
            parity=proof.parity,
            provenance={"libraries": library_versions(), **(provenance or {})},
            **described,
        )
        save_file(golden, self.folder / GOLDEN_FILE)
        promise = ANY if proof.batch_invariant else ALONE
        if find_promise is not None:
            promise = find_promise(manifest, self.folder)
        manifest = describe_others(manifest.model_copy(update={"promise": promise}), self.folder)
        manifest.write(self.folder)
        return Exported(self._directory, manifest, proof)


@contextlib.contextmanager
def new_version(repository: Path | str, name: str, version: str, *, force: bool) -> Iterator[NewVersion]:
    """A version to make, which becomes ``<repository>/<name>/<version>/`` at the end, unless something was raised.

    Meanwhile torch runs on one thread, as the graphs do: what is compared does not depend on the machine's cores.

    Raises:
        ExportError: the version exists and is not to be replaced (``force``), or a name would lead elsewhere.
    """
    directory = _free_directory(Path(repository), name, version, force=force)
    Path(repository).mkdir(parents=True, exist_ok=True)
    with _one_thread(), tempfile.TemporaryDirectory(prefix=f".export-{os.getpid()}-", dir=repository) as folder:
        built = Path(folder) / version
        built.mkdir()
        yield NewVersion(built, directory, name, version)
        _move_into_place(built, directory)


def library_versions() -> dict[str, str]:
    """What the export ran on."""
    return {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}}


def _valid_manifest(**fields: Any) -> Manifest:
    try:
        return Manifest(**fields)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in error.errors())
        raise ExportError(f"the manifest of {fields['name']!r} would not be valid: {faults}") from error


def _describe_graph(path: Path) -> GraphFile:
    content = path.read_bytes()
    data = tuple(DataFile(file=name, sha256=sha256_of(path.with_name(name))) for name in external_files(content))
    return GraphFile(file=path.name, sha256=hashlib.sha256(content).hexdigest(), data=data)


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
