"""Finding of a foreign graph: what it carries, what its axes are, whether it streams; and what a user says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.importing.layouts import AxisLayout
from ostinato.export.importing.pairs import Pair
from ostinato.export.importing.ports import Port
from ostinato.export.importing.survey import Survey, Surveyed
from ostinato.service.artifact.framing import Framing


@dataclass(frozen=True)
class ImportHints:
    """What the user says of a graph, where it is not found, or found wrongly; see ``import_graph``."""

    states: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    axes: Mapping[str, Sequence[str | int]] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    framing: Framing | None = None
    examples: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A graph and what was found of it.

    Attributes:
        model: the file's, with states where it was rewired.
        fed: inputs of the steps, and what a sequence has once.
        lengths: inputs for how many steps a sequence has.
        pairs: of states; ``initial`` what they begin with, by input, where that is not zeros.
        surveyed: its axes.
        survey: how it was run.
        constants: inputs that are the same in every run.
        framing: of a graph that is given windows, or frames of several steps.
        said_axes: whether the user said what axes are.
        origin: what was found of the file's own graph, where this one was rewired.
        rewired, obstacles, notes: sentences.
    """

    model: ir.Model
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    fed: tuple[Port, ...]
    lengths: tuple[Port, ...]
    pairs: tuple[Pair, ...]
    initial: Mapping[str, NDArray[Any]]
    surveyed: Surveyed
    survey: Survey
    constants: Mapping[str, NDArray[Any]]
    codes: Mapping[str, int]
    origin: Finding | None = None
    framing: Framing | None = None
    said_axes: bool = False
    rewired: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether it can be served in sessions."""
        return bool(self.pairs or self.slides) and not self.obstacles

    @property
    def slides(self) -> bool:
        """Whether it is given windows that share steps: what a session then carries is the past of its window."""
        return self.framing is not None and self.framing.past > 0

    @property
    def state_names(self) -> dict[str, str]:
        """Input of a state -> its output."""
        return {pair.given: pair.made for pair in self.pairs}

    @property
    def layout(self) -> AxisLayout:
        """The axes of the inputs."""
        return self.surveyed.layout

    @property
    def shown(self) -> list[str]:
        """Outputs that are answers."""
        return [name for name in self.surveyed.made if name not in self.state_names.values()]

    @property
    def of_file(self) -> Finding:
        """What was found of the file's own graph."""
        return self.origin or self

    @property
    def fixed_rows(self) -> int:
        """The batch that the file says; 0 = none, or it is open."""
        fixed = [self._size_of(name, "B") for name, roles in self.of_file.layout.roles.items() if "B" in roles]
        return max([size for size in fixed if isinstance(size, int)], default=0)

    @property
    def rows_of_file(self) -> int | None:
        """The batch that the file takes; None = any."""
        return self.fixed_rows or self.layout.rows

    @property
    def steps_of_file(self) -> int | None:
        """The steps that the file takes in each run; None = any."""
        fixed = [self._size_of(name, "T") for name, roles in self.of_file.layout.roles.items() if "T" in roles]
        return next((size for size in fixed if isinstance(size, int)), None)

    def _size_of(self, name: str, symbol: str) -> int | str | None:
        port = self.of_file.port(name)
        return None if port.sizes is None else port.sizes[self.of_file.layout.roles[name].index(symbol)]

    def port(self, name: str) -> Port:
        """An input or output."""
        return next(port for port in (*self.inputs, *self.outputs) if port.name == name)


def nothing_carried(found: Finding) -> str:
    """Why a graph does not stream in which no state was found, with the ways out."""
    if not found.layout.has_steps:
        return (
            "no output is the next value of an input: nothing is carried from step to step. Say the states with "
            "--state IN=OUT; of a graph that is given windows, --framing WINDOW:HOP; where an axis has the steps, "
            f"{_with_steps_said(found)}; a cell that begins with zeros inside, export with its states in and out"
        )
    return found.surveyed.carries or "nothing in the graph is carried from step to step"


def _with_steps_said(found: Finding) -> str:
    """The option that says that an axis has the steps, of an input as the file has it."""
    port = max(found.fed, key=lambda each: len(each.known_sizes))
    sizes = [str(size) for size in port.known_sizes]
    roles = ["B", "T", *sizes[2:]] if len(sizes) > len("TF") else ["T", *sizes[1:]]
    return f"--axes {port.name}={','.join(roles)}"
