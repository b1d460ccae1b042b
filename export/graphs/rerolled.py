"""Unrolled loops over the steps, found in a graph as it was traced, and each made one ONNX ``Scan`` again.

``counted.py`` traces a loop as it runs, and ``rounds.py`` finds what repeats itself there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ostinato.export.errors import ExportError
from ostinato.export.graphs.counted import NUM_TRACED
from ostinato.export.graphs.nodes import Nodes, constant_of
from ostinato.export.graphs.round_body import RoundBody
from ostinato.export.graphs.rounds import (
    STEP_OPERATOR,
    Carried,
    Given,
    InRound,
    Loop,
    Piece,
    Places,
    find_loops,
    is_of_steps,
    is_progression,
    output_of,
    pieces_of,
    whole_round,
)

_MOST, _LEAST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_NEAR = 2
"""Steps so far from an end are counted from it, whatever the number of steps."""


def reroll(model: ir.Model, time: tuple[int, int]) -> None:
    """Make, in place, every loop over the steps one ``Scan``.

    Args:
        time: an input's place and axis whose size is the number of steps.

    Raises:
        ExportError: the rounds of a loop are not alike, or only some of the steps are used.
    """
    graph = model.graph
    places = find_loops([node for node in graph if not is_of_steps(node) and node.op_type != "Constant"])
    loops = list(dict.fromkeys(loop for loop, _, _ in places.values()))
    if not loops:
        raise ExportError("what is done at each step is not the same at all of them")
    building = _Building(graph, places, time)
    for number, loop in enumerate(loops):
        building.build(loop, f"round_{number}")
    building.put_steps_together()
    RemoveUnusedNodesPass()(model)


class _Building:
    """Puts each loop's ``Scan`` behind its last round, and lets all others take from it what the rounds made."""

    def __init__(self, graph: ir.Graph, places: Places, time: tuple[int, int]) -> None:
        self._graph, self._places, self._time = graph, places, time
        self._all: dict[tuple[int, InRound], ir.Value] = {}
        self._last: dict[tuple[int, InRound], ir.Value] = {}

    def build(self, loop: Loop, name: str) -> None:
        nodes = Nodes(np.float32)
        carried, given = loop.all_of(Carried), loop.all_of(Given)
        wanted = self._wanted(loop)
        begins = [self._one(nodes, each.begin) for each in carried]
        stacks = [self._together(nodes, each.values, each.missing) for each in given]
        body = RoundBody(name, lambda value: self._one(nodes, value)).graph(loop, carried, given, wanted)
        # Rounds are counted by what is given, and of one step fewer there may be none, which onnxruntime refuses.
        is_short = len(loop.rounds) < NUM_TRACED
        if is_short:
            stacks = [_with_one_before(nodes, stack) for stack in stacks]
        if is_short or not given:
            numbers = self._counted(nodes, NUM_TRACED, is_falling=False)
            stacks.append(_with_true_rounds(body, nodes, numbers, len(carried), name) if is_short else numbers)
            if not is_short:
                body.inputs.append(ir.Value(name=f"{name}/number", type=ir.TensorType(ir.DataType.INT64)))
        attributes: dict[str, Any] = {"body": body, "num_scan_inputs": len(stacks)}
        made = nodes.ops("Scan", [*begins, *stacks], attributes, num_outputs=len(carried) + len(wanted))
        scan = nodes.made[-1]
        scan.metadata_props.update(whole_round(loop)[0].metadata_props)
        for value, each in zip(made, body.outputs, strict=True):
            value.type = each.type
        for state, value in zip(carried, made, strict=False):
            value.shape = state.begin.shape
            self._last[id(loop), state.made] = value
        for place, value in zip(wanted, made[len(carried) :], strict=True):
            one = whole_round(loop)[place.position].outputs[place.output]
            value.shape = None if one.shape is None else ir.Shape([None, *one.shape])
            self._all[id(loop), place] = _without_first(nodes, value) if is_short else value
        at = [node for node in loop.rounds[-1] if node is not None][-1]
        self._graph.insert_after(at, nodes.made)
        self._let_others_take(loop, wanted, nodes.made[-1])

    def _let_others_take(self, loop: Loop, wanted: Sequence[InRound], at: ir.Node) -> None:
        """Give those that use one round's value, and no list of them, that one."""
        for number, each in ((number, each) for number in range(len(loop.rounds)) for each in wanted):
            value = loop.value(number, each)
            if value is None:
                continue
            users = [(node, place) for node, place in value.uses() if id(node) not in self._places]
            users = [(node, place) for node, place in users if not is_of_steps(node)]
            if not users and not value.is_graph_output():
                continue
            nodes = Nodes(np.float32)
            one = self._one(nodes, value)
            if nodes.made:
                self._graph.insert_after(at, nodes.made)
            for node, place in users:
                node.replace_input_with(place, one)
            for place, output in enumerate(self._graph.outputs):
                if output is value:
                    self._graph.outputs[place] = one

    def _wanted(self, loop: Loop) -> list[InRound]:
        """What the rounds make that is used outside of them."""
        found: dict[InRound, None] = {}
        for node, _, position in loop.nodes:
            for output, value in enumerate(node.outputs):
                places = [self._places.get(id(user)) for user, _ in value.uses()]
                if value.is_graph_output() or any(place is None or place[0] is not loop for place in places):
                    found[InRound(position, output)] = None
        return list(found)

    def _one(self, nodes: Nodes, value: ir.Value) -> ir.Value:
        """A value by itself: what a round made is taken out of what all made."""
        place = self._places.get(id(value.producer()))
        if place is None:
            return value
        loop, number, position = place
        made = InRound(position, output_of(value))
        if number == len(loop.rounds) - 1 and (id(loop), made) in self._last:
            return self._last[id(loop), made]
        index = number if number < _NEAR else number - len(loop.rounds)
        if index < -_NEAR:
            raise ExportError("what is made at one step, in the middle, is used by itself")
        one = nodes.op("Gather", self._all[id(loop), made], _number(nodes, index), axis=0)
        one.type, one.shape = value.type, value.shape
        return one

    def _together(self, nodes: Nodes, values: Sequence[ir.Value], missing: int = 0) -> ir.Value:
        """Values of steps, one behind the other on the first axis; of the last piece as many more as are missing."""
        if is_progression(values):
            return self._progression(nodes, values, missing)
        pieces = pieces_of(values, self._places)
        parts = [self._piece(nodes, piece, missing if piece is pieces[-1] else 0) for piece in pieces]
        made = parts[0] if len(parts) == 1 else nodes.op("Concat", *parts, axis=0)
        like = values[0]
        made.type = like.type
        made.shape = None if like.shape is None else ir.Shape([None, *like.shape])
        return made

    def _piece(self, nodes: Nodes, piece: Piece, missing: int) -> ir.Value:
        value = piece.values[0]
        if len(piece.values) == 1 and not missing:
            if piece.source[0] == "step":
                value = self._step(nodes, value.producer())
            return nodes.op("Unsqueeze", self._one(nodes, value), nodes.integers([0]))
        if piece.source[0] == "step":
            node = value.producer()
            assert node is not None
            whole, number = node.inputs[0], NUM_TRACED
            assert whole is not None
            if axis := piece.source[2]:
                order = [axis, *(each for each in range(len(whole.shape or ())) if each != axis)]
                whole = nodes.op("Transpose", whole, perm=order)
                whole.type = value.type
        else:
            loop, _, position = self._places[id(value.producer())]
            whole, number = self._all[id(loop), InRound(position, output_of(value))], len(loop.rounds)
        return _cut(nodes, whole, piece, len(piece.values) + missing, number)

    def _step(self, nodes: Nodes, node: ir.Node | None) -> ir.Value:
        assert node is not None
        number, axis = (node.attributes[name].as_int() for name in ("number", "axis"))
        number -= NUM_TRACED * (number > NUM_TRACED - 1 - _NEAR)  # from the end, whatever the number of steps
        made = nodes.op("Gather", node.inputs[0], _number(nodes, number), axis=axis)
        made.type, made.shape = node.outputs[0].type, node.outputs[0].shape
        return made

    def _counted(self, nodes: Nodes, num_rounds: int, *, is_falling: bool) -> ir.Value:
        """Numbers from 0 on, as many as rounds, or back to 0."""
        place, axis = self._time
        zero, one = (_number(nodes, number) for number in (0, 1))
        at = _number(nodes, axis)
        number = nodes.op("Gather", nodes.op("Shape", self._graph.inputs[place]), at, axis=0)
        if num_rounds < NUM_TRACED:
            number = nodes.op("Sub", number, _number(nodes, NUM_TRACED - num_rounds))
        if not is_falling:
            return nodes.op("Range", zero, number, one)
        minus = _number(nodes, -1)
        return nodes.op("Range", nodes.op("Sub", number, one), minus, minus)

    def _progression(self, nodes: Nodes, values: Sequence[ir.Value], missing: int) -> ir.Value:
        """Constants that grow alike; those that fall end where they end, however many they are."""
        first, second, last = (constant_of(values[index]) for index in (0, 1, -1))
        assert first is not None
        assert second is not None
        assert last is not None
        is_falling = bool((second < first).any())
        numbers = self._counted(nodes, len(values) + missing, is_falling=is_falling)
        if first.ndim:
            numbers = nodes.op("Unsqueeze", numbers, nodes.integers(range(1, first.ndim + 1)))
        kind = ir.DataType.from_numpy(first.dtype)
        numbers = nodes.op("Cast", numbers, to=int(kind))
        step, base = (first - second, last - missing * (first - second)) if is_falling else (second - first, first)
        scaled = nodes.op("Mul", numbers, nodes.op("Constant", value=ir.tensor(step)))
        made = nodes.op("Add", scaled, nodes.op("Constant", value=ir.tensor(np.ascontiguousarray(base))))
        made.type, made.shape = ir.TensorType(kind), ir.Shape([None, *first.shape])
        return made

    def put_steps_together(self) -> None:
        """What is left of steps by their numbers, and of steps put together, as operators of ONNX."""
        for node in list(self._graph):
            if not is_of_steps(node) or not any(True for value in node.outputs if self._is_used(value)):
                continue
            nodes, old = Nodes(np.float32), node.outputs[0]
            if node.op_type == STEP_OPERATOR:
                made = self._step(nodes, node)
            else:
                axis = node.attributes["axis"].as_int()
                rank = len(old.shape or ())
                whole = self._together(nodes, [value for value in node.inputs if value is not None])
                made = nodes.op("Transpose", whole, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank)])
            made.type, made.shape = old.type, old.shape
            ir.convenience.replace_nodes_and_values(self._graph, node, [node], nodes.made, [old], [made])

    def _is_used(self, value: ir.Value) -> bool:
        """Whether anything but rounds, which are gone, takes it."""
        return value.is_graph_output() or any(id(user) not in self._places for user, _ in value.uses())


def _number(nodes: Nodes, number: int) -> ir.Value:
    return nodes.op("Constant", value=ir.tensor(np.array(number, np.int64)))


def _cut(nodes: Nodes, whole: ir.Value, piece: Piece, length: int, number: int) -> ir.Value:
    """A piece of ``length`` of so many steps on the first axis; what is near an end is counted from it."""
    first, last = piece.first, piece.first + piece.stride * (length - 1)
    if piece.stride > 0 and first == 0 and last == number - 1:
        return whole
    if min(first, last) > _NEAR or max(first, last) < number - 1 - _NEAR:
        raise ExportError("only some of the steps are put together")
    if piece.stride > 0:
        start, end = first, last + 1 - number or _MOST
    else:
        start, end = first - number, last - 1 if last else _LEAST
    ends = [nodes.integers([each]) for each in (start, end, 0, piece.stride)]
    made = nodes.op("Slice", whole, *ends)
    made.type = whole.type
    return made


def _with_one_before(nodes: Nodes, stack: ir.Value) -> ir.Value:
    """Zeros of one more step before those of a stack."""
    rest = nodes.op("Slice", nodes.op("Shape", stack), nodes.integers([1]), nodes.integers([_MOST]))
    zero = nodes.op("Cast", _number(nodes, 0), to=int(stack.dtype or 0))
    blank = nodes.op("Expand", zero, nodes.op("Concat", nodes.integers([1]), rest, axis=0))
    made = nodes.op("Concat", blank, stack, axis=0)
    made.type, made.shape = stack.type, stack.shape
    return made


def _with_true_rounds(body: ir.Graph, nodes: Nodes, numbers: ir.Value, num_carried: int, name: str) -> ir.Value:
    """Let, in place, a round that is no true one carry on what it is given; gives which are."""
    is_true = ir.Value(name=f"{name}/true", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    for place in range(num_carried):
        kept = ir.node("Where", [is_true, body.outputs[place], body.inputs[place]])
        kept.outputs[0].name = f"{name}/kept_{place}"
        kept.outputs[0].type, kept.outputs[0].shape = body.inputs[place].type, body.outputs[place].shape
        body.append(kept)
        body.outputs[place] = kept.outputs[0]
    body.inputs.append(is_true)
    made = nodes.op("Greater", numbers, _number(nodes, 0))
    made.type = ir.TensorType(ir.DataType.BOOL)
    return made


def _without_first(nodes: Nodes, stack: ir.Value) -> ir.Value:
    made = nodes.op("Slice", stack, *(nodes.integers([each]) for each in (1, _MOST, 0)))
    made.type, made.shape = stack.type, stack.shape
    return made
