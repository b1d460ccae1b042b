"""Settled choices: each ``If`` of a foreign graph whose condition is never otherwise is the branch that it takes."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from ostinato.export.graphs.branches import condition_of, put_branch
from ostinato.export.graphs.observed import Observed
from ostinato.export.graphs.sources import sources


def settle(model: ir.Model, observed: Observed, constants: Collection[str]) -> None:
    """Put, in place, the branch of each outer ``If`` that is taken in every run there can be.

    Args:
        constants: names of inputs that are the same in every run.
    """
    graph = model.graph
    while settled := _settled(graph, observed, constants):
        for node, is_true in settled:
            put_branch(graph, node, is_true)


def _settled(graph: ir.Graph, observed: Observed, constants: Collection[str]) -> list[tuple[ir.Node, bool]]:
    choices = [(node, _always(condition_of(node), observed, constants)) for node in graph if node.op_type == "If"]
    return [(node, is_true) for node, is_true in choices if is_true is not None]


def _always(condition: ir.Value, observed: Observed, constants: Collection[str]) -> bool | None:
    """What a condition is in every run; None where it may be either, by the numbers or the sizes of inputs."""
    taken = observed.truths(condition)
    given = {value.name for value in sources(condition) if value.is_graph_input()}
    sized = {value.name for value in sources(condition, with_shapes=True) if value.is_graph_input()}
    if len(taken) != 1 or given - set(constants) or (sized - set(constants) and not observed.smallest):
        return None
    return taken.pop()
