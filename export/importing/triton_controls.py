"""Control inputs of Triton's sequence batcher, fed by a graph itself: the service needs to know nothing of them.

START becomes a state: true until the first run, false after each. READY is always true, since nobody runs a session
that has nothing to run, and END always false, since no session knows which of its steps will be the last one. CORRID is
left out where nothing comes of it, or an output that repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from ostinato.export.errors import ExportError
from ostinato.export.importing.triton_config import CONTROLS

_VALUES = {"int32_false_true": np.int32, "fp32_false_true": np.float32, "bool_false_true": np.bool_}
_PASSED_ON = {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
_SAID = {
    "START": "is true in a session's first run, and after a reset, and false in all others",
    "READY": "is always true: a session is run when it has steps",
    "END": "is always false: which step is a session's last one is not known when it is run",
    "CORRID": "is left out: nothing depends on it",
}


@dataclass(frozen=True)
class Control:
    """A control input: its kind, of ``CONTROLS``, the graph's input, and the two values of all kinds but CORRID."""

    kind: str
    input: str
    false: Any = None
    true: Any = None


@dataclass
class Fed:
    """What came of feeding the controls: pairs of states, what they begin with, and sentences for the user."""

    states: dict[str, str] = field(default_factory=dict)
    initial: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def controls_of(config: Any) -> tuple[Control, ...]:
    """The control inputs of a configuration.

    Raises:
        ExportError: one has no kind, several, or not the two values that it has to have.
    """
    return tuple(_control(part) for part in config.sequence_batching.control_input)


def _control(part: Any) -> Control:
    if len(part.control) != 1:
        raise ExportError(f"control input {part.name!r}: {len(part.control)} controls, where one is needed")
    (given,) = part.control
    kind = CONTROLS[given.kind]
    if kind == "CORRID":
        return Control(kind, part.name)
    pairs = [(dtype, list(getattr(given, name))) for name, dtype in _VALUES.items() if getattr(given, name)]
    if len(pairs) != 1 or len(pairs[0][1]) != 2:
        raise ExportError(f"control input {part.name!r}: {kind} needs one of {', '.join(_VALUES)}, with two values")
    dtype, (false, true) = pairs[0]
    return Control(kind, part.name, dtype(false), dtype(true))


def feed_controls(model: ir.Model, controls: Sequence[Control], sequence: str) -> Fed:
    """Have a graph feed its own control inputs, in place.

    Args:
        sequence: an input whose first axis is the batch's; "" = the graph knows no batch.

    Raises:
        ExportError: the graph has not such an input, or not with values of this kind; or its answers depend on CORRID.
    """
    fed = Fed()
    inputs = {value.name or "": value for value in model.graph.inputs}
    for control in controls:
        value = inputs.get(control.input)
        if value is None:
            raise ExportError(f"control input {control.input!r} ({control.kind}): the graph has no such input")
        if control.kind == "CORRID":
            left_out = _leave_out(model.graph, value)
            more = f", and so {'are' if len(left_out) > 1 else 'is'} {', '.join(left_out)}" if left_out else ""
            fed.notes.append(f"{control.input} (CORRID) {_SAID['CORRID']}{more}")
            continue
        if value.dtype is None or value.dtype.numpy() != control.true.dtype:
            raise ExportError(
                f"control input {control.input!r}: the graph takes {value.dtype}, the configuration gives "
                f"{control.true.dtype}"
            )
        if control.kind == "START":
            _begin_with(model.graph, value, control, fed)
        else:
            _always(model.graph, value, control, inputs.get(sequence))
        fed.notes.append(f"{control.input} ({control.kind}) {_SAID[control.kind]}")
    return fed


def _begin_with(graph: ir.Graph, value: ir.Value, control: Control, fed: Fed) -> None:
    """Make an input a state that begins as true and is false behind each run: out of itself, as a state is."""
    false = _constant(np.asarray(control.false))
    if control.false.dtype == np.bool_:
        nodes = [false, ir.node("Or" if control.false else "And", [value, false.outputs[0]])]
    else:
        nothing = _constant(np.zeros((), control.false.dtype))
        forgotten = ir.node("Mul", [value, nothing.outputs[0]])
        nodes = [false, nothing, forgotten, ir.node("Add", [forgotten.outputs[0], false.outputs[0]])]
    graph.extend(nodes)
    made = nodes[-1].outputs[0]
    made.name, made.type, made.shape = _free_name(graph, f"{control.input}_after"), value.type, value.shape
    graph.outputs.append(made)
    fed.states[control.input] = made.name
    fed.initial[control.input] = control.true.item()


def _always(graph: ir.Graph, value: ir.Value, control: Control, sequence: ir.Value | None) -> None:
    """Give a control input the one value that it always has, for as many rows as there are."""
    always = control.true if control.kind == "READY" else control.false
    sizes = [size if isinstance(size, int) else 1 for size in value.shape or ()]
    nodes = [_constant(np.full(sizes, always))]
    if sequence is not None and sizes:
        first, rest = _constant(np.array([0])), _constant(np.array(sizes[1:], np.int64))
        shape = ir.node("Shape", [sequence])
        batch = ir.node("Gather", [shape.outputs[0], first.outputs[0]], {"axis": 0})
        whole = ir.node("Concat", [batch.outputs[0], rest.outputs[0]], {"axis": 0})
        nodes += [first, rest, shape, batch, whole, ir.node("Expand", [nodes[0].outputs[0], whole.outputs[0]])]
    _at_front(graph, nodes)
    ir.convenience.replace_all_uses_with(value, nodes[-1].outputs[0])
    graph.inputs.remove(value)


def _leave_out(graph: ir.Graph, value: ir.Value) -> list[str]:
    """Remove an input that nothing depends on but outputs that repeat it; they go with it, and are named."""
    outputs = [position for position, made in enumerate(graph.outputs) if _repeats(made, value)]
    left_out = [graph.outputs[position].name or "" for position in outputs]
    for position in reversed(outputs):
        del graph.outputs[position]
    _drop_unused(graph)
    if used := value.consumers():
        reader = used[0].name or used[0].op_type
        raise ExportError(
            f"the graph's answers depend on {value.name!r}, the number of a sequence (CORRID), in node {reader!r}: "
            "here a session has no number. Export the graph without it, or have it as an input that the client gives"
        )
    graph.inputs.remove(value)
    return left_out


def _repeats(made: ir.Value | None, value: ir.Value) -> bool:
    """Whether an output is an input, in whatever shape and dtype."""
    while made is not None and made is not value:
        node = made.producer()
        if node is None or node.op_type not in _PASSED_ON or node.domain:
            return False
        made = node.inputs[0]
    return made is value


def _drop_unused(graph: ir.Graph) -> None:
    """Remove the nodes of which nothing comes."""
    kept = {id(value) for value in graph.outputs}
    for node in reversed(list(graph)):
        if not any(value.uses() or id(value) in kept for value in node.outputs):
            graph.remove(node, safe=True)


def _constant(array: np.ndarray[Any, Any]) -> ir.Node:
    return ir.node("Constant", [], {"value": ir.tensor(array)})


def _at_front(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    if len(graph):
        graph.insert_before(graph[0], nodes)
    else:
        graph.extend(nodes)


def _free_name(graph: ir.Graph, name: str) -> str:
    """A name that no value of the graph has."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {value.name for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.outputs}
    while name in taken:
        name += "_"
    return name


def outputs_kept(model: ir.Model, names: Mapping[str, Any]) -> list[str]:
    """Leave a graph the outputs of these names, in place; the names of the others are given back."""
    graph = model.graph
    others = [value for value in graph.outputs if value.name not in names]
    for value in others:
        graph.outputs.remove(value)
    _drop_unused(graph)
    return [value.name or "" for value in others]
