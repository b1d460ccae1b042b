"""The repository: the folder ``<repository>/<model>/<version>/``, and what its files must be before a graph is run."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from ostinato.service.artifact.manifest import MANIFEST_FILE, Manifest
from ostinato.service.artifact.version_files import check_files
from ostinato.service.errors import ModelRejected

logger = logging.getLogger(__name__)


def find_versions(repository: Path) -> list[Path]:
    """Directories of all versions in a repository; every second-level folder is one, sound or not.

    Raises:
        ModelRejected: the repository is not a folder.
    """
    if not repository.is_dir():
        raise ModelRejected(f"{repository}: there is no such folder; 'ostinato export' fills one")
    return sorted(
        path
        for path in repository.glob("*/*")
        if path.is_dir() and not path.name.startswith(".") and not path.parent.name.startswith(".")
    )


def mark_of(directory: Path) -> str | None:
    """What tells a version's files from others in their place, and from themselves before a change; None = they cannot
    be looked at.
    """
    looks = []
    try:
        for path in sorted([directory, *directory.rglob("*")]):
            status = path.stat()
            looks.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except OSError:
        return None
    return hashlib.sha256(os.fsencode(repr(looks))).hexdigest()[:16]


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a version whose name and files are those that it says.

    Raises:
        ModelRejected: it is no manifest, is of another version than the folder's, or a file is absent or damaged.
    """
    manifest = Manifest.read(directory)
    if (manifest.name, manifest.version) != (directory.parent.name, directory.name):
        raise ModelRejected(
            f"{directory / MANIFEST_FILE}: it is of {manifest.name}/{manifest.version}, and lies in "
            f"{directory.parent.name}/{directory.name}"
        )
    for sentence in check_files(manifest, directory):
        logger.warning("%s", sentence)
    return manifest
