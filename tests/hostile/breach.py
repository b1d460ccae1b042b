"""A breach: what somebody sent that should have been refused or borne, and was not."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
"""A folder for each decoder and attack: what once did harm, and its relatives, sent first and mutated ever since."""

MAX_SHOWN_BYTES = 600


@dataclass(frozen=True)
class Breach:
    """One case that was not borne.

    Attributes:
        what: the decoder or the attack.
        number: of the case; with the seed it makes the same bytes again.
    """

    what: str
    seed: int
    number: int
    detail: str
    content: bytes = b""

    @property
    def command(self) -> str:
        """What plays it again."""
        return f"python -m tests.hostile --only {self.what} --seed {self.seed} --case {self.number}"

    def __str__(self) -> str:
        shown = base64.b64encode(self.content[:MAX_SHOWN_BYTES]).decode()
        more = f" and {len(self.content) - MAX_SHOWN_BYTES} bytes" if len(self.content) > MAX_SHOWN_BYTES else ""
        sent = f"; base64 of what was sent: {shown}{more}" if self.content else ""
        return f"{self.what}: {self.detail}; again with: {self.command}{sent}"


@dataclass
class Toll:
    """What a decoder or an attack came to.

    Attributes:
        counts: what was answered -> how often.
    """

    what: str
    num_cases: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)

    def count(self, answer: str) -> None:
        """One more was answered so."""
        self.counts[answer] = self.counts.get(answer, 0) + 1


def generator_of(what: str, seed: int, number: int) -> random.Random:
    """The generator of one case, which does not depend on those before it."""
    return random.Random(f"{what}/{seed}/{number}")


def kept(what: str) -> list[bytes]:
    """What is in the corpus for a decoder or an attack."""
    return [path.read_bytes() for path in sorted((CORPUS / what).glob("*")) if path.is_file()]
