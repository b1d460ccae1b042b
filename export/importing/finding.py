"""Finding out what a foreign graph carries, what its axes are, and whether it streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.export.graphs.rewired import rewire
from ostinato.export.importing.codes import find_num_codes
from ostinato.export.importing.constants import constant_of_port, find_constants
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.flow import Flow
from ostinato.export.importing.layouts import AxisLayout, likely_layouts, normal
from ostinato.export.importing.names import sounds_like_lengths
from ostinato.export.importing.opened import opened
from ostinato.export.importing.pairs import Pair, find_pairs
from ostinato.export.importing.ports import Port, ports_of
from ostinato.export.importing.survey import Drawer, Survey, Surveyed, Unfit
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import State

_MAX_TRIED = 24
"""Layouts that are tried before a graph is given up."""


@dataclass(frozen=True)
class Wishes:
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
    rewired: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether it can be served in sessions."""
        return bool(self.pairs) and not self.obstacles

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

    def port(self, name: str) -> Port:
        """An input or output."""
        return next(port for port in (*self.inputs, *self.outputs) if port.name == name)


def find(model: ir.Model, wishes: Wishes, bench: Workbench) -> Finding:
    """What a graph carries and is given, found by names, by what it does, and by runs.

    Args:
        model: is changed where it has inputs with a default.

    Raises:
        ExportError: something is not clear, or nothing that was tried runs; says what to say.
    """
    notes = _without_defaults(model, wishes)
    inputs, outputs = ports_of(model)
    _check_names(inputs, outputs, wishes)
    constants = {name: constant_of_port(inputs, name, given) for name, given in wishes.constants.items()}
    fed_names = (*wishes.inputs, *constants)
    pairs = find_pairs(Flow(model.graph), inputs, outputs, wishes.states, fed_names)
    states = {pair.given for pair in pairs}
    lengths = tuple(
        port
        for port in inputs
        if port.name not in {*states, *constants, *wishes.inputs}
        and "int" in port.dtype
        and sounds_like_lengths(port.name)
        and len(port.sizes or ()) <= 1
    )
    fed = [port for port in inputs if port.name not in {*states, *constants, *(each.name for each in lengths)}]
    numbers = [port for port in fed if port.sizes == () and port.name not in wishes.inputs]
    fed = [port for port in fed if port not in numbers]
    if not fed:
        raise ExportError("every input of the graph is a state or a constant: nothing is fed to it at each step")
    finding = _Finder(model, inputs, outputs, tuple(fed), lengths, tuple(pairs), wishes, bench)
    for tried in find_constants(model, numbers):
        found = finding.look({**constants, **tried.values})
        if found is not None and tried.is_settled(lambda values: finding.answers({**constants, **values})):
            return replace(found, notes=(*notes, *tried.notes, *found.notes))
    raise finding.error()


def _without_defaults(model: ir.Model, wishes: Wishes) -> list[str]:
    """Take inputs with a default, which they then are in every run, out of the graph; states begin with theirs."""
    notes = []
    for value in list(model.graph.inputs):
        name = value.name or ""
        if not value.is_initializer() or name in {*wishes.states, *wishes.inputs, *wishes.constants}:
            continue
        model.graph.inputs.remove(value)
        if value.uses() and value.const_value is not None and value.const_value.size <= 16:
            notes.append(
                f"input {name!r} has a default, {value.const_value.numpy().tolist()}, which it is in every run"
            )
    return notes


def _check_names(inputs: Sequence[Port], outputs: Sequence[Port], wishes: Wishes) -> None:
    known = {port.name for port in (*inputs, *outputs)}
    given = {port.name for port in inputs}
    for option, names, among in (
        ("--input", wishes.inputs, given),
        ("--axes", wishes.axes, known),
        ("--constant", wishes.constants, given),
    ):
        for name in names:
            if name not in among:
                raise ExportError(f"{option} {name}: the graph has no such input; it has {', '.join(sorted(among))}")


class _Finder:
    """A graph whose states are known, while its axes are looked for."""

    def __init__(
        self,
        model: ir.Model,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        fed: tuple[Port, ...],
        lengths: tuple[Port, ...],
        pairs: tuple[Pair, ...],
        wishes: Wishes,
        bench: Workbench,
    ) -> None:
        self._model = model
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._fed, self._lengths, self._pairs = fed, lengths, pairs
        self._wishes, self._bench = wishes, bench
        self._codes = find_num_codes(model)
        self._reasons: list[str] = []
        self._found: Finding | None = None

    def error(self) -> ExportError:
        """Why nothing was found."""
        return ExportError(f"{self._reasons[0] if self._reasons else 'its axes are not clear'}; say them with --axes")

    def look(self, constants: Mapping[str, NDArray[Any]]) -> Finding | None:
        """The first likely axes with which the graph runs and streams, or runs; None where none do."""
        session = self._bench.open(opened(self._model, [*self._fed, *self._states]))
        runs: list[Finding] = []
        for count, layout in enumerate(self._layouts()):
            if count == _MAX_TRIED:
                break
            survey = self._survey(session, constants)
            try:
                surveyed = survey.look(layout)
            except Unfit as error:
                self._reasons.append(str(error))
                continue
            found = self._finding(survey, surveyed, constants)
            if self._pairs and not surveyed.carries:
                self._found = found
                return found
            runs.append(found)
        for found in runs:
            made = self._rewired(found)
            if made.streams:
                self._found = made
                return made
        self._found = self._rewired(runs[0]) if runs else None
        return self._found

    def answers(self, constants: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
        """What the graph answers with other constants, to what it was asked before; None where it fails."""
        assert self._found is not None
        session = self._bench.open(opened(self._model, [*self._fed, *self._states]))
        try:
            return self._survey(session, constants).answers(self._found.layout)
        except Unfit:
            return None

    @property
    def _states(self) -> list[Port]:
        names = {pair.given for pair in self._pairs}
        return [port for port in self._inputs if port.name in names]

    def _layouts(self) -> Any:
        return likely_layouts(self._fed, self._states, self._wishes.axes, self._wishes.framing)

    def _survey(self, session: Any, constants: Mapping[str, NDArray[Any]]) -> Survey:
        drawer = Drawer({port.name: port for port in self._inputs}, self._codes, self._initial(), self._wishes.examples)
        states = {pair.given: pair.made for pair in self._pairs}
        outputs = [port.name for port in self._outputs]
        return Survey(session, drawer, states, outputs, constants, [(port.name, port) for port in self._lengths])

    def _initial(self) -> dict[str, NDArray[Any]]:
        """What states begin with, by input, where it is said."""
        said = {**{pair.given: self._wishes.examples.get(pair.given) for pair in self._pairs}, **self._wishes.initial}
        return {name: np.asarray(given) for name, given in said.items() if given is not None}

    def _finding(self, survey: Survey, surveyed: Surveyed, constants: Mapping[str, NDArray[Any]]) -> Finding:
        return Finding(
            self._model,
            self._inputs,
            self._outputs,
            self._fed,
            self._lengths,
            self._pairs,
            self._initial(),
            surveyed,
            survey,
            constants,
            self._codes,
            obstacles=(surveyed.carries,) if surveyed.carries and self._pairs else (),
            notes=surveyed.notes,
        )

    def _rewired(self, found: Finding) -> Finding:
        """The same of the graph with states for what it begins anew in each run."""
        layout = found.layout
        if not layout.has_steps or layout.rows is not None:
            return replace(found, obstacles=found.obstacles or (_nothing_carried(found),))
        known = [self._state_of(pair, layout) for pair in self._pairs]
        axes = {
            name: (roles.index("B") if "B" in roles else None, roles.index("T") if "T" in roles else None)
            for name, roles in layout.roles.items()
            if name not in found.state_names
        }
        made = rewire(self._model, axes, constants=found.constants, states=known)
        if made.obstacles or not (made.states or self._pairs):
            obstacles = tuple(map(str, made.obstacles)) or (_nothing_carried(found),)
            return replace(found, obstacles=obstacles)
        return self._with_states(found, made.model, made.states, made.words)

    @staticmethod
    def _state_of(pair: Pair, layout: AxisLayout) -> State:
        shape = normal(layout.roles[pair.given])
        return State.model_validate(
            {"name": pair.given, "input": pair.given, "output": pair.made, "shape": shape, "dtype": "float32"}
        )

    def _with_states(self, found: Finding, model: ir.Model, states: Sequence[State], words: Sequence[str]) -> Finding:
        known = {pair.given for pair in self._pairs}
        added = [state for state in states if state.input not in known]
        inputs, outputs = ports_of(model)
        pairs = (*self._pairs, *(Pair(state.input, state.output, "rewired") for state in added))
        roles = {**found.layout.roles, **{state.input: state.shape for state in added}}
        initial = {state.input: state.initial_row() for state in added if np.any(state.initial_row())}
        finder = _Finder(
            model, inputs, outputs, self._fed, self._lengths, pairs,
            replace(self._wishes, initial={**self._wishes.initial, **initial}), self._bench,
        )  # fmt: skip
        session = self._bench.open(model)
        survey = finder._survey(session, found.constants)
        try:
            surveyed = survey.look(replace(found.layout, roles=roles))
        except Unfit as error:
            return replace(found, obstacles=(str(error),))
        made = finder._finding(survey, surveyed, found.constants)
        if surveyed.carries:
            return replace(found, obstacles=(surveyed.carries,))
        return replace(made, rewired=tuple(words), obstacles=())


def _nothing_carried(found: Finding) -> str:
    if not found.layout.has_steps:
        return (
            "no output is the next value of an input: nothing is carried from step to step. Say the states with "
            "--state IN=OUT, or, of a graph that is given windows, --framing WINDOW:HOP"
        )
    return found.surveyed.carries or "nothing in the graph is carried from step to step"
