"""Networks whose state says which history led to it: a step lost, doubled, mixed up or of another shows in a number.

The state is one whole number. A step with inputs x makes of it ``(state A + sum(x B) + C) mod M``, with constants of
the version's own; that is also the output, which float32 holds exactly, as M is below 2^24. So the reference below is
exact, and knows nothing of onnxruntime. Of a model with frames it is a frame that does so, its steps being x.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Input, Output, State
from tests.histories import panel
from tests.histories.panel import CONTEXT_FACTORS
from tests.networks import Array, Network, build_network

MODULUS = 8_388_593
"""The largest prime below 2^23."""

FACTORS = (1, 40_507, 7_919)
"""Of an input's features."""


@dataclass(frozen=True)
class Kind:
    """A version of a model as the judge knows it.

    Attributes:
        can_forecast: whether its output is fed back as its first feature.
        num_context: numbers of a context; with one, inputs, outputs and states are several tensors, see ``panel``.
        hop: the steps after which there is a frame again; 0 = it has none, and answers each step.
        overlap: steps of a frame that are of the next one, too.
        keep_inputs: how many of its last steps a session keeps, by which it is migrated to another version.
    """

    model: str
    version: str
    num_features: int
    factor: int
    addend: int
    can_forecast: bool
    num_context: int = 0
    hop: int = 0
    overlap: int = 0
    keep_inputs: int = 0

    @property
    def size(self) -> int:
        """The steps of a frame."""
        return self.hop + self.overlap

    @property
    def num_known(self) -> int:
        """Features whose future a forecast must be told."""
        return self.num_features - 1

    @property
    def state_name(self) -> str:
        """What the manifest calls its state."""
        return f"{self.model}-state"

    def step(self, state: int, inputs: tuple[int, ...], context: tuple[int, ...] = ()) -> int:
        """The state after one step, which is the step's output, too."""
        mixed = sum(number * FACTORS[place] for place, number in enumerate(inputs))
        mixed += sum(number * CONTEXT_FACTORS[place] for place, number in enumerate(context))
        return (state * self.factor + mixed + self.addend) % MODULUS

    def fold(self, state: int, chunk: tuple[tuple[int, ...], ...], context: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The outputs of a chunk's steps, of which the last is the state after them."""
        outputs = []
        for inputs in chunk:
            state = self.step(state, inputs, context)
            outputs.append(state)
        return tuple(outputs)

    def run(
        self, state: Any, chunk: tuple[tuple[int, ...], ...], context: tuple[int, ...] = ()
    ) -> tuple[tuple[int, ...], Any]:
        """What a chunk is answered, and the state after it: a number, or with steps of an incomplete frame a tuple of
        that number and these.
        """
        if not self.hop:
            folded = self.fold(state, chunk, context)
            return folded, folded[-1]
        number, *held = state if isinstance(state, tuple) else (state,)
        held += [only for (only,) in chunk]
        outputs: list[int] = []
        while len(held) >= self.size:
            number = self.step(number, tuple(held[: self.size]))
            outputs.append(number)
            held = held[self.hop :]
        return tuple(outputs), (number, *held) if held else number

    def ends(self, seq: int, steps: int) -> list[int]:
        """The steps after which a frame was complete, behind ``seq`` up to ``steps``."""
        return [step for step in range(self.size, steps + 1, self.hop) if step > seq]

    def num_held(self, steps: int) -> int:
        """Of so many steps those of a frame that is not complete."""
        return steps - self.hop * len(self.ends(0, steps))

    def network(self) -> Network:
        """The same as a graph that takes a step at a time."""
        x, state, y = "x", self.state_name, "y"
        width = self.size or self.num_features
        constants = {
            "row": np.array([[*FACTORS[:width]]], np.int64),
            "factor": np.array(self.factor, np.int64),
            "addend": np.array(self.addend, np.int64),
            "modulus": np.array(MODULUS, np.int64),
            "one": np.array([1], np.int64),
            **({"two": np.array([2], np.int64)} if self.hop else {}),
        }
        nodes = [
            *([helper.make_node("Squeeze", [x, "two"], ["row_of_frame"])] if self.hop else []),
            helper.make_node("Cast", ["row_of_frame" if self.hop else x], ["whole"], to=TensorProto.INT64),
            helper.make_node("Mul", ["whole", "row"], ["mixed"]),
            helper.make_node("ReduceSum", ["mixed", "one"], ["sum"], keepdims=1),
            helper.make_node("Mul", [state, "factor"], ["scaled"]),
            helper.make_node("Add", ["scaled", "sum"], ["both"]),
            helper.make_node("Add", ["both", "addend"], ["all"]),
            helper.make_node("Mod", ["all", "modulus"], [f"{state}_n"]),
            helper.make_node("Cast", [f"{state}_n"], [y], to=TensorProto.FLOAT),
        ]
        features = tuple(f"x{place}" for place in range(width))
        shape: Any = ("B", width, 1) if self.hop else ("B", width)
        inputs = (Input(name=x, dtype="float32", shape=shape, features=features),)
        outputs = (Output(name=y, dtype="float32", shape=("B", 1), features=("y",)),)
        states = (State(name=state, input=state, output=f"{state}_n", shape=("B", 1), dtype="int64"),)

        def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
            rows = [self.fold(0, tuple(tuple(map(int, step)) for step in sequence)) for sequence in sequences]
            folded = np.array(rows, np.int64)[:, :, None]
            return folded.astype(np.float32), {state: folded[:, -1]}

        made = build_network(self.model, nodes, inputs, outputs, states, constants, reference)
        feedback = {"y": "x0"} if self.can_forecast else {}
        if self.hop:
            steps = (Input(name=x, dtype="float32", shape=("B", "T", 1), features=("x0",)),)
            framing = Framing(window=self.size, hop=self.hop, begin="full" if self.overlap else "zeros")
            return made.named(self.model, self.version, inputs=steps, framing=framing)
        return made.named(self.model, self.version, feedback=feedback, keep_inputs=self.keep_inputs)


KINDS = {
    (kind.model, kind.version): kind
    for kind in (
        Kind("narrow", "1", 1, 1_664_525, 1_013_904, can_forecast=True, keep_inputs=6),
        Kind("narrow", "2", 1, 1_103_515, 12_345, can_forecast=True, keep_inputs=9),
        Kind("wide", "1", 2, 6_364_136, 1_442_695, can_forecast=False),
        Kind("panel", "1", 3, 2_862_933, 3_037_000, can_forecast=True, num_context=3),
        Kind("framed", "1", 1, 3_202_034, 1_059_443, can_forecast=False, hop=3),
        Kind("sliding", "1", 1, 2_147_001, 6_113_303, can_forecast=False, hop=2, overlap=1),
    )
}
"""Models of different widths, two that answer frames, and two versions of one: a session opened anew as another is
seen.
"""

WIDTHS = {model: kind.num_features for (model, _), kind in KINDS.items()}
LATEST = {"narrow": "2", "wide": "1", "panel": "1", "framed": "1", "sliding": "1"}
CONTEXT_SIZES = {model: kind.num_context for (model, _), kind in KINDS.items()}


def write_repository(folder: Path) -> None:
    """Lay all of them into a repository."""
    generator = np.random.default_rng(0)
    for kind in KINDS.values():
        if kind.num_context:
            panel.network(FACTORS, kind.factor, kind.addend, MODULUS, kind.version).write(folder)
            continue
        kind.network().write(
            folder, generator.integers(0, 1000, (3, 1, kind.size or kind.num_features)).astype(np.float32)
        )
