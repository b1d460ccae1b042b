"""Foreign: somebody else's graph, what stands in it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = dict[str, Array]
Axes: TypeAlias = dict[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class Foreign:
    """A graph and the truth about it.

    model: as the exporter writes it: nothing in it says what a state is, where time is, or what is fixed for no reason.
    axes: of each input, output and state in the graph, what its axes are: "B", "T", or the number that has to stay.
    rows: of each input that is a sequence, the shape of a step; ``draw`` makes some.
    truth: ``{input: [B, T, *rows]} -> {output: [B, T, *row]}``, in float64 by the framework's equations; ``[B, *row]``
        of an output that is one answer for the whole. A graph of windows answers once in ``framing[1]`` steps.
    states: pairs that stand in the graph; a graph without is rewired, and then has ``hidden`` states.
    initial: of a state that does not begin with zeros, its first row.
    constants: inputs that are no sequence, and what they are.
    codes: of an integer input, how many codes there are.
    task: ``sequence``, where no streaming can be.
    framing: window and hop of a graph that takes windows, in steps.
    fixed: axes that the graph has fixed without need: ``{"B": 1, "T": 28}``. Where it cannot do otherwise, the number
        stands in ``axes``.
    """

    model: onnx.ModelProto
    axes: Mapping[str, tuple[int | str, ...]]
    rows: Mapping[str, tuple[int, ...]]
    truth: Callable[[Arrays], Arrays]
    states: Mapping[str, str] = field(default_factory=dict)
    hidden: int = 0
    initial: Mapping[str, float] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    task: Literal["recurrent", "sequence"] = "recurrent"
    framing: tuple[int, int] | None = None
    fixed: Mapping[str, int] = field(default_factory=dict)

    def draw(self, batch: int, steps: int, seed: int = 0) -> Arrays:
        """Sequences to try it with, ``{input: [B, T, *row]}``."""
        generator = np.random.default_rng(seed)

        dtypes = {
            part.name: onnx.helper.tensor_dtype_to_np_dtype(part.type.tensor_type.elem_type)
            for part in self.model.graph.input
        }

        def drawn(name: str) -> Array:
            shape = (batch, steps, *self.rows[name])
            if name in self.codes:
                return generator.integers(0, self.codes[name], shape).astype(dtypes[name])
            return generator.normal(size=shape).astype(dtypes[name])

        return {name: drawn(name) for name in self.rows}
