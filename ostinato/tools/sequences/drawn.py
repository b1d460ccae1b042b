"""Drawn sequences: what the clients of a measurement send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ostinato.tools.drawn_inputs import draw_steps
from ostinato.tools.sequences.course import CYCLE_STEPS

ManifestEntry = Mapping[str, Any]
"""An entry of a manifest's inputs, or as much of one as is known: ``name``, ``dtype``, ``shape`` and ``features``."""


class SteppedModel(NamedTuple):
    """A model whose sequences are stepped.

    Attributes:
        inputs, context: what every step has, and what a sequence begins with.
        outputs: what it answers; empty = that is read from its answers.
    """

    name: str
    version: str
    inputs: tuple[ManifestEntry, ...]
    context: tuple[ManifestEntry, ...] = ()
    outputs: tuple[ManifestEntry, ...] = ()


class DrawnSequence(NamedTuple):
    """The steps of one sequence.

    Attributes:
        steps: for each input by name, rows ``[CYCLE_STEPS, F]``, over and over.
        context: what it begins with, a row ``[F]`` for each by name.
    """

    steps: dict[str, list[list[float]]]
    context: dict[str, list[float]]

    def rows(self, places: Iterable[int]) -> dict[str, list[list[float]]]:
        """Steps by their places in the cycle, by input."""
        places = list(places)
        return {name: [steps[place] for place in places] for name, steps in self.steps.items()}

    def first(self, num_steps: int) -> dict[str, list[list[float]]]:
        """The first ``num_steps`` of them, as they are sent."""
        return self.rows((np.arange(num_steps) % CYCLE_STEPS).tolist())


def draw_sequences(model: SteppedModel, number: int) -> list[DrawnSequence]:
    """Sequences, each different from the others, and the same in every run."""
    generator = np.random.default_rng(number)
    drawn = []
    for _ in range(number):
        steps = {part["name"]: draw_steps(part, CYCLE_STEPS, generator) for part in model.inputs}
        context = {part["name"]: draw_steps(part, 1, generator)[0] for part in model.context}
        drawn.append(DrawnSequence(steps, context))
    return drawn
