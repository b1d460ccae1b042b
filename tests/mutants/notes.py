"""Notes: the faults that a run has noticed, on disk as it goes, so that a run that is cut loses nothing."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

NOTES = ROOT / "build" / "mutants.txt"


class Notes:
    """What was noticed, a line each.

    Args:
        resume: go on with what was noted; otherwise it is forgotten.
    """

    def __init__(self, resume: bool, path: Path = NOTES) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path = path
        if not resume:
            path.unlink(missing_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._keys = {line.partition(" ")[0] for line in lines}

    def has(self, mutant: Mutant) -> bool:
        """Whether a fault was noticed, as it is now, with the file that it is planted in and its test as they are."""
        return mutant.key() in self._keys

    def add(self, mutant: Mutant, key: str) -> None:
        """Note that a fault was noticed."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{key} {mutant.what}\n")
