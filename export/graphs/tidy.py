"""Tidying of a traced graph: names and shapes as the manifest has them, nothing that tells of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from ostinato.export.contracts.symbols import Axes

Named = Sequence[tuple[str, Axes]]


def tidy(model: ir.Model, inputs: Named, outputs: Named, name: str) -> None:
    """Give, in place, a graph's inputs and outputs their names and shapes, and take from it what could be wrong."""
    graph = model.graph
    separate_outputs(graph)
    named = [*inputs, *outputs]
    _free_names(graph, {name for name, _ in named})
    for value, (given, shape) in zip([*graph.inputs, *graph.outputs], named, strict=True):
        value.name = given
        value.shape = ir.Shape(shape)
    graph.name = name
    _clear_ballast(model)


def separate_outputs(graph: ir.Graph) -> None:
    """Give each output a value of its own: one that is also an input, a weight or another output cannot be renamed."""
    taken = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for position, value in enumerate(graph.outputs):
        if id(value) in taken:
            node = ir.node("Identity", [value])
            node.outputs[0].type = value.type
            graph.append(node)
            graph.outputs[position] = node.outputs[0]
        taken.add(id(value))


def _free_names(graph: ir.Graph, reserved: set[str]) -> None:
    """Rename inner values that are called as an input or output, or, in a body, as a value around it."""
    taken = set(reserved)
    for index, value in enumerate(list(_inner_values(graph))):  # a weight's new name is a new key of its graph
        if value.name in taken:
            value.name = f"inner_{value.name}_{index}"
        taken.add(value.name or "")


def _inner_values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.initializers.values()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield from node.outputs
        for body in bodies_of(node):
            yield from body.inputs
            yield from body.initializers.values()


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The graphs within an operator."""
    return [each.as_graph() for each in node.attributes.values() if each.type == ir.AttributeType.GRAPH]


def _clear_ballast(model: ir.Model) -> None:
    """Traced file names and lines, and the shapes of inner values, which onnxruntime works out itself."""
    kept = {id(value) for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())}
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
    ranks = {id(value): value.shape.rank() for value in _scanned(model.graph) if value.shape is not None}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.clear()
        node.doc_string = None
        for value in (*node.outputs, *(value for body in bodies_of(node) for value in body.inputs)):
            value.metadata_props.clear()
            if (
                id(value) not in kept and value.shape != ()
            ):  # a Loop's number of the round must be known to have no axes
                rank = ranks.get(id(value))
                value.shape = None if rank is None else ir.Shape([None] * rank)


def _scanned(graph: ir.Graph) -> Iterator[ir.Value]:
    """What the bodies of each ``Scan`` end with: onnxruntime must know how many axes that has, and may not find out."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        if node.op_type == "Scan":
            for body in bodies_of(node):
                yield from body.outputs
