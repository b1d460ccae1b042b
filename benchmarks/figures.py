"""Figures that were measured, by name, each with a value for each round, and the ratios between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """A median, and the least and the greatest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one value."""
        return cls(float(np.median(values)), min(values), max(values))


@dataclass
class Figures:
    """Values by name, as ``http/256/ostinato/rate``; one value a round, in the order of the rounds."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Put a round's value behind those of the rounds before."""
        self.values.setdefault(name, []).append(value)

    def drop(self, prefix: str) -> None:
        """Forget the figures below ``prefix``: what was measured of a wrong answer does not count."""
        for name in [name for name in self.values if name == prefix or name.startswith(f"{prefix}/")]:
            del self.values[name]

    def spread(self, name: str) -> Spread | None:
        """A figure over its rounds; None = it was not measured."""
        values = self.values.get(name)
        return Spread.of(values) if values else None

    def ratio(self, name: str, over: str) -> Spread | None:
        """The ratio of two figures' medians, and the least and the greatest ratio within one round."""
        numerators, denominators = self.values.get(name), self.values.get(over)
        if not numerators or not denominators or not all(denominators):
            return None
        pairs = [one / other for one, other in zip(numerators, denominators, strict=False)]
        return Spread(float(np.median(numerators) / np.median(denominators)), min(pairs), max(pairs))

    def below(self, prefix: str) -> Iterator[tuple[str, Spread]]:
        """The figures whose names begin with ``prefix``."""
        for name, values in self.values.items():
            if name.startswith(prefix):
                yield name, Spread.of(values)
