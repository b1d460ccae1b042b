"""Running mutants: each in a copy of the tree that nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

# What a copy does not need: at the top environments and what was trained or built, and caches everywhere.
LEFT_OUT_AT_THE_TOP = (".venv*", ".git", "runs", "repository", "state", "build")
CACHES = ("__pycache__", ".*_cache", ".hypothesis")
LIMIT_SECONDS = 600.0


def copy_tree(place: Path) -> None:
    """Copy the tree to ``place``, where faults can be planted; links stay links."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        patterns = CACHES + LEFT_OUT_AT_THE_TOP if Path(folder) == ROOT else CACHES
        return {name for name in names for pattern in patterns if fnmatch(name, pattern)}

    shutil.copytree(ROOT, place, symlinks=True, ignore=left_out)


def failing(copy: Path, tests: Iterable[str], *, writes_bytecode: bool = False) -> str:
    """What pytest says when ``tests`` run in a copy; empty where they pass.

    Args:
        writes_bytecode: keep what is compiled, for later runs; only while there is no fault.

    Raises:
        RuntimeError: they did not run, as where a name is wrong: that is no notice of a fault.
    """
    # What is compiled once serves all: a file with a fault has another time, and is compiled for itself.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "" if writes_bytecode else "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {LIMIT_SECONDS:.0f} s"
    # 0 = passed, 1 = a test failed, 2 = the module could not be imported or a fixture ended the run.
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def is_noticed(mutant: Mutant, copy: Path) -> bool:
    """Plant a fault in a copy, run its test, and take the fault out again."""
    place = copy / mutant.file
    sound, before = place.read_text(encoding="utf-8"), place.stat()
    place.write_text(mutant.mutated, encoding="utf-8")
    try:
        return bool(failing(copy, [mutant.test]))
    finally:
        place.write_text(sound, encoding="utf-8")
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
