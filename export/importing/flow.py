"""The flow through a graph: which inputs an output depends on, and what only moves from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import onnx_ir as ir

from ostinato.export.graphs.tidy import bodies_of

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_INITIAL_PLACES = (5, 6)
"""Where a recurrent operator has what it begins with, h and c; what it ends with are its outputs 1 and 2."""
_MOVING = frozenset({
    "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "CastLike", "Slice", "Split", "Gather",
    "Concat", "Expand", "Flatten", "Dropout", "QuantizeLinear", "DequantizeLinear", "If",
})  # fmt: skip
_SHAPES = frozenset({"Shape", "Size"})


class Flow:
    """What depends on what in a graph; bodies of operators belong to the operator around them.

    Args:
        graph: is only read.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._inputs = {id(value): place for place, value in enumerate(graph.inputs)}
        self._outputs: dict[int, list[int]] = {}
        for place, value in enumerate(graph.outputs):
            self._outputs.setdefault(id(value), []).append(place)
        self._shown_outside = {
            id(value): node.outputs[place]
            for node in ir.traversal.RecursiveGraphIterator(graph)
            if node.op_type == "If"
            for body in bodies_of(node)
            for place, value in enumerate(body.outputs)
        }

    def depends(self, made: int, given: int) -> bool:
        """Whether an output depends on the numbers of an input, and not only on its shape."""
        return bool(self._dependencies[made] >> given & 1)

    def moves(self, made: int, given: int) -> bool:
        """Whether numbers of an input come out as they are, perhaps next to others, cut and in another shape."""
        return made in self._moved[given]

    def repeats(self, made: int, given: int) -> bool:
        """Whether an output is an input as it is."""
        value = self._graph.outputs[made]
        while (node := value.producer()) is not None and node.op_type == "Identity" and node.inputs[0] is not None:
            value = node.inputs[0]
        return value is self._graph.inputs[given]

    def carries(self, made: int, given: int) -> bool:
        """Whether a recurrent operator begins with an input, and what it ends with is the output."""
        return (given, made) in self._carried

    @cached_property
    def _recurrent(self) -> list[ir.Node]:
        return [node for node in ir.traversal.RecursiveGraphIterator(self._graph) if node.op_type in RECURRENT]

    @cached_property
    def _dependencies(self) -> list[int]:
        """Of each output the inputs that it depends on, one bit for each."""
        known = {key: 1 << place for key, place in self._inputs.items()}
        for node in self._graph:
            found = 0
            if node.op_type not in _SHAPES:
                for value in _given_to(node):
                    found |= known.get(id(value), 0)
            for value in node.outputs:
                known[id(value)] = found
        return [known.get(id(value), 0) for value in self._graph.outputs]

    @cached_property
    def _moved(self) -> list[frozenset[int]]:
        return [frozenset(self._ends(value)) for value in self._graph.inputs]

    @cached_property
    def _carried(self) -> frozenset[tuple[int, int]]:
        found = set()
        for node in self._recurrent:
            for place in _INITIAL_PLACES:
                behind = node.outputs[place - 4] if place - 4 < len(node.outputs) else None
                ends = set() if behind is None else self._ends(behind)
                if place == _INITIAL_PLACES[0] and not ends:
                    ends = self._ends(node.outputs[0])  # over one step, what it answers is what it ends with
                if place < len(node.inputs):
                    found |= {(given, made) for given in self._origins(node.inputs[place]) for made in ends}
        return frozenset(found)

    def _ends(self, start: ir.Value) -> set[int]:
        """The outputs that a value is moved to."""
        found: set[int] = set()
        seen, waiting = set(), [start]
        while waiting:
            value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            found.update(self._outputs.get(id(value), ()))
            if id(value) in self._shown_outside:
                waiting.append(self._shown_outside[id(value)])
            for node, place in value.uses():
                if node.op_type in _MOVING and (place == 0 or node.op_type == "Concat"):
                    waiting += node.outputs
        return found

    def _origins(self, end: ir.Value | None) -> set[int]:
        """The inputs that a value is moved from."""
        found: set[int] = set()
        seen, waiting = set(), [end]
        while waiting:
            value = waiting.pop()
            if value is None or id(value) in seen:
                continue
            seen.add(id(value))
            if id(value) in self._inputs:
                found.add(self._inputs[id(value)])
            node = value.producer()
            if node is None or node.op_type not in _MOVING:
                continue
            if node.op_type == "If":
                waiting += [body.outputs[value.index() or 0] for body in bodies_of(node)]
            else:
                waiting += node.inputs if node.op_type == "Concat" else node.inputs[:1]
        return found


def _given_to(node: ir.Node) -> Iterator[ir.Value | None]:
    """What goes into a node, and what the bodies within it take from around them."""
    yield from node.inputs
    for body in bodies_of(node):
        for inner in ir.traversal.RecursiveGraphIterator(body):
            yield from inner.inputs
        yield from body.outputs
