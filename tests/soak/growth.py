"""Growth: whether a figure that should stay as it is has risen between the first rounds and the last. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Limit:
    """How much higher the last rounds' median may be than the first ones': a share of that, and something fixed.

    A server that has just begun grows for good reasons: buffers are made when they are needed first. So the first round
    is left out, and what is fixed covers the rest.
    """

    name: str
    unit: str
    share: float
    fixed: float


MEMORY = Limit("memory", "MiB", 0.05, 8.0)
DESCRIPTORS = Limit("descriptors", "", 0.0, 8.0)


@dataclass(frozen=True)
class Growth:
    """A figure's medians over the first and the last third of the rounds."""

    limit: Limit
    first: float
    last: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not risen by more than may be."""
        return self.last <= self.first * (1 + self.limit.share) + self.limit.fixed

    def __str__(self) -> str:
        word = "flat" if self.is_flat else "grows"
        first = " ".join([f"{self.first:.1f}", *([self.limit.unit] if self.limit.unit else [])])
        return f"{self.limit.name} {word}: {first} at first, {self.last:.1f} at last"


def growth(limit: Limit, figures: Sequence[float]) -> Growth:
    """Compare what was measured after each round, of which there are three or more; the first is not looked at."""
    warm = figures[1:]
    third = max(1, len(warm) // 3)
    return Growth(limit, median(warm[:third]), median(warm[-third:]))
