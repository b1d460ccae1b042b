"""Fetching: versions of a source come into a repository, each verified and all at once, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ostinato.service.artifact.manifest import GOLDEN_FILE, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest
from ostinato.service.artifact.regular_files import sha256_of
from ostinato.service.artifact.version_files import check_files, listed_files
from ostinato.service.errors import FetchFailed, ModelRejected
from ostinato.service.fetching.archive import ArchiveTree
from ostinato.service.fetching.bento_models import stored_folder
from ostinato.service.fetching.registry import RegistryTree
from ostinato.service.fetching.sources import ModelSource
from ostinato.service.fetching.staging import put_in_place, staging, tidy_on_sigterm
from ostinato.service.fetching.tree import (
    MAX_BYTES,
    FileTree,
    FolderTree,
    GuardedTree,
    Report,
    check_sum,
    reading,
    save,
)
from ostinato.service.fetching.web import WebTree, web_client


@dataclass(frozen=True)
class Fetched:
    """A version of a source that is in the repository; ``is_new`` says whether it was not before."""

    model: str
    version: str
    source: ModelSource
    is_new: bool

    def __str__(self) -> str:
        done = "fetched" if self.is_new else "was there already"
        return f"{self.model}/{self.version}: {done}, from {self.source.shown}"


def fetch_all(
    sources: Iterable[ModelSource], repository: Path, report: Report = lambda _shown, _num_bytes: None
) -> Iterator[Fetched]:
    """Bring all versions of sources into a repository, one after the other.

    A version that is there already and equal is left alone. What goes wrong at one leaves nothing of it behind, and
    those before it where they are.

    Raises:
        FetchFailed: one cannot be brought; says why and what to do.
    """
    with tidy_on_sigterm():
        for source in sources:
            yield from fetch(source, repository, report)


def fetch(source: ModelSource, repository: Path, report: Report = lambda _shown, _num_bytes: None) -> Iterator[Fetched]:
    """The same of one source."""
    if (repository / MANIFEST_FILE).exists():
        raise FetchFailed(f"{repository}: it is a version itself, and no repository; name another folder")
    try:
        with staging(repository) as scratch, _opened(source, scratch, report) as tree:
            for number, place in enumerate(places := _versions(tree, source)):
                if number == 0 and len(places) > 1 and _is_of_manifest(source):
                    raise FetchFailed(f"{source.shown}: a checksum is of one version, and there are {len(places)}")
                yield _Version(tree, source, place, report).bring(repository, scratch / f"version-{number}")
    except OSError as error:
        raise FetchFailed(
            f"{repository}: {error.strerror or error}; name a folder with room that may be written to"
        ) from error


class _Version:
    """A version of a tree, whose manifest lies in the folder ``place``."""

    def __init__(self, tree: FileTree, source: ModelSource, place: str, report: Report) -> None:
        self._tree, self._source, self._place, self._report = tree, source, place, report
        self._shown = f"{source.shown}: {place}" if place else source.shown

    def bring(self, repository: Path, folder: Path) -> Fetched:
        """Put it together in a folder, and into its place if it is not there."""
        folder.mkdir()
        try:
            found = self._save(MANIFEST_FILE, folder, MAX_MANIFEST_BYTES)
            if _is_of_manifest(self._source):
                check_sum(found, self._source.checksum, f"{self._shown}: {MANIFEST_FILE}")
            manifest = Manifest.read(folder)
            place = repository / manifest.name / manifest.version
            if place.exists():
                return self._compared(manifest, folder, place)
            self._save_files(manifest, folder)
            check_files(manifest, folder)
        except ModelRejected as error:
            raise FetchFailed(f"{self._shown}: {str(error).replace(f'{folder}/', '')}") from error
        if not put_in_place(folder, place):
            return self._compared(manifest, folder, place)
        return Fetched(manifest.name, manifest.version, self._source, True)

    def _save_files(self, manifest: Manifest, folder: Path) -> None:
        listed, left = listed_files(manifest, folder), MAX_BYTES
        for name, sha256 in listed.items():
            check_sum(self._save(name, folder, left), sha256, f"{self._shown}: {name}")
            left -= (folder / name).stat().st_size
        if GOLDEN_FILE not in listed:  # as manifests of older releases have it
            try:
                self._save(GOLDEN_FILE, folder, left)
            except FileNotFoundError:
                (folder / GOLDEN_FILE).unlink(missing_ok=True)

    def _save(self, name: str, folder: Path, most_bytes: int) -> str:
        path = f"{self._place}/{name}" if self._place else name
        try:
            with closing(self._tree.chunks(path)) as chunks:
                return save(chunks, folder / name, f"{self._source.shown}: {path}", self._report, most_bytes=most_bytes)
        except FileNotFoundError as error:
            if name == GOLDEN_FILE:
                raise
            raise FetchFailed(f"{self._shown}: there is no {name}") from error

    def _compared(self, manifest: Manifest, folder: Path, place: Path) -> Fetched:
        """What is to be said of one whose place is taken."""
        name = f"{manifest.name}/{manifest.version}"
        try:
            is_equal = sha256_of(place / MANIFEST_FILE) == sha256_of(folder / MANIFEST_FILE)
            check_files(Manifest.read(place), place)
        except (ModelRejected, OSError) as error:
            raise FetchFailed(f"{name} is in the repository, and is damaged: {error}; remove it first") from error
        if not is_equal:
            raise FetchFailed(
                f"{self._shown}: {name} is in the repository, and is another; a version does not change: export what "
                "is new as a new version, or remove the old one"
            )
        return Fetched(manifest.name, manifest.version, self._source, False)


@contextmanager
def _opened(source: ModelSource, scratch: Path, report: Report) -> Iterator[FileTree]:
    """The files of a source."""
    with web_client() if source.scheme in ("http", "https", "oci") else nullcontext() as client:
        with reading(f"{source.shown}: it cannot be read"):
            tree = _tree_of(source, client, scratch, report)
        yield GuardedTree(tree, source.shown)


def _tree_of(source: ModelSource, client: Any, scratch: Path, report: Report) -> FileTree:
    if source.scheme == "oci":
        return RegistryTree(client, source, scratch, report)
    if source.scheme == "bentoml":
        return FolderTree(stored_folder(source), source.shown)
    if source.scheme in ("", "file"):
        return _of_this_machine(source, scratch, report)
    tree: FileTree
    if source.scheme in ("http", "https"):
        tree = WebTree(client, source.address, source.shown)
    else:
        from ostinato.service.fetching.remote import RemoteTree

        tree = RemoteTree(source)
    return _downloaded(tree, source, scratch, report) if source.is_archive else tree


def _of_this_machine(source: ModelSource, scratch: Path, report: Report) -> FileTree:
    path = Path(source.path)
    if path.is_dir():
        return FolderTree(path, source.shown)
    if not path.is_file():
        raise FetchFailed(f"{source.shown}: there is no such folder")
    if not source.is_archive:
        raise FetchFailed(f"{source.shown}: it is no folder, and no archive by its name (.tar.gz, .tgz, .tar, .zip)")
    return _downloaded(FolderTree(path.parent, source.shown), source, scratch, report, path.name)


def _downloaded(tree: FileTree, source: ModelSource, scratch: Path, report: Report, path: str = "") -> FileTree:
    """An archive, brought here whole and held to its checksum before it is opened."""
    place = scratch / "archive"
    try:
        with closing(tree.chunks(path)) as chunks:
            found = save(chunks, place, source.shown, report)
    except FileNotFoundError as error:
        raise FetchFailed(f"{source.shown}: there is no such archive") from error
    check_sum(found, source.checksum, source.shown)
    return ArchiveTree(place, scratch, source.shown)


def _versions(tree: FileTree, source: ModelSource) -> list[str]:
    """The folders in which a manifest lies."""
    paths = [PurePosixPath(path) for path in tree.paths()]
    found = sorted(
        str(path.parent)
        for path in paths
        if path.name == MANIFEST_FILE and not any(part.startswith(".") for part in path.parts)
    )
    if not found:
        raise FetchFailed(f"{source.shown}: there is no {MANIFEST_FILE} in it; 'ostinato export' makes a version")
    return ["" if place == "." else place for place in dict.fromkeys(found)]


def _is_of_manifest(source: ModelSource) -> bool:
    """Whether a source's checksum is that of a ``model.json``."""
    return bool(source.checksum) and source.scheme != "oci" and not source.is_archive
