"""Distributions: the source distribution, and the wheel that is made of it and of nothing else.

They are made of copies, so that neither what an earlier build left in the checkout nor what lies next to the package
comes into them. The package is pure Python: one wheel, ``py3-none-any``, is for every system.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata

from docs.site.links import repository
from release.readme import readme_of_index

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("service", "models", "export", "ostinato", "pyproject.toml", "README.md", "LICENSE")
"""All that a distribution is made of."""

MAX_WHEEL_BYTES = 8 << 20
"""A wheel that is larger holds data, which belong to examples or to models."""


def copy_project(folder: Path) -> Path:
    """Copy into a new folder what a distribution is made of, as the checkout has it, but the README for an index."""
    folder.mkdir(parents=True)
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    readme = (ROOT / "README.md").read_text("utf-8")
    (folder / "README.md").write_text(readme_of_index(readme, repository()), "utf-8")
    return folder


def build(kind: str, project: Path, output: Path) -> Path:
    """Build a ``wheel`` or ``sdist`` of a project as pip does, by the build backend that is installed here.

    Raises:
        RuntimeError: it cannot be built; has what the backend said.
    """
    output = output.resolve()  # the backend runs in the project's folder
    output.mkdir(parents=True, exist_ok=True)
    code = f"import sys\nfrom setuptools import build_meta\nprint(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(output)], cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return output / done.stdout.splitlines()[-1]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a source distribution; the project's folder in it."""
    with tarfile.open(archive) as file:
        # Before 3.11.4 there is no filter, and nothing asks for one.
        file.extraction_filter = getattr(tarfile, "data_filter", None)
        file.extractall(folder)
    (project,) = folder.iterdir()
    return project


def faults_of(distribution: Path) -> list[str]:
    """Sentences on what an index would refuse of a distribution, or what does not belong into it."""
    if distribution.suffix != ".whl":
        (metadata,) = _read_members(distribution, "PKG-INFO")
        return _faults_of_metadata(metadata)
    with zipfile.ZipFile(distribution) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        faults = _faults_of_metadata(wheel.read(name))
        faults += [f"{name} does not belong into a wheel" for name in wheel.namelist() if not _belongs(name)]
    if distribution.stat().st_size > MAX_WHEEL_BYTES:
        faults.append(f"the wheel has {distribution.stat().st_size:,} bytes: what is large in it?")
    return faults


def _belongs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    is_test = any(part in ("tests", "test") or part.startswith("test_") for part in parts[:-1])
    return (parts[0] == "ostinato" and not is_test) or parts[0].endswith(".dist-info")


def _faults_of_metadata(text: bytes) -> list[str]:
    try:
        metadata = Metadata.from_email(text)
    except ExceptionGroup as group:
        return sorted(str(error) for error in group.exceptions)
    if metadata.description_content_type != "text/markdown" or not (metadata.description or "").strip():
        return ["an index would show no README"]
    return []


def _read_members(archive: Path, name: str) -> list[bytes]:
    """The files of this name in the project's own folder."""
    with tarfile.open(archive) as file:
        members = [member for member in file if PurePosixPath(member.name).parts[1:] == (name,)]
        return [read.read() for read in map(file.extractfile, members) if read is not None]


def make(output: Path) -> list[Path]:
    """Make both in a folder, which then holds nothing else.

    Raises:
        RuntimeError: one of them cannot be built, or has faults.
    """
    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = build("sdist", copy_project(Path(scratch, "project")), output)
        wheel = build("wheel", unpack(source, Path(scratch, "unpacked")), output)
    faults = [f"{made.name}: {fault}" for made in (source, wheel) for fault in faults_of(made)]
    if faults:
        raise RuntimeError("\n".join(faults))
    return [source, wheel]


def main() -> None:
    """Make both in the folder that is the argument, and print names, sizes and SHA-256."""
    try:
        made = make(Path(sys.argv[1]))
    except RuntimeError as error:
        raise SystemExit(f"error: {error}") from None
    for path in made:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sys.stdout.write(f"{path}  {path.stat().st_size:,} bytes  sha256:{digest}\n")


if __name__ == "__main__":
    main()
