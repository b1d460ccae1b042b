"""Scan and Loop along the steps of a foreign graph, whose carried values begin from a constant, made to take and to
give them.

What only tells a loop which step it is at, or gathers what each step made, is no state: it begins again with each
piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ostinato.export.graphs.observed import Size
from ostinato.export.graphs.rewiring import Hindered, Placement, Rewiring

_BODY_OFFSETS = {"Scan": (0, 0, 0), "Loop": (2, 2, 1)}
"""Where carried values begin among a node's inputs, its body's inputs, and its body's outputs."""
_INDEXED = {"Gather", "GatherElements", "GatherND", "Slice", "SequenceAt"}
_WRITTEN = {"ScatterElements", "ScatterND", "Scatter", "SequenceInsert", "SequenceErase", "TensorScatter"}
_OF_NUMBERS = {"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg", "Identity", "Unsqueeze", "Squeeze", "Reshape"}
_OF_NUMBERS |= {"Concat", "Expand", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Not", "And", "Or"}


@dataclass(frozen=True)
class _Carried:
    """A value that goes from round to round: before the loop, into the body, out of it, and behind the loop."""

    place: int
    begin: ir.Value
    given: ir.Value
    made: ir.Value
    last: ir.Value


def rewire_loop(rewiring: Rewiring, node: ir.Node) -> None:
    """Give a loop along the steps its states; others stay as they are.

    Raises:
        Hindered: it runs along the steps and cannot stream.
    """
    carried = list(_carried(node))
    if not (_scans_steps(rewiring, node) if node.op_type == "Scan" else _loops_over_steps(rewiring, node, carried)):
        return
    counters = _counters(rewiring, node, carried)
    for each in carried:
        if id(each.given) in counters or _is_kept(each) or rewiring.begins_with_inputs(each.begin, each.last):
            continue
        if placement := _placement(rewiring, each):
            _make_state(rewiring, node, each, placement)


def _carried(node: ir.Node) -> Iterator[_Carried]:
    body = node.attributes["body"].as_graph()
    before, given, made = _BODY_OFFSETS[node.op_type]
    scanned = node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
    for number in range(len(node.inputs) - before - scanned):
        begin = node.inputs[before + number]
        if begin is not None:
            yield _Carried(
                before + number, begin, body.inputs[given + number], body.outputs[made + number], node.outputs[number]
            )


def _scans_steps(rewiring: Rewiring, node: ir.Node) -> bool:
    """Whether a scan runs along the steps.

    Raises:
        Hindered: from the last one to the first.
    """
    count = node.attributes["num_scan_inputs"].as_int()
    axes, directions = (_integers(node, f"scan_input_{name}", count) for name in ("axes", "directions"))
    of_steps = []
    for value, axis, direction in zip(node.inputs[-count:], axes, directions, strict=True):
        sizes = rewiring.observed.sizes(value)
        if sizes is not None and sizes[axis].is_of_steps:
            of_steps.append(direction)
    if any(of_steps):
        raise Hindered("it runs backwards along the steps: what it answers depends on steps still to come")
    return bool(of_steps)


def _loops_over_steps(rewiring: Rewiring, node: ir.Node, carried: list[_Carried]) -> bool:
    """Whether a loop has more rounds for more steps."""
    base, longer = rewiring.observed.base, rewiring.observed.longer
    counts = [value for value in (node.inputs[0], *(each.last for each in carried)) if value is not None]
    names = [value.name or "" for value in counts]
    differ = [name for name in names if name in base and base[name].ndim <= 1 and base[name].dtype.kind == "i"]
    if any(name in longer and not np.array_equal(base[name], longer[name]) for name in differ):
        return True
    stacked = (rewiring.observed.sizes(value) for value in node.outputs[len(carried) :])
    return any(sizes is not None and sizes[0].is_of_steps and not sizes[0].batch for sizes in stacked)


def _counters(rewiring: Rewiring, node: ir.Node, carried: list[_Carried]) -> set[int]:
    """The ids of values of the body that tell which step it is at, and nothing else.

    Raises:
        Hindered: what is answered depends on that number.
    """
    body = node.attributes["body"].as_graph()
    numbers = [body.inputs[0]] if node.op_type == "Loop" else []
    for each in carried:
        array = rewiring.observed.base.get(each.last.name or "")
        sizes = rewiring.observed.sizes(each.last)
        if array is None or sizes is None or array.dtype.kind not in "ib" or not all(map(_is_fixed, sizes)):
            continue
        if array.size == 1 and not rewiring.begins_with_inputs(each.begin, each.last):
            numbers.append(each.given)
    known = {id(number) for number in numbers}
    outlets = {id(each.made) for each in carried if id(each.given) in known}
    outlets |= {id(body.outputs[0])} if node.op_type == "Loop" else set()
    for number in numbers:
        if _is_answered(number, outlets, body):
            raise Hindered(
                "it uses the number of the step, counted from the beginning of what it is given: in pieces it would "
                "count from the beginning of each"
            )
    return known


def _is_fixed(size: Size) -> bool:
    return not size.batch and not size.is_of_steps


def _is_answered(number: ir.Value, outlets: set[int], body: ir.Graph) -> bool:
    """Whether a number of a loop's body goes on to anything but places, conditions and itself."""
    waiting, seen = [number], {id(number)}
    while waiting:
        value = waiting.pop()
        if any(value is output for output in body.outputs) and id(value) not in outlets:
            return True
        for consumer, place in value.uses():
            if consumer.op_type in _INDEXED and place:
                data = consumer.inputs[0]
                if data is not None and (data.const_value is not None or _is_constant(data)):
                    return True
            elif consumer.op_type in ("Shape", "Size") or (consumer.op_type in _WRITTEN and place):
                continue
            elif consumer.op_type in _OF_NUMBERS or (consumer.op_type == "Cast" and _is_of_integers(consumer)):
                waiting.extend(made for made in consumer.outputs if id(made) not in seen)
                seen |= {id(made) for made in consumer.outputs}
            else:
                return True
    return False


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "Constant"


def _is_of_integers(cast: ir.Node) -> bool:
    kind = ir.DataType(cast.attributes["to"].as_int())
    return kind.numpy().kind in "ib"


def _is_kept(carried: _Carried) -> bool:
    """Whether the body gives back what it was given."""
    made: ir.Value | None = carried.made
    while made is not None and made is not carried.given:
        producer = made.producer()
        made = producer.inputs[0] if producer is not None and producer.op_type == "Identity" else None
    return made is not None


def _placement(rewiring: Rewiring, carried: _Carried) -> Placement | None:
    """How a carried value lies; None where it only gathers what the steps made.

    Raises:
        Hindered: it is not known which part of it is of which row.
    """
    sizes, begun = rewiring.observed.sizes(carried.last), rewiring.observed.sizes(carried.begin)
    if sizes is None or any(size.is_of_steps for size in (*sizes, *(begun or ()))):
        return None
    try:
        return rewiring.placement_of(carried.last, {})
    except Hindered as error:
        raise Hindered(f"{error}: {carried.given.name!r}") from error


def _make_state(rewiring: Rewiring, node: ir.Node, carried: _Carried, placement: Placement) -> None:
    initial = rewiring.initial_of(carried.begin, placement, carried.last)
    dtype = rewiring.dtype_of(carried.last)
    state = rewiring.add_state(node, str(carried.place), placement, dtype, initial)
    rewiring.put_state(node, placement, state, carried.place, node.outputs.index(carried.last))


def _integers(node: ir.Node, name: str, count: int) -> list[int]:
    attribute = node.attributes.get(name)
    return [0] * count if attribute is None else list(attribute.as_ints())
