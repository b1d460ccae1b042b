"""The repository: the folder ``<repository>/<model>/<version>/``, and what its files must be before a graph is run.

KServe mounts a model's content alone: a version, or its versions as sub-folders. Such a folder is a repository, too,
whose versions have the names that their manifests say.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
from pathlib import Path

from ostinato.service.artifact.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, NAME_PATTERN, Manifest
from ostinato.service.artifact.regular_files import read_regular, sha256_of
from ostinato.service.artifact.version_files import check_files
from ostinato.service.errors import ModelRejected, UnknownModel

logger = logging.getLogger(__name__)


def find_versions(repository: Path) -> list[Path]:
    """Directories of all versions in a repository; every second-level folder is one, sound or not, and so is what has a
    manifest above it: a folder of the repository, or the repository itself.

    One whose name is no text is left out, and told once: no answer and no request could name it.

    Raises:
        ModelRejected: the repository is not a folder, or cannot be looked at.
    """
    try:
        if not repository.is_dir():
            raise ModelRejected(f"{repository}: there is no such folder; 'ostinato export' fills one")
        os.scandir(repository).close()  # or says why it cannot be looked at
        found = _found_in(repository)
    except OSError as error:
        raise ModelRejected(f"{repository}: {error.strerror}") from error
    return [path for path in found if _has_name(path.parent.name, path.name)]


def _found_in(repository: Path) -> list[Path]:
    found = []
    for folder in _folders(repository):
        inside = _folders(folder)
        is_version = (folder / MANIFEST_FILE).is_file() and not any((each / MANIFEST_FILE).is_file() for each in inside)
        found += [folder] if is_version else inside
    if (repository / MANIFEST_FILE).is_file() and not any((each / MANIFEST_FILE).is_file() for each in found):
        return [repository]
    return sorted(found)


@functools.lru_cache(maxsize=1024)  # so it is told once
def _has_name(model: str, version: str) -> bool:
    try:
        f"{model}/{version}".encode()
    except UnicodeEncodeError:
        logger.error("%s/%s is no version: the name of its folder is not UTF-8", ascii(model), ascii(version))
        return False
    return True


def digest_of(directory: Path) -> str:
    """What tells a version from others in its place: the SHA-256 of its manifest, which has that of each file.

    Raises:
        OSError: it cannot be read.
    """
    return sha256_of(directory / MANIFEST_FILE)


def why_other(directory: Path, digest: str) -> str:
    """Why a version's files are not those of which this was the digest; empty where they are."""
    try:
        check_files(Manifest.read(directory), directory)
        there = digest_of(directory)
    except (ModelRejected, OSError) as error:
        return str(error)
    return "" if there == digest else f"{directory / MANIFEST_FILE}: it is another"


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except PermissionError:  # as that of a volume's own `lost+found`
        return []


def place_of(directory: Path, repository: Path) -> tuple[str, str]:
    """The model and version that a directory is of: as its folders are called; and where it is the repository itself or
    lies right in it, as its manifest says, if that can be read.
    """
    by_folders = directory.parent.name or "model", directory.name or "version"
    if not _is_named_by_manifest(directory, repository):
        return by_folders
    try:
        said = json.loads(read_regular(directory / MANIFEST_FILE, MAX_MANIFEST_BYTES))
        names = str(said["name"]), str(said["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return by_folders
    return names if all(re.fullmatch(NAME_PATTERN, name) for name in names) else by_folders


def directory_of(repository: Path, model: str, version: str) -> Path:
    """The folder of a version, which is one of those that there are, whatever the names say; raises UnknownModel."""
    try:
        found = find_versions(repository)
    except ModelRejected as error:
        raise UnknownModel(f"the repository has no versions: {error}") from error
    for directory in found:
        if place_of(directory, repository) == (model, version):
            return directory
    raise UnknownModel(f"the repository has no {model[:100]}/{version[:100]}")


def _is_named_by_manifest(directory: Path, repository: Path) -> bool:
    here, above = directory.absolute(), repository.absolute()
    return here == above or here.parent == above


def is_complete(directory: Path) -> bool:
    """Whether a version's folder has its manifest, and all files that it lists, as they are listed."""
    try:
        check_files(Manifest.read(directory), directory)
    except (ModelRejected, OSError):
        return False
    return True


def mark_of(directory: Path) -> str | None:
    """What tells a version's files from others in their place, and from themselves before a change; None = they cannot
    be looked at.
    """
    looks = []
    try:
        for path in sorted([directory, *directory.rglob("*")]):
            status = _status(path)
            looks.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except OSError:
        return None
    return hashlib.sha256(os.fsencode(repr(looks))).hexdigest()[:16]


def _status(path: Path) -> os.stat_result:
    """Of what a link leads to; of the link itself where that is nothing, which is as much to be told from a file."""
    try:
        return path.stat()
    except OSError:
        if path.is_symlink():
            return path.lstat()
        raise


def read_manifest(directory: Path, repository: Path | None = None) -> Manifest:
    """The manifest of a version whose name and files are those that it says.

    Args:
        repository: that it is served from; None = the directory has the names of its version.

    Raises:
        ModelRejected: it is no manifest, is of another version than the folder's, or a file is absent or damaged; or
            another folder of the repository has the same version.
    """
    manifest = Manifest.read(directory)
    if repository is not None and _is_named_by_manifest(directory, repository):
        _check_only_one(manifest, directory, repository)
    elif (manifest.name, manifest.version) != (directory.parent.name, directory.name):
        raise ModelRejected(
            f"{directory / MANIFEST_FILE}: it is of {manifest.name}/{manifest.version}, and lies in "
            f"{directory.parent.name}/{directory.name}"
        )
    for sentence in check_files(manifest, directory):
        logger.warning("%s", sentence)
    return manifest


def _check_only_one(manifest: Manifest, directory: Path, repository: Path) -> None:
    names = manifest.name, manifest.version
    first = next((each for each in find_versions(repository) if place_of(each, repository) == names), directory)
    if first.absolute() != directory.absolute():
        raise ModelRejected(f"{directory / MANIFEST_FILE}: it is of {'/'.join(names)}, as is {first}")
