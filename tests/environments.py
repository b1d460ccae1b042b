"""Environments made without a network: a wheel, links to the libraries that it asks for, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Environment:
    """A virtual environment that has a wheel installed, with the libraries of some of its extras.

    The libraries are links to those that the tests run with; what no requirement leads to cannot be imported.
    """

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        venv.create(folder, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        (self._packages,) = folder.glob("lib/python*/site-packages")
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
        (own,) = self._packages.glob("ostinato-*.dist-info")
        self.libraries = needed(Distribution.at(own), extras)
        self._link(self.libraries.values())

    def run(self, *command: object, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in a folder."""
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=folder,
            env=self.variables(folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=350,
        )

    def variables(self, home: Path) -> dict[str, str]:
        """The environment of its processes: nothing points to this checkout."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OSTINATO_", "BENTOML_", "PYTHON", "PYTEST_"))
        }
        return own | {
            "BENTOML_DO_NOT_TRACK": "true",
            "COLUMNS": "200",
            "HOME": str(home),
            "NO_COLOR": "1",
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "TERM": "dumb",
        }

    def _link(self, libraries: Iterable[Distribution]) -> None:
        # A folder that several libraries share is made anew, with links to the files of those that are wanted.
        tops = {library: _tops(library) for library in libraries}
        owners = Counter(top for names in tops.values() for top in names)
        for library, names in tops.items():
            for top in names:
                files = [Path(top)] if owners[top] == 1 else _files_under(library, top)
                for file in files:
                    target = self._packages / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not target.exists():
                        target.symlink_to(Path(str(library.locate_file(file))))


def needed(root: Distribution, extras: Iterable[str]) -> dict[str, Distribution]:
    """All libraries that a distribution asks for, with those of some of its extras; name to distribution."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    queue = [(root, extra) for extra in ("", *extras)]
    while queue:
        owner, extra = queue.pop()
        for line in owner.requires or ():
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            library = root if name == canonicalize_name(root.name) else distribution(name)
            if library is not root:
                found[name] = library
            for one in {(name, wanted) for wanted in ("", *requirement.extras)} - asked:
                asked.add(one)
                queue.append((library, one[1]))
    return found


def _tops(library: Distribution) -> set[str]:
    return {file.parts[0] for file in library.files or () if file.parts[0] not in ("..", "__pycache__")}


def _files_under(library: Distribution, top: str) -> list[Path]:
    files = [Path(file) for file in library.files or () if file.parts[0] == top]
    return [file for file in files if "__pycache__" not in file.parts]
