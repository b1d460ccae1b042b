"""LSTM, GRU and RNN of a foreign graph that begin from a constant, made to take and to give their states."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ostinato.export.graphs.nodes import constant_of
from ostinato.export.graphs.observed import Size
from ostinato.export.graphs.rewiring import Fold, Hindered, Placement, Rewiring
from ostinato.export.graphs.sources import sources

LAYERS = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",), "DynamicQuantizeLSTM": ("h", "c")}
"""Operators, and what their states are called."""
_LENGTHS, _FIRST_STATE = 4, 5


def rewire_layer(rewiring: Rewiring, node: ir.Node) -> None:
    """Give a layer that runs along the steps its states; others stay as they are.

    Raises:
        Hindered: it runs along the steps and cannot stream.
    """
    sizes = rewiring.observed.sizes(node.inputs[0])
    if sizes is None:
        raise Hindered("what it is given could not be seen in a run, so that its axes are not known")
    if not _is_along_steps(rewiring, sizes):
        return
    direction = _direction(node)
    if direction != "forward":
        ways = "both ways" if direction == "bidirectional" else "backwards"
        raise Hindered(f"it runs {ways} along the steps: what it answers depends on steps still to come")
    _drop_lengths(rewiring, node, sizes[0])
    given = _given_states(node)
    if len(node.outputs) <= len(given):
        node.resize_outputs(1 + len(given))
    if all(map(rewiring.begins_with_inputs, given, node.outputs[1:])):
        return
    sequence = node.inputs[0]
    assert sequence is not None
    _add_states(rewiring, node, rewiring.fold_of(sequence, 1))


def steps_first(graph: ir.Graph) -> None:
    """Give layers that have the batch first, which onnxruntime does not run, the steps first, in place."""
    for node in [node for node in ir.traversal.RecursiveGraphIterator(graph) if node.op_type in LAYERS]:
        layout = node.attributes.get("layout")
        if layout is None or not layout.as_int():
            continue
        del node.attributes["layout"]
        for place in (0, _FIRST_STATE, _FIRST_STATE + 1):
            given = node.inputs[place] if place < len(node.inputs) else None
            if given is not None:
                turned = ir.node("Transpose", [given], {"perm": [1, 0, 2]})
                node.prepend(turned)
                node.replace_input_with(place, turned.outputs[0])
        for place, value in enumerate(node.outputs):
            if value.name or value.uses():
                _turn_output(node, value, [1, 0, 2] if place else [2, 0, 1, 3])


def _turn_output(node: ir.Node, value: ir.Value, order: list[int]) -> None:
    turned = ir.node("Transpose", [value], {"perm": order})
    made = turned.outputs[0]
    made.type, made.name = value.type, value.name
    ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)
    turned.replace_input_with(0, value)
    value.name, value.shape = None, None
    node.append(turned)


def _is_along_steps(rewiring: Rewiring, sizes: tuple[Size, ...]) -> bool:
    """Whether the first axis of what a layer is given is that of the steps.

    Raises:
        Hindered: it is along the batch, or along the steps in two axes.
    """
    steps, rows = sizes[:2]
    if steps.batch:
        raise Hindered("it runs along the rows of the batch, so that one sequence would change another")
    if steps.is_of_steps and rows.is_of_steps:
        raise Hindered("it runs along the steps within pieces of the sequence, each of which begins from the start")
    base, longer = rewiring.observed.base, rewiring.observed.longer
    if base.num_steps == longer.num_steps:
        return steps.rest == base.num_steps
    return steps.is_of_steps


def _direction(node: ir.Node) -> str:
    attribute = node.attributes.get("direction")
    return "forward" if attribute is None else attribute.as_string()


def _given_states(node: ir.Node) -> list[ir.Value | None]:
    count = len(LAYERS[node.op_type])
    inputs = [*node.inputs, *[None] * (_FIRST_STATE + count)]
    return list(inputs[_FIRST_STATE : _FIRST_STATE + count])


def _drop_lengths(rewiring: Rewiring, node: ir.Node, steps: Size) -> None:
    """Take from a layer lengths that are the whole sequence.

    Raises:
        Hindered: they are others.
    """
    lengths = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    if lengths is None:
        return
    runs = (rewiring.observed.base, rewiring.observed.longer)
    whole = [
        (name := lengths.name or "") in run and bool(np.all(run[name] == steps.per_step * run.num_steps + steps.rest))
        for run in runs
    ]
    constant = constant_of(lengths)
    if constant is not None:  # of a graph that was written for so many steps
        whole = [bool(np.all(constant == constant.ravel()[0]))]
    if not all(whole):
        raise Hindered("the lengths of its sequences are not those of what it is given")
    if any(source.is_graph_input() and len(source.shape or ()) > 1 for source in sources(lengths)):
        raise Hindered("how long a sequence is, is counted from its numbers, over all of its steps, as Masking does")
    node.replace_input_with(_LENGTHS, None)


def _add_states(rewiring: Rewiring, node: ir.Node, fold: Fold) -> None:
    hidden_size = node.attributes["hidden_size"].as_int()
    layout = Placement((1, -1, hidden_size), 1, fold)
    labels, given = LAYERS[node.op_type], _given_states(node)
    initial = [rewiring.initial_of(value, layout, last) for value, last in zip(given, node.outputs[1:], strict=True)]
    sequence = node.inputs[0]
    assert sequence is not None
    dtype = rewiring.dtype_of(sequence)
    if len(node.inputs) < _FIRST_STATE + len(labels):
        node.resize_inputs(_FIRST_STATE + len(labels))
    for place, label in enumerate(labels):
        state = rewiring.add_state(node, label, layout, dtype, initial[place])
        rewiring.put_state(node, layout, state, _FIRST_STATE + place, 1 + place)
