"""Import of a foreign ONNX graph: what it carries is found, it is made to stream, and proved against the file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.contracts.contract import Contract
from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.files import save_graph
from ostinato.export.graphs.recurrent import StepGraph
from ostinato.export.graphs.tidy import tidy
from ostinato.export.importing.boundary import ServedTensor, serve_edges
from ostinato.export.importing.codes import find_num_codes
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.flow import Flow
from ostinato.export.importing.found import Found, FoundTensor
from ostinato.export.importing.layouts import likely_layouts
from ostinato.export.importing.network import ForeignModule
from ostinato.export.importing.pairs import find_pairs
from ostinato.export.importing.ports import Port, ports_of, valid_names
from ostinato.export.importing.survey import Drawer, Survey, Surveyed, Unfit
from ostinato.export.proofs.golden import golden_answers
from ostinato.export.proofs.promise import recurrent_promise
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.proofs.recurrent import prove
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.tensors import Constant, Input, Output, State

GRAPH_FILE = "model.onnx"


def import_graph(
    path: Path | str,
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    states: Mapping[str, str] | None = None,
    framing: Any = None,
    constants: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
    axes: Mapping[str, Sequence[str | int]] | None = None,
    features: Sequence[str] = (),
    examples: Path | None = None,
    quantize: str = "",
    force: bool = False,
    confirm: Callable[[Found], bool] = lambda _found: True,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Make a version of somebody else's ONNX file in ``<repository>/<name>/<version>/``.

    Args:
        path: the ONNX file.
        states: input -> output that is its next value, where they are not found, or found wrongly.
        framing: ``WINDOW:HOP`` of a graph that is given windows.
        constants: input -> what it is in every run.
        inputs: which inputs are fed at each step; others are what a sequence has once (context).
        axes: input -> its axes: ``B``, ``T`` and sizes.
        features: names of the numbers of a step of the only input.
        examples: a file of arrays by input's name: what the inputs are like, and what states begin with.
        quantize: ``int8``: weights in eight bits.
        force: replace the version where it exists.
        confirm: is shown what was found before anything is written; false = nothing is.
        report: called with how much of the proof is done, and of how much.

    Raises:
        ExportError: the file cannot be served so; one line says why. Nothing is written then.
    """
    path = Path(path)
    if framing is not None or examples is not None or quantize:
        raise ExportError("framing, examples and quantisation are not there yet")
    with tempfile.TemporaryDirectory() as folder:
        reading = _Reading(path, Workbench(Path(folder)), dict(constants or {}))
        reading.find(dict(states or {}), tuple(inputs), dict(axes or {}))
        if not confirm(reading.found()):
            raise ExportError("nothing was written")
        with new_version(repository, name, version, force=force) as new:
            contract = reading.contract(tuple(features))
            reading.write(new.folder / GRAPH_FILE)
            graph = StepGraph(new.folder / GRAPH_FILE, contract)
            proof = prove(contract, graph, report=report)
            promise = recurrent_promise(contract, new.folder / GRAPH_FILE, may_be_any=proof.batch_invariant)
            proof = replace(proof, notes=(*reading.notes, *proof.notes))
            return new.finish(
                proof,
                golden_answers(contract),
                {"step": GRAPH_FILE},
                {"imported": path.name},
                find_promise=lambda _manifest, _folder: promise,
                task="recurrent",
                inputs=contract.given,
                outputs=contract.made,
                context=contract.context,
                states=contract.states,
                constants=contract.constants,
            )


class _Reading:
    """What is found of a file, step by step."""

    def __init__(self, path: Path, bench: Workbench, constants: Mapping[str, Any]) -> None:
        self.path = path
        self.notes: list[str] = []
        self._bench = bench
        self.model = _read(path)
        self._inputs, self._outputs = ports_of(self.model)
        self.constant_arrays = {name: _constant(self._inputs, name, given) for name, given in constants.items()}
        self._how: dict[str, str] = {}

    @property
    def constants(self) -> tuple[Constant, ...]:
        """As the manifest has them."""
        return tuple(
            Constant.model_validate({"name": self._served[name], "dtype": array.dtype.name, "value": array.tolist()})
            for name, array in self.constant_arrays.items()
        )

    def find(self, said: Mapping[str, str], fed: Sequence[str], axes: Mapping[str, Sequence[str | int]]) -> None:
        """Find states and axes.

        Raises:
            ExportError: it is not clear which, or nothing that was tried runs.
        """
        self._leave_defaults(set(said))
        open_inputs = [port for port in self._inputs if port.name not in self.constant_arrays]
        for name in (*fed, *axes):
            if name not in {port.name for port in self._inputs}:
                names = ", ".join(port.name for port in self._inputs)
                raise ExportError(f"the graph has no input {name!r}; it has {names}")
        flow = Flow(self.model.graph)
        self.pairs = find_pairs(flow, self._inputs, self._outputs, said, (*fed, *self.constant_arrays))
        self._served = valid_names([port.name for port in (*self._inputs, *self._outputs)])
        taken = {pair.given for pair in self.pairs}
        self._state_ports = [port for port in open_inputs if port.name in taken]
        self._fed_ports = [port for port in open_inputs if port.name not in taken]
        if not self._fed_ports:
            raise ExportError("every input of the graph is a state: nothing is fed to it at each step")
        self._find_axes(axes)

    def _leave_defaults(self, said: set[str]) -> None:
        """Take inputs that have a default, which they then are in every run, out of the graph."""
        for port in list(self._inputs):
            if port.default is None or port.name in said:
                continue
            value = next(value for value in self.model.graph.inputs if value.name == port.name)
            self.model.graph.inputs.remove(value)
            self._inputs.remove(port)

    def _find_axes(self, axes: Mapping[str, Sequence[str | int]]) -> None:
        opened = _opened(self.model, [*self._fed_ports, *self._state_ports])
        session = self._bench.open(opened)
        states = {pair.given: pair.made for pair in self.pairs}
        drawer = Drawer({port.name: port for port in self._inputs}, find_num_codes(self.model), {})
        outputs = [port.name for port in self._outputs]
        self._survey = Survey(session, drawer, states, outputs, self.constant_arrays)
        reasons: list[str] = []
        self._surveyed: Surveyed | None = None
        for layout in likely_layouts(self._fed_ports, self._state_ports, axes):
            try:
                found = self._survey.look(layout)
            except Unfit as error:
                reasons.append(str(error))
                continue
            if not found.carries:
                self._surveyed = found
                return
            reasons.append(found.carries)
            self._surveyed = self._surveyed or found
        if self._surveyed is None:
            raise ExportError(
                f"{self.path}: {reasons[0] if reasons else 'no axes were found'}; say the axes with --axes"
            )
        if self._surveyed.carries:
            raise ExportError(f"{self.path}: {self._surveyed.carries}")

    @property
    def surveyed(self) -> Surveyed:
        """The layout that was found."""
        assert self._surveyed is not None
        return self._surveyed

    def _edges(self) -> tuple[list[ServedTensor], list[ServedTensor]]:
        layout, states = self.surveyed.layout, {pair.given: pair.made for pair in self.pairs}
        fed = [port.name for port in self._fed_ports]
        given = [ServedTensor(name, self._served[name], layout.roles[name]) for name in (*fed, *states)]
        shown = [port.name for port in self._outputs if port.name not in states.values()]
        made = [ServedTensor(name, self._served[name], self.surveyed.made[name]) for name in (*shown, *states.values())]
        return given, made

    def contract(self, features: Sequence[str]) -> Contract:
        """What the file's own graph takes and gives, as the exporter proves it."""
        given_edges, made_edges = self._edges()
        fed_count, shown_count = len(self._fed_ports), len(made_edges) - len(self.pairs)
        dtypes = {port.name: port.dtype for port in (*self._inputs, *self._outputs)}
        codes = find_num_codes(self.model)
        has_steps = self.surveyed.layout.has_steps
        given: list[Input] = []
        context: list[Input] = []
        for edge in given_edges[:fed_count]:
            is_only = fed_count == 1
            part = _input(edge, dtypes[edge.name], codes.get(edge.name), features if is_only else ())
            (context if has_steps and part.time_axis is None else given).append(part)
        made = tuple(_output(edge, dtypes[edge.name]) for edge in made_edges[:shown_count])
        states = tuple(
            State.model_validate(
                {
                    "name": given_edge.served,
                    "input": given_edge.served,
                    "output": made_edge.served,
                    "shape": given_edge.shape,
                    "dtype": dtypes[given_edge.name],
                }
            )
            for given_edge, made_edge in zip(given_edges[fed_count:], made_edges[shown_count:], strict=True)
        )  # fmt: skip
        network = self._survey.network(self.surveyed)
        return Contract(
            ForeignModule(network, states),
            tuple(given),
            made,
            states,
            tuple(context),
            tuple(self.notes),
            self.constants,
        )

    def write(self, path: Path) -> None:
        """Write the graph with the inputs and outputs of the manifest."""
        given, made = self._edges()
        model = _opened(self.model, [*self._fed_ports, *self._state_ports])
        constants = list(self.constant_arrays)
        serve_edges(model, given, made, self.surveyed.layout.rows, constants)
        shapes = {name: tuple(array.shape) for name, array in self.constant_arrays.items()}
        fixed = [(self._served[name], shapes[name]) for name in constants]
        tidy(model, [*((edge.served, edge.shape) for edge in given), *fixed],
             [(edge.served, edge.shape) for edge in made], "step")  # fmt: skip
        save_graph(model, path)

    def found(self) -> Found:
        """All of it, in words."""
        given, made = self._edges()
        ports = {port.name: port for port in (*self._inputs, *self._outputs)}
        states = {pair.given for pair in self.pairs} | {pair.made for pair in self.pairs}
        tensors = [
            FoundTensor(
                edge.name, f"state {role}" if edge.name in states else role, ports[edge.name].words, edge.served,
                f"[{', '.join(map(str, edge.shape))}]", self._how.get(edge.name, ""),
            )
            for role, edges in (("input", given), ("output", made))
            for edge in edges
        ]  # fmt: skip
        return Found(
            str(self.path),
            "recurrent",
            tuple(tensors),
            tuple((pair.given, pair.made, pair.how) for pair in self.pairs),
            notes=tuple(self.notes),
        )


def _read(path: Path) -> ir.Model:
    try:
        return ir.load(path)
    except Exception as error:  # protobuf's and the reader's errors share no base class
        raise ExportError(f"{path}: it is no ONNX file: {first_line(error)}") from error


def _constant(inputs: Sequence[Port], name: str, given: Any) -> NDArray[Any]:
    port = next((each for each in inputs if each.name == name), None)
    if port is None:
        raise ExportError(f"--constant {name}: the graph has no such input; it has {', '.join(p.name for p in inputs)}")
    try:
        array = np.asarray(given, port.dtype)
    except (ValueError, OverflowError) as error:
        raise ExportError(f"--constant {name}={given}: it is no {port.dtype}: {error}") from error
    if port.sizes is not None and array.ndim != len(port.sizes):
        if array.ndim == 0 and all(size == 1 or isinstance(size, str) for size in port.sizes):
            return array.reshape((1,) * len(port.sizes))
        raise ExportError(f"--constant {name}={given}: the graph has {port.words} there")
    return array


def _opened(model: ir.Model, ports: Sequence[Port]) -> ir.Model:
    """A copy in which no input has a fixed batch, and whose inner values have no shapes that would be wrong then."""
    copy = model.clone()
    names = {port.name for port in ports}
    for value in copy.graph.inputs:
        if value.name in names and value.shape is not None:
            value.shape = ir.Shape([None if size == 1 else size for size in value.shape])
    for value in copy.graph.outputs:
        value.shape = None
    for node in ir.traversal.RecursiveGraphIterator(copy.graph):
        for value in node.outputs:
            value.shape = None
    return copy


def _input(edge: ServedTensor, dtype: str, num_codes: int | None, features: Sequence[str]) -> Input:
    count = int(np.prod([size for size in edge.shape if isinstance(size, int)], dtype=np.int64))
    if features and len(features) != count:
        raise ExportError(f"--features: input {edge.name!r} has {count} numbers a step, and {len(features)} names")
    names = tuple(features) or tuple(f"{edge.served}_{place}" for place in range(count))
    content = {"name": edge.served, "dtype": dtype, "shape": edge.shape, "features": names, "num_codes": num_codes}
    return Input.model_validate(content)


def _output(edge: ServedTensor, dtype: str) -> Output:
    count = int(np.prod([size for size in edge.shape if isinstance(size, int)], dtype=np.int64))
    names = tuple(f"{edge.served}_{place}" for place in range(count))
    return Output.model_validate({"name": edge.served, "dtype": dtype, "shape": edge.shape, "features": names})
