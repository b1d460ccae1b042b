"""Branches of ``If`` put in its place, so that all that is in a graph can be looked at in a run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.files import save_graph
from ostinato.export.graphs.sources import give_names
from ostinato.service.artifact.graphs import open_graph, without_messages


def opened(model: ir.Model) -> Any:
    """A graph under onnxruntime, an ``InferenceSession``, whatever the file says of inner shapes."""
    kept = {id(value) for value in (*model.graph.inputs, *model.graph.initializers.values())}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if id(value) not in kept:
                value.shape = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_graph(model, path)
        return open_graph(path)


def flattened(model: ir.Model, feeds: Mapping[str, Array], *, opposite: bool = False) -> ir.Model:
    """A copy without ``If``: each is the branch that is taken with these inputs, or the opposite one."""
    flat = model.clone()
    give_names(flat)
    while choices := [node for node in flat.graph if node.op_type == "If"]:
        taken = choices_of(flat, feeds)
        for node in choices:
            put_branch(flat.graph, node, taken[condition_of(node).name or ""] != opposite)
    give_names(flat)
    return flat


def choices_of(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, bool]:
    """What the conditions of the outer ``If`` are in a run, by their names."""
    probe = model.clone()
    conditions = [condition_of(node) for node in probe.graph if node.op_type == "If"]
    asked = {condition.name or "": condition for condition in conditions}
    probe.graph.outputs.clear()
    probe.graph.outputs.extend(asked.values())
    made = opened(probe).run(list(asked), dict(feeds), without_messages())
    return {name: bool(np.all(array)) for name, array in zip(asked, made, strict=True)}


def put_branch(graph: ir.Graph, node: ir.Node, is_true: bool) -> None:
    """Put a branch of an ``If``, in place, where it stands."""
    body = node.attributes["then_branch" if is_true else "else_branch"].as_graph()
    results = list(body.outputs)
    body.outputs.clear()
    moved = list(body)
    body.remove(moved)
    for name, value in list(body.initializers.items()):
        del body.initializers[name]
        graph.register_initializer(value)
    graph.insert_before(node, moved)
    for made, result in zip(node.outputs, results, strict=True):
        given = ir.node("Identity", [result])
        graph.insert_before(node, given)
        given.outputs[0].type = made.type
        ir.convenience.replace_all_uses_with(made, given.outputs[0], replace_graph_outputs=True)
        given.outputs[0].name, made.name = made.name, None
    graph.remove(node)


def condition_of(node: ir.Node) -> ir.Value:
    """What an ``If`` asks."""
    value = node.inputs[0]
    assert value is not None
    return value
