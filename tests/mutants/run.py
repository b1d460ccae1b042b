"""Running mutants: each in a copy of the tree that nobody else sees."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType

from tests.mutants import forker
from tests.mutants.mutant import ROOT, Mutant

# What a copy does not need: at the top environments and what was trained or built, and caches everywhere.
LEFT_OUT_AT_THE_TOP = (".venv*", ".git", "runs", "repository", "state", "build")
CACHES = ("__pycache__", ".*_cache", ".hypothesis")
LIMIT_SECONDS, LIMIT_OF_ALL_SECONDS = 200.0, 3600.0
"""Of a fault's tests, and of all tests together without any."""
HURRY = 8
"""How many times sooner than in the suite a test that hangs is failed, by ``tests/conftest.py``."""


def copy_tree(place: Path) -> None:
    """Copy the tree to ``place``, where faults can be planted; links stay links."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        patterns = CACHES + LEFT_OUT_AT_THE_TOP if Path(folder) == ROOT else CACHES
        return {name for name in names for pattern in patterns if fnmatch(name, pattern)}

    shutil.copytree(ROOT, place, symlinks=True, ignore=left_out)


class NotRun(Exception):
    """A test did not run, as where its name is wrong: that is no notice of a fault."""


class Copy:
    """A copy of the tree with a process that runs its tests, one run at a time. A context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._output = root.with_name(f"{root.name}.txt")
        self._forker = subprocess.Popen(
            [sys.executable, Path("tests", "mutants", "forker.py")],
            cwd=root,
            # Torch and onnxruntime read theirs when they are imported, which is before a conftest.py can tell.
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "ORT_DISABLE_TELEMETRY": "1",
                "OSTINATO_TESTS_HURRY": str(HURRY),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Copy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forker.communicate()

    def failing(self, tests: Iterable[str], *, is_sound: bool = False) -> str:
        """What pytest says when tests are run; empty where they pass.

        Args:
            is_sound: there is no fault: what is compiled is kept for later runs, and more time is given.

        Raises:
            NotRun.
        """
        # Some libraries are imported before pytest could rewrite their assertions, which nobody misses.
        quiet = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        limit_seconds = LIMIT_OF_ALL_SECONDS if is_sound else LIMIT_SECONDS
        run = {
            "arguments": ["-x", "-q", "-p", "no:cacheprovider", "-n", "0", *quiet, *tests],
            "output": str(self._output),
            "writes_bytecode": is_sound,
            "limit_seconds": limit_seconds,
        }
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps(run) + "\n")
        self._forker.stdin.flush()
        status = int(self._forker.stdout.readline())
        if status == forker.LATE:
            return f"it did not end within {limit_seconds:.0f} s"
        said = self._output.read_text(encoding="utf-8", errors="replace").strip()
        # 0 = passed, 1 = a test failed, 2 = the module could not be imported or a fixture ended the run.
        if status not in (0, 1, 2):
            raise NotRun(f"pytest exited {status}:\n{said}")
        return (said or "it said nothing") if status else ""

    def notices(self, mutant: Mutant) -> bool:
        """Plant a fault, run its test, and take the fault out again.

        Raises:
            NotRun.
        """
        place = self.root / mutant.file
        sound, before = place.read_text(encoding="utf-8"), place.stat()
        place.write_text(mutant.mutated(self.root), encoding="utf-8")
        try:
            return bool(self.failing([mutant.test]))
        finally:
            place.write_text(sound, encoding="utf-8")
            os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
