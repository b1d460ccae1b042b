"""Virtual environments for the baselines, whose dependencies are none of the project's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.errors import SubjectFailed


class Environment:
    """A virtual environment made of a file of pins, once, and anew when the pins change.

    Args:
        with_dependencies: False installs the pins and nothing of what they ask for.
    """

    def __init__(self, folder: Path, pins: Path, *, with_dependencies: bool = True) -> None:
        self.folder, self.pins = folder, pins
        self._options = [] if with_dependencies else ["--no-deps"]

    def python(self) -> Path:
        """Its interpreter; it is made first if it is not there.

        Raises:
            SubjectFailed: a package could not be installed.
        """
        python, ready = self.folder / "bin" / "python", self.folder / ".ready"
        if ready.is_file() and ready.read_bytes() == self.pins.read_bytes():
            return python
        console = Console(stderr=True)
        console.print(f"making {self.folder.name} from {self.pins.name} (a minute, the first time)")
        self._run([sys.executable, "-m", "venv", "--clear", str(self.folder)])
        install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet", *self._options]
        self._run([str(python), *install, "-r", str(self.pins)])
        ready.write_bytes(self.pins.read_bytes())
        return python

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise SubjectFailed(f"{self.folder.name} could not be made: {' | '.join(lines[-3:])}")
