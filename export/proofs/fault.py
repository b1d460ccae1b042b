"""The fault in a graph that is not run in any shape: the operator that rounds a row otherwise in other company.

Everything that the graph makes on its way is looked at, in runs of several rows and of each row alone: the first
operator whose output differs, though what goes into it does not, is the one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from ostinato.export.contracts.axes import Array, to_axes
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.sequence import SequenceContract
from ostinato.export.graphs.tidy import bodies_of
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import ANY, Promise

_ROWS, _LENGTHS = (17, 6, 3, 2), (1, 5)
_ALIKE = tuple(((length,) * rows, length) for length in (1, 5, 33) for rows in _ROWS)
_RAGGED = (*_ALIKE, *(((length,), padded) for length in (1, 5, 13, 33, 47) for padded in (length + 1, 16, 64)))
"""Lengths of sequences, and what they are padded to."""
_MOVING = {"Slice", "Transpose", "Concat", "Reshape", "Gather", "Expand", "Pad", "ReverseSequence", "Range", "Shape"}


def promise_notes(contract: Contract, path: Path, promise: Promise, places: Mapping[str, str]) -> tuple[str, ...]:
    """What to tell of a graph whose rows cannot share any run."""
    if promise == ANY:
        return ()
    fault = find_fault(contract, path, places)
    if not fault:
        return ()
    return (f"{fault} rounds a row otherwise where its run has another shape, so {promise.sentence}",)


def find_fault(contract: Contract, path: Path, places: Mapping[str, str]) -> str:
    """The operator, and the line that it comes from, to begin a sentence with; empty where none could be found.

    Args:
        path: the graph's file.
        places: name of a node -> the line in the user's code, in brackets.
    """
    try:
        session, shown = _opened(path)
        for rows in _ROWS:
            for num_steps in _LENGTHS if contract.inputs.time_axis is not None else (1,):
                found = _differing(contract, session, shown, rows, num_steps)
                if found is not None:
                    return f"{found.op_type}{places.get(found.name or '', '')}"
    except Exception:  # onnxruntime's exceptions share no base class; that nothing is found costs a word only
        return ""
    return ""


def sequence_promise_notes(
    contract: SequenceContract, path: Path, promise: Promise, sentence: str, places: Mapping[str, str]
) -> tuple[str, ...]:
    """The same of a graph over whole sequences.

    Args:
        sentence: what the promise means there.
    """
    if promise.holds == "any":
        return ()
    fault = find_fault_of_sequences(contract, path, places)
    if not fault:
        return ()
    return (f"{fault} rounds a sequence otherwise where its run has another shape, so {sentence}",)


def find_fault_of_sequences(contract: SequenceContract, path: Path, places: Mapping[str, str]) -> str:
    """As ``find_fault``, of a graph over whole sequences: in company, and padded."""
    try:
        session, shown = _opened(path)
        for lengths, num_steps in _RAGGED if contract.lengths else _ALIKE:
            found = _differing_sequence(contract, session, shown, lengths, num_steps)
            if found is not None:
                return f"{found.op_type}{places.get(found.name or '', '')}"
    except Exception:  # onnxruntime's exceptions share no base class; that nothing is found costs a word only
        return ""
    return ""


def _opened(path: Path) -> tuple[Any, list[tuple[ir.Node, list[str]]]]:
    """The graph with all that it makes on its way, and each node with the names of what it makes."""
    model = ir.load(path)
    ShapeInferencePass()(model)
    shown = list(_show(model.graph))
    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder) / "shown.onnx")
        return open_graph(Path(folder) / "shown.onnx"), shown


def _differing_sequence(
    contract: SequenceContract,
    session: Any,
    shown: list[tuple[ir.Node, list[str]]],
    lengths: tuple[int, ...],
    num_steps: int,
) -> ir.Node | None:
    """The first operator whose numbers differ, though those it is given do not: what only moves them is none."""
    drawn = contract.draw(np.random.default_rng(len(lengths)), lengths)
    rows, contexts = [rows for rows, _ in drawn], [context for _, context in drawn]
    names = [name for _, each in shown for name in each]
    feeds = contract.feeds(rows, contexts, num_steps)
    together = feeds | dict(zip(names, session.run(names, feeds), strict=True))
    for row, (steps, context) in enumerate(drawn):
        own = contract.feeds([steps], [context])
        alone = own | dict(zip(names, session.run(names, own), strict=True))
        same = {name: _is_same_cut(together[name], alone[name], len(drawn), row) for name in together}
        for node, made in shown:
            given = [value.name or "" for value in node.inputs if value is not None and not value.is_initializer()]
            differs = not all(same[name] for name in made if together[name].dtype.kind == "f")
            if differs and node.op_type not in _MOVING and all(same.get(name, False) for name in given):
                return node
    return None


def _is_same_cut(together: Array, alone: Array, rows: int, row: int) -> bool:
    """Whether a row's part of what all made is what it made by itself, what stands behind its end cut off."""
    part = together
    if together.ndim != alone.ndim:
        return False
    for axis, (size, own) in enumerate(zip(together.shape, alone.shape, strict=True)):
        if size == rows * own and rows > 1 and part.shape == together.shape:
            part = np.take(part, range(row * own, (row + 1) * own), axis=axis)
        elif size != own:
            part = np.take(part, range(min(own, size)), axis=axis)
    return part.tobytes() == np.ascontiguousarray(alone).tobytes()


def _show(graph: ir.Graph) -> Iterator[tuple[ir.Node, list[str]]]:
    """Make outputs of all that a graph makes, a body's, too; gives each node and the names of what it makes."""
    for node in list(graph):
        inner = [each for body in bodies_of(node) if node.op_type == "Scan" for each in _show_steps(node, body)]
        yield from inner
        made = [value for value in node.outputs[: len(node.outputs) - len(inner)] if value.name and value.dtype]
        for value in made:
            if not value.is_graph_output():
                graph.outputs.append(value)
        yield node, [value.name or "" for value in made]


def _show_steps(scan: ir.Node, body: ir.Graph) -> Iterator[tuple[ir.Node, list[str]]]:
    """The same of a body: each step's, one behind the other."""
    taken = {id(value) for value in body.outputs}
    for node in list(body):
        names = []
        for value in node.outputs:
            if value.dtype is None or id(value) in taken:
                continue
            scan.resize_outputs(len(scan.outputs) + 1)
            outer = scan.outputs[-1]
            outer.name, outer.type = f"shown_{value.name}", value.type
            body.outputs.append(value)
            names.append(outer.name)
            assert scan.graph is not None
            scan.graph.outputs.append(outer)
        if names:
            yield node, names
    axes = scan.attributes.get("scan_output_axes")
    if axes is not None:
        kept = list(axes.as_ints())
        more = len(scan.outputs) - (len(body.inputs) - scan.attributes["num_scan_inputs"].as_int()) - len(kept)
        scan.attributes["scan_output_axes"] = ir.AttrInt64s("scan_output_axes", kept + [0] * more)


def _differing(
    contract: Contract,
    session: Any,
    shown: list[tuple[ir.Node, list[str]]],
    rows: int,
    num_steps: int,
) -> ir.Node | None:
    generator = np.random.default_rng(rows)
    sequences = contract.draw(generator, rows, num_steps)
    names = [name for _, each in shown for name in each]
    together = dict(zip(names, session.run(names, _feeds(contract, sequences)), strict=True))
    for row in range(rows):
        alone = dict(zip(names, session.run(names, _feeds(contract, sequences[row : row + 1])), strict=True))
        for node, made in shown:
            if any(not _is_same(together[name], alone[name], rows, row) for name in made):
                return node
    return None


def _feeds(contract: Contract, sequences: Array) -> dict[str, Array]:
    states = contract.initial_states(len(sequences))
    feeds = {state.input: numbers for state, numbers in zip(contract.states, states, strict=True)}
    parts = (*contract.given, *contract.context)
    tensors = contract.tensors(to_axes(sequences, contract.inputs))
    return {**{part.name: array for part, array in zip(parts, tensors, strict=True)}, **feeds}


def _is_same(together: Array, alone: Array, rows: int, row: int) -> bool:
    """Whether a row's part of what all made is what it made by itself; the rows are where the sizes differ."""
    if together.ndim != alone.ndim:
        return True
    for axis, (size, own) in enumerate(zip(together.shape, alone.shape, strict=True)):
        if size != own:
            part = np.take(together, range(row * own, (row + 1) * own), axis=axis) if size == rows * own else alone
            return part.shape != alone.shape or part.tobytes() == np.ascontiguousarray(alone).tobytes()
    return True
