"""Sources of values: what a node uses, what a value is made of, through the bodies of other nodes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from ostinato.export.graphs.tidy import bodies_of


def all_nodes(graph: ir.Graph) -> Iterator[tuple[ir.Node, tuple[ir.Node, ...]]]:
    """The nodes of a graph and of its bodies, in order, each with the nodes that it is within, the outermost first."""
    for node in graph:
        yield node, ()
        for body in bodies_of(node):
            for inner, around in all_nodes(body):
                yield inner, (node, *around)


def used_by(node: ir.Node) -> list[ir.Value]:
    """What a node is given, and what the nodes within it use."""
    used = [value for value in node.inputs if value is not None]
    for body in bodies_of(node):
        used.extend(value for inner in body for value in used_by(inner))
        used.extend(body.outputs)
    return used


def ancestors(value: ir.Value, *, with_shapes: bool = False) -> list[ir.Node]:
    """The nodes that a value is made by, those whose shapes alone it depends on left out or not."""
    found: dict[int, ir.Node] = {}
    waiting = [value]
    while waiting:
        producer = waiting.pop().producer()
        if producer is None or id(producer) in found or (producer.op_type in ("Shape", "Size") and not with_shapes):
            continue
        found[id(producer)] = producer
        waiting.extend(used_by(producer))
    return list(found.values())


def sources(value: ir.Value, *, with_shapes: bool = False) -> list[ir.Value]:
    """The values that nothing in the graph makes, which a value is made of."""
    made = [each for node in ancestors(value, with_shapes=with_shapes) for each in used_by(node)]
    return [each for each in (value, *made) if each.producer() is None]


def name_of(node: ir.Node) -> str:
    """A node's name, or that of what it makes."""
    return node.name or next((value.name for value in node.outputs if value.name), "") or node.op_type


def give_names(model: ir.Model) -> None:
    """Give every node and value a name of its own, in place, a node without one that of what it makes."""
    for node, _ in all_nodes(model.graph):
        node.name = name_of(node)
    NameFixPass()(model)
