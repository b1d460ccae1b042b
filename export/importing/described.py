"""Description of a foreign graph for a manifest: its inputs, outputs and states, and the graph with just these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.sequence import SequenceContract
from ostinato.export.errors import ExportError
from ostinato.export.framing import frame_graph, steps_shape
from ostinato.export.graphs.tidy import tidy
from ostinato.export.importing.beginnings import first_row
from ostinato.export.importing.boundary import ServedTensor, begin_with, count_steps, serve_edges
from ostinato.export.importing.chosen import choose
from ostinato.export.importing.finding import Finding, ImportHints
from ostinato.export.importing.found import FileSummary, FoundTensor
from ostinato.export.importing.layouts import normal, timed
from ostinato.export.importing.network import ForeignModule, ForeignNetwork, FramedNetwork, Network
from ostinato.export.importing.opened import opened
from ostinato.export.importing.ports import valid_names
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Constant, Input, Output, State, Statistics

_LEAST_EXAMPLES = 2


class Described:
    """A finding in the manifest's words.

    Attributes:
        finding: what is described.
        given, context: inputs as the manifest has them; with framing those of a step.
        made: outputs in the same way.
        states: in order; with framing the past of each input behind the others.
    """

    def __init__(self, finding: Finding, hints: ImportHints) -> None:
        self.finding = finding
        self._hints = hints
        self.framing: Framing | None = finding.framing
        pairs, layout = finding.state_names, finding.layout
        fed = [port.name for port in finding.fed]
        self._served = valid_names([port.name for port in (*finding.inputs, *finding.outputs)])
        carried = pairs if finding.streams else {}
        self._begun = {} if finding.streams else {name: self._row(name) for name in pairs}
        self.inputs = [ServedTensor(name, self._served[name], layout.roles[name]) for name in (*fed, *carried)]
        self._counted = finding.lengths
        self.lengths = ""
        if not finding.streams and layout.rows is None:
            given = [port for port in finding.lengths if port.sizes]
            self._counted = tuple(port for port in finding.lengths if port not in given[:1])
            self._take_lengths([port.name for port in given[:1]], len(fed))
        self.outputs = [
            ServedTensor(name, self._served[name], finding.surveyed.made[name])
            for name in (*finding.shown, *carried.values())
        ]
        parts = [self._input(edge) for edge in self.inputs[: len(fed)]]
        is_timed = any(part.time_axis is not None for part in parts)
        self.given = tuple(part for part in parts if part.time_axis is not None or not is_timed)
        self.context = tuple(part for part in parts if part.time_axis is None and is_timed)
        self.made = tuple(self._output(edge) for edge in self.shown_edges)
        self.states = tuple(self._state(given, made) for given, made in carried.items()) + self._pasts

    def _take_lengths(self, names: Sequence[str], place: int) -> None:
        """Have the lengths of whole sequences given to the graph, behind what is fed."""
        for name in names:
            self.lengths = self._served[name]
            self.inputs.insert(place, ServedTensor(name, self.lengths, ("B",)))

    def _row(self, name: str) -> NDArray[Any]:
        """What one row of a state begins with."""
        state = self._state(name, self.finding.state_names[name])
        return state.initial_row()

    @property
    def constants(self) -> tuple[Constant, ...]:
        """As the manifest has them."""
        return tuple(
            Constant.model_validate({"name": self._served[name], "dtype": array.dtype.name, "value": array.tolist()})
            for name, array in self.finding.constants.items()
        )

    @property
    def shown_edges(self) -> list[ServedTensor]:
        """Outputs that are answers."""
        return self.outputs[: len(self.finding.shown)]

    @property
    def served_name(self) -> Mapping[str, str]:
        """Name in the file -> name in the manifest."""
        return self._served

    def network(self, session: Any, rows: int | None, in_file: Mapping[str, str] | None = None) -> Network:
        """A graph of the file's inputs and outputs, given what the manifest's graph is given."""
        network = ForeignNetwork(
            session,
            {edge.name: edge.roles for edge in self.inputs},
            [(edge.name, edge.roles) for edge in self.outputs],
            rows,
            self.finding.constants,
            self._counted,
            {name: (self.finding.layout.roles[name], row) for name, row in self._begun.items()},
            in_file,
        )
        if self.framing is None:
            return network
        windows = [self._window_axes(edge) for edge in self.inputs[: len(self.finding.fed)]]
        return FramedNetwork(network, windows, len(self.made), len(self.finding.pairs), self.framing)

    def file_network(self, session: Any) -> ForeignNetwork:
        """The file as it is over whole runs, given what is fed; its answers alone."""
        origin = self.finding.of_file
        begun = {pair.given: pair.given for pair in origin.pairs}
        return ForeignNetwork(
            session,
            {edge.name: edge.roles for edge in self.inputs[: len(self.finding.fed)]},
            [(edge.name, edge.roles) for edge in self.shown_edges],
            self.finding.rows_of_file,
            self.finding.constants,
            self.finding.lengths,
            {name: (origin.layout.roles[name], self._row(name)) for name in begun},
            self.shown_before,
        )

    @property
    def shown_before(self) -> dict[str, str]:
        """Outputs that were added, and what of the file they show."""
        return {f"{pair.made}_shown": pair.made for pair in self.finding.pairs}

    def contract(self, network: Network) -> Contract:
        """The network as the exporter proves it: of frames, where there is framing."""
        given, made = self.given, self.made
        if self.framing is not None:
            given = tuple(self.framing.frame_of(part) for part in given)
            made = tuple(self.framing.answer_of(part) for part in made)
        module = ForeignModule(network, self.states)
        return Contract(module, given, made, self.states, self.context, (), self.constants, self._num_weights)

    @property
    def _num_weights(self) -> int:
        model = self.finding.model
        nodes = ir.traversal.RecursiveGraphIterator(model.graph)  # a branch has weights of its own
        constants = (node.attributes.get("value") for node in nodes if node.op_type == "Constant")
        weights = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
        sizes = [weight.size for weight in weights if weight is not None]
        return sum(sizes) + sum(each.as_tensor().size for each in constants if each is not None)

    def sequence_contract(self, network: Network) -> SequenceContract:
        """The network over whole sequences as the exporter proves it."""
        module: Any = ForeignModule(network, ())
        return SequenceContract(module, self.given, self.context, self.lengths, self.made, constants=self.constants)

    def graph(self) -> ir.Model:
        """The graph with the inputs and outputs of the manifest."""
        finding = self.finding
        model = opened(finding.model, finding.layout.roles)
        choose(model, finding.constants)
        fed = [port.name for port in finding.fed]
        fed_roles = {name: finding.layout.roles[name] for name in fed}
        for port in self._counted:
            count_steps(model, port, *timed(fed_roles))
        for name, row in self._begun.items():
            begin_with(model, name, row, finding.layout.roles[name], timed(fed_roles))
        serve_edges(model, self.inputs, self.outputs, finding.layout.rows, list(finding.constants))
        shapes: list[tuple[str, tuple[int | str, ...]]] = [(edge.served, edge.shape) for edge in self.inputs]
        shapes += [(self._served[name], tuple(array.shape)) for name, array in finding.constants.items()]
        tidy(model, shapes, [(edge.served, edge.shape) for edge in self.outputs], "step")
        if self.framing is not None:
            windows = {edge.served: self._window_axes(edge) for edge in self.inputs[: len(fed)] if "W" in edge.roles}
            frame_graph(model, windows, self.framing)
        return model

    def found(self, source: str) -> FileSummary:
        """All of it, in words."""
        finding = self.finding
        pairs = {name: pair for pair in finding.pairs for name in (pair.given, pair.made)}
        tensors = []
        context = {part.name for part in self.context}
        for edge in self.inputs:
            role = "state" if edge.name in pairs else "context" if edge.served in context else "input"
            role = "lengths" if edge.served == self.lengths else role
            how = f"carried by {pairs[edge.name].made}: {pairs[edge.name].how}" if edge.name in pairs else ""
            tensors.append(self._found(edge, role, how or finding.layout.how.get(edge.name, "")))
        for name, array in finding.constants.items():
            tensors.append(
                FoundTensor(name, "constant", finding.port(name).words, self._served[name], "", str(array.tolist()))
            )
        by_name = "by its name: how many steps there are"
        tensors += [FoundTensor(port.name, "lengths", port.words, "", "", by_name) for port in self._counted]
        tensors += [self._found(edge, "next state" if edge.name in pairs else "output", "") for edge in self.outputs]
        return FileSummary(
            source,
            "recurrent" if finding.streams else "sequence",
            tuple(tensors),
            tuple((pair.given, pair.made, pair.how) for pair in finding.pairs),
            finding.rewired,
            finding.obstacles,
            finding.notes,
            self._serving(),
        )

    def _serving(self) -> tuple[str, ...]:
        finding, rows = self.finding, self.finding.layout.rows
        if not finding.streams:
            return ("it answers whole sequences (predict), and has no sessions",)
        words = []
        if rows is not None:
            takes = (
                f"the file takes a batch of {finding.fixed_rows}" if finding.fixed_rows else "its rows share no runs"
            )
            takes = takes if rows else "the file takes no batch"
            words.append(f"{takes}: each session's row is computed by itself, within one run of them all")
        if not finding.layout.has_steps:
            words.append("a step a run" if self.framing is None else f"a frame of {self.framing.size} steps a run")
        if self.framing is not None:
            first = "zeros before the first step" if self.framing.begin == "zeros" else "the first is a whole one"
            words.append(f"windows of {self.framing.window} steps, one every {self.framing.hop}; {first}")
        return tuple(words)

    def _found(self, edge: ServedTensor, role: str, how: str) -> FoundTensor:
        sizes = {"W": self.finding.layout.window}
        axes = f"[{', '.join(str(sizes.get(str(axis), axis)) for axis in edge.shape)}]"
        return FoundTensor(edge.name, role, self._declared(edge.name), edge.served, axes, how)

    def _declared(self, name: str) -> str:
        """What the file itself says of an input or output."""
        known = {port.name: port for port in (*self.finding.of_file.inputs, *self.finding.of_file.outputs)}
        return known[name].words if name in known else "not in the file"

    def _input(self, edge: ServedTensor) -> Input:
        shape = edge.shape
        if self.framing is not None:
            if "W" not in edge.roles:
                raise ExportError(
                    f"input {edge.name!r} has no axis of {self.framing.window} steps, the window that --framing says"
                )
            shape = steps_shape(self._window_axes(edge))
        count = _count(shape)
        features = self._hints.features
        names = tuple(f"{edge.served}_{place}" for place in range(count))
        if features and len(self.finding.fed) == 1:
            if len(features) != count:
                raise ExportError(
                    f"--features: a step of {edge.name!r} has {count} numbers, and there are {len(features)} names"
                )
            names = features
        content = {
            "name": edge.served,
            "dtype": self.finding.port(edge.name).dtype,
            "shape": shape,
            "features": names,
            "num_codes": self.finding.codes.get(edge.name),
            "statistics": self._statistics(edge, count),
        }
        return Input.model_validate(content)

    def _statistics(self, edge: ServedTensor, count: int) -> Statistics | None:
        """What each number of a step is like in the examples."""
        example = self._hints.examples.get(edge.name)
        if example is None or self.finding.port(edge.name).dtype == "bool":
            return None
        sizes = [axis for axis, role in enumerate(edge.roles) if isinstance(role, int)]
        if example.ndim != len(edge.roles) or any(example.shape[axis] != edge.roles[axis] for axis in sizes):
            raise ExportError(
                f"the example of {edge.name!r} has shape {list(example.shape)}, and the input {list(edge.roles)}"
            )
        rows = np.moveaxis(example, sizes, range(-len(sizes), 0)).reshape(-1, count).astype(np.float64)
        if len(rows) < _LEAST_EXAMPLES or not np.isfinite(rows).all():
            return None
        low, high = rows.min(axis=0), rows.max(axis=0)
        return Statistics(
            mean=tuple(rows.mean(axis=0).tolist()),
            std=tuple(rows.std(axis=0).tolist()),
            minimum=tuple(low.tolist()),
            maximum=tuple(high.tolist()),
        )

    def _output(self, edge: ServedTensor) -> Output:
        shape, per_frame = edge.shape, 1
        if self.framing is not None:
            shape, per_frame = _per_frame(shape, self.framing)
        names = tuple(f"{edge.served}_{place}" for place in range(_count(shape)))
        dtype = self.finding.port(edge.name).dtype
        content = {"name": edge.served, "dtype": dtype, "shape": shape, "features": names, "per_frame": per_frame}
        return Output.model_validate(content)

    def _state(self, given: str, made: str) -> State:
        roles, dtype = self.finding.layout.roles[given], self.finding.port(given).dtype
        content = {
            "name": self._served[given],
            "input": self._served[given],
            "output": self._served[made],
            "shape": normal(roles),
            "dtype": dtype,
            "initial": _short(first_row(self.finding.initial.get(given), given, roles, dtype)),
        }
        return State.model_validate(content)

    @property
    def _pasts(self) -> tuple[State, ...]:
        """What windows share with those before them, as ``frame_graph`` makes it."""
        if self.framing is None or not self.framing.past:
            return ()
        return tuple(
            State.model_validate(
                {
                    "name": f"{part.name}_past",
                    "input": f"{part.name}_past",
                    "output": f"{part.name}_past_next",
                    "shape": ("B", self.framing.past, *part.row_shape),
                    "dtype": part.dtype,
                    "bounded": True,
                }
            )
            for part in self.given
        )

    def _window_axes(self, edge: ServedTensor) -> tuple[int | str, ...]:
        """Of a graph that is given windows, an input's axes once it is served."""
        return edge.shape


def _count(shape: Sequence[int | str]) -> int:
    return math.prod(size for size in shape if isinstance(size, int))


def _per_frame(shape: tuple[int | str, ...], framing: Framing) -> tuple[tuple[int | str, ...], int]:
    """An output of frames as the manifest has it: several rows for a frame are steps of their own."""
    sizes = [axis for axis, size in enumerate(shape) if isinstance(size, int)]
    first = shape[sizes[0]] if sizes else 1
    assert isinstance(first, int)
    is_rows = first > 1 and (first == framing.hop or (len(sizes) > 1 and sizes[0] == 1 and framing.hop % first == 0))
    if not is_rows:
        return shape, 1
    return (*shape[: sizes[0]], "T", *shape[sizes[0] + 1 :]), first


def _short(row: NDArray[Any]) -> Any:
    """A row as a manifest has it: one number, where it is that all over."""
    return row.ravel()[0].item() if row.size and (row == row.ravel()[0]).all() else row.tolist()
