from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.fetching import retries
from tests.networks import accumulator, relist

GOLDEN = np.arange(6, dtype=np.float32).reshape(2, 3, 1)


def write_version(repository: Path, version: str = "1", name: str = "sums", **changes: object) -> Path:
    """A small version whose manifest lists all of its files."""
    directory = accumulator().named(name, version, **changes).write(repository, GOLDEN)
    relist(directory)
    return directory


def packed(folder: Path, archive: Path) -> Path:
    """An archive of a folder's content, by its name."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as file:
            file.add(folder, ".")
    return archive


def tree_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def plain_environment() -> dict[str, str]:
    """The environment of this process, without what is ours, BentoML's or a provider's."""
    return {name: each for name, each in os.environ.items() if not name.startswith(("OSTINATO_", "BENTOML_", "AWS_"))}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with one version, from which others fetch."""
    write_version(tmp_path / "origin")
    return tmp_path / "origin"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One that is not there yet."""
    return tmp_path / "pod" / "repository"


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are as many as they are, and come at once."""
    monkeypatch.setattr(retries, "WAITS_SECONDS", tuple(0.0 for _ in retries.WAITS_SECONDS))
