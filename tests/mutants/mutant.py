"""A mutant: one place of the code changed, and the test that must fail for it."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLANTED = Path(__file__).parent / "planted"


@dataclass(frozen=True)
class Mutant:
    """One fault, as ``planted/*.toml`` has it.

    ``what``: the fault in a few words; it names the mutant. ``test``: a test as pytest names it, from the root.
    """

    what: str
    file: str
    before: str
    after: str
    test: str

    def mutated(self, root: Path = ROOT) -> str:
        """The file's content with the fault in it.

        Raises:
            ValueError: what is to be changed does not stand in the file exactly once, or the test is not there.
        """
        content = (root / self.file).read_text(encoding="utf-8")
        if (count := content.count(self.before)) != 1:
            raise ValueError(f"{self.file} has {count} times, not once: {self.before!r}")
        if self.before == self.after:
            raise ValueError(f"{self.what!r} changes nothing")
        path, *names = self.test.split("::")
        if not (root / path).is_file():
            raise ValueError(f"{self.what!r}: there is no file {path}")
        text = (root / path).read_text(encoding="utf-8")
        for name in names:
            plain = re.escape(name.partition("[")[0])
            if not re.search(rf"^ *(async )?(def|class) {plain}\b", text, re.MULTILINE):
                raise ValueError(f"{self.what!r}: {path} has no {name}")
        return content.replace(self.before, self.after)

    def key(self, root: Path = ROOT) -> str:
        """What is another when the fault, the file that it is planted in or its test's file is."""
        test = (root / self.test.partition("::")[0]).read_text(encoding="utf-8")
        return hashlib.sha256(json.dumps([asdict(self), self.mutated(root), test]).encode()).hexdigest()


def planted(*only: str) -> list[Mutant]:
    """All mutants, in the order of their files; ``only`` those whose file in ``planted/`` is named."""
    mutants: list[Mutant] = []
    for path in sorted(PLANTED.glob("*.toml")):
        if not only or path.stem in only:
            mutants += [Mutant(**fault) for fault in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]
    return mutants
