"""The finder of a foreign graph's states and axes: by names, by what the graph does, and by runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.export.graphs.rewired import rewire
from ostinato.export.importing.codes import find_num_codes, shares_a_scale
from ostinato.export.importing.constants import constant_of_port, find_constants
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.finding import Finding, ImportHints, nothing_carried
from ostinato.export.importing.flow import RECURRENT, Flow
from ostinato.export.importing.layouts import AxisLayout, AxisRole, likely_layouts, normal, one_at_a_time
from ostinato.export.importing.names import EXACT, LETTERS, likeness, sounds_like_lengths
from ostinato.export.importing.opened import opened
from ostinato.export.importing.pairs import Pair, find_pairs
from ostinato.export.importing.ports import Port, ports_of
from ostinato.export.importing.survey import Drawer, Survey, Surveyed, Unfit
from ostinato.service.artifact.tensors import State

_SMALL, _FEW = 16, 8
"""Numbers of a default that is told, and defaults that are: more are weights."""
_MAX_TRIED, _MAX_REWIRED = 24, 4
"""Layouts that are tried before a graph is given up, and that it is rewired for."""


class AnswersOnce(ExportError):
    """A graph answers once in ``rate`` steps."""

    def __init__(self, reason: str, rate: int) -> None:
        super().__init__(reason)
        self.rate = rate


def find_streams(model: ir.Model, hints: ImportHints, bench: Workbench) -> Finding:
    """What a graph carries and is given, as its steps are in the file, or as the hints say.

    Args:
        model: is changed where it has inputs with a default.

    Raises:
        ExportError: something is not clear, or nothing that was tried runs; ``AnswersOnce`` where it has a rate.
    """
    notes: list[str] = []
    inputs, outputs = _without_weights(model, hints)
    _check_names(inputs, outputs, hints)
    constants = {name: constant_of_port(inputs, name, given) for name, given in hints.constants.items()}
    known = {*constants, *hints.inputs, *hints.states}
    lengths = tuple(port for port in inputs if port.name not in known and _are_lengths(port, outputs))
    fed_names = (*hints.inputs, *constants, *(port.name for port in lengths))
    flow = Flow(model.graph)
    pairs = find_pairs(flow, inputs, outputs, hints.states, fed_names)
    if pairs and len(pairs) == len(outputs):  # what it answers is what it carries
        _show(model, pairs[0].made)
        inputs, outputs = ports_of(model)
        flow = Flow(model.graph)
    states = {pair.given for pair in pairs}
    notes += _without_defaults(model, [port for port in inputs if port.name not in states | known])
    inputs = [port for port in inputs if port.default is None or port.name in states | known]
    hints = replace(
        hints, initial=_begun(model, [port for port in inputs if port.name in states]) | dict(hints.initial)
    )
    flow = Flow(model.graph)
    fed = [port for port in inputs if port.name not in {*states, *constants, *(each.name for each in lengths)}]
    numbers = [port for port in fed if port.sizes == () and port.name not in hints.inputs]
    fed = [port for port in fed if port not in numbers]
    told = {port.name for port in lengths} | {*constants}
    outputs, dropped = _without_sizes(flow, inputs, outputs, told | {port.name for port in numbers}, pairs)
    notes += dropped
    if not fed:
        raise ExportError("every input of the graph is a state or a constant: nothing is fed to it at each step")
    finding = _Finder(model, inputs, outputs, tuple(fed), lengths, tuple(pairs), hints, bench)
    for tried in find_constants(model, numbers):
        found = finding.look({**constants, **tried.values})
        if found is not None and tried.is_settled(lambda values: finding.answers({**constants, **values})):
            return replace(found, notes=(*notes, *tried.notes, *found.notes))
    raise finding.error()


def _without_weights(model: ir.Model, hints: ImportHints) -> tuple[list[Port], list[Port]]:
    """The inputs and outputs of a graph without the weights that are inputs, too, as files of old have them all."""
    inputs, outputs = ports_of(model)
    said = {*hints.states, *hints.inputs, *hints.constants}
    for port in list(inputs):
        may_be_state = any(likeness(port.name, made.name) >= LETTERS for made in outputs)
        if port.default is not None and port.name not in said and not (may_be_state or port.default.size <= _SMALL):
            inputs.remove(port)
            model.graph.inputs.remove(model.graph.initializers[port.name])
    return inputs, outputs


def _without_defaults(model: ir.Model, ports: Sequence[Port]) -> list[str]:
    """Take inputs with a default, which they then are in every run, out of the graph."""
    notes = []
    for port in ports:
        if port.default is None:
            continue
        model.graph.inputs.remove(model.graph.initializers[port.name])
        notes.append(f"input {port.name!r} has a default, {port.default.tolist()}, which it is in every run")
    return notes if len(notes) <= _FEW else []


def _begun(model: ir.Model, states: Sequence[Port]) -> dict[str, Any]:
    """What states begin with whose inputs have a default; the graph no longer has it."""
    found = {port.name: port.default for port in states if port.default is not None}
    for name in found:
        del model.graph.initializers[name]
    return found


def _are_lengths(port: Port, outputs: Sequence[Port]) -> bool:
    """Whether an input says how many steps there are, and is not a count that goes on from step to step."""
    if "int" not in port.dtype or not sounds_like_lengths(port.name) or len(port.sizes or ()) > 1:
        return False
    return not any(made.dtype == port.dtype and likeness(port.name, made.name) == EXACT for made in outputs)


def _without_sizes(
    flow: Flow, inputs: Sequence[Port], outputs: Sequence[Port], told: set[str], pairs: Sequence[Pair]
) -> tuple[list[Port], list[str]]:
    """The outputs but for those that only say how many steps there are, as they were told; and what to say of them."""
    givens = [place for place, port in enumerate(inputs) if port.name not in told]
    carried = {pair.made for pair in pairs}
    kept = [
        port
        for made, port in enumerate(outputs)
        if port.name in carried or any(flow.depends(made, given) for given in givens)
    ]
    notes = [
        f"output {port.name!r} depends on nothing that is fed or carried: it is left out"
        for port in outputs
        if kept and port not in kept
    ]
    return kept or list(outputs), notes


def _show(model: ir.Model, name: str) -> None:
    """Make what is carried an answer, too."""
    value = next(value for value in model.graph.outputs if value.name == name)
    node = ir.node("Identity", [value])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = f"{name}_shown", value.type, value.shape
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])


def _check_names(inputs: Sequence[Port], outputs: Sequence[Port], hints: ImportHints) -> None:
    known = {port.name for port in (*inputs, *outputs)}
    given = {port.name for port in inputs}
    for option, names, among in (
        ("--input", hints.inputs, given),
        ("--axes", hints.axes, known),
        ("--constant", hints.constants, given),
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
        hints: ImportHints,
        bench: Workbench,
    ) -> None:
        self._model = model
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._fed, self._lengths, self._pairs = fed, lengths, pairs
        self._hints, self._bench = hints, bench
        self._codes = find_num_codes(model)
        self._reasons: list[str] = []
        self._rate = 0
        self._found: Finding | None = None

    def error(self) -> ExportError:
        """Why nothing was found."""
        reason = self._reasons[0] if self._reasons else "its axes are not clear"
        if self._rate and self._hints.framing is None:
            return AnswersOnce(reason, self._rate)
        return ExportError(f"{reason}; where its axes were taken for others than they are, say them with --axes")

    def look(self, constants: Mapping[str, NDArray[Any]]) -> Finding | None:
        """The first likely axes with which the graph runs and streams, or runs; None where none do."""
        session = self._bench.open(opened(self._model))
        runs: list[Finding] = []
        unfit: list[Finding] = []
        self._reasons.clear()
        for count, layout in enumerate(self._layouts()):
            if count == _MAX_TRIED:
                break
            survey = self._survey(session, constants)
            try:
                surveyed = survey.look(layout)
            except Unfit as error:
                self._reasons.append(str(error))
                self._rate = self._rate or error.rate
                if layout.has_steps and layout.rows is None:
                    unfit.append(self._finding(survey, Surveyed(layout, {}, str(error)), constants))
                continue
            found = self._finding(survey, surveyed, constants)
            if self._pairs and not surveyed.carries:
                self._found = self._told_alone(found)
                return self._found
            runs.append(found)
        made = (self._rewired(found) for found in runs)
        self._found = next((found for found in made if found.streams), None)
        if self._found is None:  # what begins with the states of one row runs for others when it is given them
            made = (self._rewired(found) for found in unfit[:_MAX_REWIRED])
            self._found = next((found for found in made if found.streams), None)
        if self._found is None and self._rate and self._hints.framing is None:
            return None  # what runs with its rows and steps exchanged is no answer to one that answers once in several
        if self._found is None and runs:
            self._found = self._rewired(runs[0])
        return self._found

    def _told_alone(self, found: Finding) -> Finding:
        """The same, with why the rows of a graph that takes any batch are run by themselves."""
        if found.layout.rows is None or found.fixed_rows or not self._reasons:
            return found
        return replace(found, notes=(*found.notes, f"{self._reasons[0]}: so each row is computed by itself"))

    def answers(self, constants: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
        """What the graph answers with other constants, to what it was asked before; None where it fails."""
        assert self._found is not None
        session = self._bench.open(opened(self._model))
        try:
            return self._survey(session, constants).answers(self._found.layout)
        except Unfit:
            return None

    @property
    def _states(self) -> list[Port]:
        names = {pair.given for pair in self._pairs}
        return [port for port in self._inputs if port.name in names]

    def _layouts(self) -> Iterator[AxisLayout]:
        frees = bool(self._pairs) or any(
            node.op_type in RECURRENT for node in ir.traversal.RecursiveGraphIterator(self._model.graph)
        )
        layouts = likely_layouts(self._fed, self._states, self._hints.axes, self._hints.framing, frees_steps=frees)
        if not shares_a_scale(self._model):
            return layouts
        return (one_at_a_time(layout, has_steps=not self._pairs) for layout in layouts)

    def _survey(self, session: Any, constants: Mapping[str, NDArray[Any]]) -> Survey:
        drawer = Drawer({port.name: port for port in self._inputs}, self._codes, self._initial(), self._hints.examples)
        states = {pair.given: pair.made for pair in self._pairs}
        outputs = [port.name for port in self._outputs]
        return Survey(session, drawer, states, outputs, constants, self._lengths)

    def _initial(self) -> dict[str, NDArray[Any]]:
        """What states begin with, by input, where it is said."""
        said = {**{pair.given: self._hints.examples.get(pair.given) for pair in self._pairs}, **self._hints.initial}
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
            framing=self._hints.framing,
            said_axes=bool(self._hints.axes),
        )

    def _rewired(self, found: Finding) -> Finding:
        """The same of the graph with states for what it begins anew in each run."""
        layout, framing = found.layout, self._hints.framing
        if framing is not None and framing.window > framing.hop:  # each window begins again, as in the file
            whole = (
                f"nothing but steps of windows is carried: say --framing {framing.window}:{framing.hop}, without full"
            )
            return found if found.slides else replace(found, obstacles=found.obstacles or (whole,))
        known = [self._state_of(pair, layout) for pair in self._pairs]
        steps = "W" if layout.window else "T"
        axes = {
            name: (roles.index("B") if "B" in roles else None, roles.index(steps) if steps in roles else None)
            for name, roles in layout.roles.items()
            if name not in found.state_names
        }
        sizes: dict[AxisRole, AxisRole] = {"B": layout.rows or "B", "W": layout.window}
        fixed = {name: tuple(sizes.get(role, role) for role in roles) for name, roles in layout.roles.items()}
        made = rewire(opened(self._model, fixed), axes, constants=found.constants, states=known)
        if made.obstacles or not (made.states or self._pairs):
            obstacles = tuple(map(str, made.obstacles)) or (nothing_carried(found),)
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
            replace(self._hints, initial={**self._hints.initial, **initial}), self._bench,
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
        return replace(made, rewired=tuple(words), obstacles=(), origin=found)
