"""Choices of a foreign graph that its constants have made: the branch that is never taken is left out.

A detector for two sample rates has a network for each. With the window of one the other's shapes are impossible, and
onnxruntime, which infers them at load, refuses the file for a branch that no run takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ostinato.export.graphs.branches import condition_of, opened, put_branch
from ostinato.export.graphs.sources import give_names, sources
from ostinato.service.artifact.graphs import without_messages


def choose(model: ir.Model, constants: Mapping[str, NDArray[Any]]) -> None:
    """Put, in place, the branch of each outer ``If`` that the constants alone decide."""
    give_names(model)
    while choices := [node for node in model.graph if node.op_type == "If" and _is_decided(node, constants)]:
        taken = _taken(model, [condition_of(node).name or "" for node in choices], constants)
        for node in choices:
            put_branch(model.graph, node, taken[condition_of(node).name or ""])
        give_names(model)


def _is_decided(node: ir.Node, constants: Mapping[str, NDArray[Any]]) -> bool:
    given = [value.name for value in sources(condition_of(node), with_shapes=True) if value.is_graph_input()]
    return bool(given) and all(name in constants for name in given)


def _taken(model: ir.Model, conditions: list[str], constants: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
    probe = model.clone()
    graph = probe.graph
    values = {value.name: value for value in [*graph.inputs, *(made for node in graph for made in node.outputs)]}
    names = list(dict.fromkeys(conditions))
    graph.outputs[:] = [values[name] for name in names]
    RemoveUnusedNodesPass()(probe)
    graph.inputs[:] = [value for value in graph.inputs if value.name in constants]
    made = opened(probe).run(names, dict(constants), without_messages())
    return {name: bool(array.all()) for name, array in zip(names, made, strict=True)}
