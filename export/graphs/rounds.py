"""Rounds of unrolled loops over the steps, found in a graph by what repeats itself, and what each is given.

What differs between them is what a ``Scan`` gives a round: the step's part of something over all steps, the step's
number, or what the round before made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import onnx_ir as ir

from ostinato.export.graphs.counted import NUM_TRACED, STEP, STEPS
from ostinato.export.graphs.nodes import constant_of

_TRACE = "pkg.torch.onnx.stack_trace"
_DOMAIN, _, STEP_OPERATOR = STEP.partition("::")
_STEPS = STEPS.partition("::")[2]
_NEAR_ENDS = 2
"""Steps by themselves, before or behind those that follow from each other."""


class InRound(NamedTuple):
    """What a round makes: the node's position in it, and which of its outputs."""

    position: int
    output: int


class Carried(NamedTuple):
    """What a round is given of the one before, and what the first begins with."""

    made: InRound
    begin: ir.Value


class Given(NamedTuple):
    """Values that differ from round to round, in their order; ``missing``: the last one is not in the graph."""

    values: tuple[ir.Value, ...]
    missing: int = 0


AnyOrigin = TypeVar("AnyOrigin", Carried, Given)
Origin: TypeAlias = "InRound | Carried | Given | ir.Value | None"


@dataclass(eq=False)
class Loop:
    """Rounds of nodes, ``rounds[k][position]``; the last one lacks those whose outputs nobody uses.

    ``inputs``: for each node of a round what its inputs are: ``InRound`` of the same round, ``Carried``, ``Given``, or
    a value that is the same in all.
    """

    rounds: Sequence[Sequence[ir.Node | None]]
    inputs: list[list[Origin]] = field(default_factory=list)

    def all_of(self, kind: type[AnyOrigin]) -> list[AnyOrigin]:
        """Its carried or given values, each once."""
        return list(dict.fromkeys(each for row in self.inputs for each in row if isinstance(each, kind)))

    @property
    def nodes(self) -> Iterator[tuple[ir.Node, int, int]]:
        """Each node, its round and position."""
        for number, each in enumerate(self.rounds):
            for position, node in enumerate(each):
                if node is not None:
                    yield node, number, position

    def value(self, number: int, made: InRound) -> ir.Value | None:
        """What a round made."""
        node = self.rounds[number][made.position]
        return None if node is None else node.outputs[made.output]


Places = dict[int, tuple[Loop, int, int]]
"""Identity of a node -> its loop, round and position."""


def is_of_steps(node: ir.Node) -> bool:
    """Whether it takes a step of all, or puts all together."""
    return node.domain == _DOMAIN and node.op_type in (STEP_OPERATOR, _STEPS)


def find_loops(nodes: Sequence[ir.Node]) -> Places:
    """What repeats itself once for each step, or for all but one, and can be told from round to round."""
    prints: dict[Any, int] = {}
    marks = np.array([prints.setdefault(_fingerprint(node), len(prints)) for node in nodes])
    candidates = sorted(_repeats(marks))
    places: Places = {}
    found = True
    while found:  # what one loop takes from another is known when that is found
        found = False
        for start, period, length in candidates:
            loop = _loop_within(nodes, places, start, period, length)
            if loop is not None:
                places |= {id(node): (loop, number, position) for node, number, position in loop.nodes}
                found = True
    order = {id(node): index for index, node in enumerate(nodes)}
    return dict(sorted(places.items(), key=lambda item: order[item[0]]))


def _fingerprint(node: ir.Node) -> Any:
    """What is the same in all rounds of a loop: the operator, its attributes and the line it comes from."""
    attributes = tuple((name, _plain(each.value)) for name, each in sorted(node.attributes.items()))
    given = tuple(value is None for value in node.inputs)
    return node.domain, node.op_type, attributes, given, len(node.outputs), node.metadata_props.get(_TRACE, "")


def _plain(value: Any) -> Any:
    return value.numpy().tobytes() if hasattr(value, "numpy") else str(value)


def _repeats(marks: Any) -> Iterator[tuple[int, int, int]]:
    """Start, period and length of each stretch that is as it was a period before."""
    for period in range(1, len(marks) // (NUM_TRACED - 2) + 1):
        same = np.concatenate([[False], marks[:-period] == marks[period:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= (NUM_TRACED - 3) * period:
                yield int(start), period, int(end - start) + period


def _loop_within(nodes: Sequence[ir.Node], places: Places, start: int, period: int, length: int) -> Loop | None:
    """The loop in a stretch that repeats itself, over all steps, or all but the first or last."""
    for num_rounds in (NUM_TRACED, NUM_TRACED - 1, NUM_TRACED - 2):
        for first in range(start, start + length - num_rounds * period + 1):
            end = first + num_rounds * period
            if any(id(node) in places for node in nodes[first:end]):
                continue
            loop = _understood([nodes[at : at + period] for at in range(first, end, period)], places)
            if loop is not None and num_rounds < NUM_TRACED:
                loop = _with_last(loop, nodes[end : end + period], places)
            if loop is not None and len(loop.rounds) >= NUM_TRACED - 1:
                return loop
    return None


def _with_last(loop: Loop, nodes: Sequence[ir.Node], places: Places) -> Loop:
    """The loop with one more round, of which torch left out what nobody uses; itself where there is none."""
    waiting = [node for node in nodes if id(node) not in places]
    last: list[ir.Node | None] = []
    more: dict[Given, ir.Value] = {}
    before = loop.rounds[-1]
    for row, kinds, model in zip(range(len(before)), loop.inputs, before, strict=True):
        node = waiting[0] if waiting else None
        if node is not None and model is not None and _fingerprint(node) == _fingerprint(model):
            found = _follows(loop, last, kinds, node.inputs, places)
            if found is not None:
                more |= found
                last.append(waiting.pop(0))
                continue
        last.append(None)
        assert len(last) == row + 1
    if not any(node is not None for node in last):
        return loop
    longer = {
        each: Given((*each.values, more[each])) if each in more else Given(each.values, 1)
        for each in loop.all_of(Given)
    }
    inputs = [[longer[kind] if isinstance(kind, Given) else kind for kind in kinds] for kinds in loop.inputs]
    return Loop([*loop.rounds, last], inputs)


def _follows(
    loop: Loop,
    last: Sequence[ir.Node | None],
    kinds: Sequence[Origin],
    values: Sequence[ir.Value | None],
    places: Places,
) -> dict[Given, ir.Value] | None:
    """What one more round's node is given of what differs from round to round; None where it is no such node."""
    given: dict[Given, ir.Value] = {}
    for kind, value in zip(kinds, values, strict=True):
        wanted: ir.Value | None = None
        if isinstance(kind, InRound):
            node = last[kind.position]
            wanted = None if node is None else node.outputs[kind.output]
        elif isinstance(kind, Carried):
            wanted = loop.value(-1, kind.made)
        elif isinstance(kind, Given):
            if value is None or not _goes_on(kind.values, value, places):
                return None
            given[kind] = wanted = value
        else:
            wanted = kind
        if wanted is not value and not _are_equal(wanted, value):
            return None
    return given


def _goes_on(values: Sequence[ir.Value], value: ir.Value, places: Places) -> bool:
    if is_progression(values):
        return is_progression((*values, value))
    return len(pieces_of((*values, value), places)) == len(pieces_of(values, places))


def _are_equal(one: ir.Value | None, other: ir.Value | None) -> bool:
    numbers = constant_of(one), constant_of(other)
    return numbers[0] is not None and numbers[1] is not None and np.array_equal(numbers[0], numbers[1])


def _understood(rounds: Sequence[Sequence[ir.Node]], places: Places) -> Loop | None:
    """The loop of these rounds; None where one is given what the others are not."""
    loop = Loop(rounds)
    own = {id(node): (number, position) for number, each in enumerate(rounds) for position, node in enumerate(each)}
    for row in zip(*rounds, strict=True):
        inputs = []
        for values in zip(*(node.inputs for node in row), strict=True):
            found = _input_of(values, own, places)
            if found is None and values[0] is not None:
                return None
            inputs.append(found)
        loop.inputs.append(inputs)
    # One that is given nothing and hands nothing on is no loop over the steps.
    kinds = [kind for row in loop.inputs for kind in row]
    return loop if any(isinstance(kind, Given | Carried) for kind in kinds) else None


def _input_of(values: Sequence[ir.Value | None], own: Mapping[int, tuple[int, int]], places: Places) -> Origin:
    first = values[0]
    if first is None or any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    made = [own.get(id(value.producer())) for value in known]
    if made[0] is not None:
        is_own = all(each == (number, made[0][1]) for number, each in enumerate(made)) and _are_like_outputs(known)
        return InRound(made[0][1], output_of(first)) if is_own else None
    if made[1] is not None:
        is_carried = all(each == (number, made[1][1]) for number, each in enumerate(made[1:]))
        is_carried = is_carried and _are_like_outputs(known[1:]) and first.dtype == known[1].dtype
        return Carried(InRound(made[1][1], output_of(known[1])), first) if is_carried else None
    if all(value is first for value in known):
        return first
    numbers = [constant_of(value) for value in known]
    if numbers[0] is not None and all(each is not None and np.array_equal(each, numbers[0]) for each in numbers):
        return first
    return Given(tuple(known)) if is_progression(known) or _are_of_steps(known, places) else None


def output_of(value: ir.Value) -> int:
    """Which output of its node a value is."""
    index = value.index()
    assert index is not None
    return index


def _are_like_outputs(values: Sequence[ir.Value]) -> bool:
    return len({value.index() for value in values}) == 1


def is_progression(values: Sequence[ir.Value]) -> bool:
    """Whether they are constants that grow alike, as the numbers of steps do."""
    numbers = [constant_of(value) for value in values]
    if any(each is None or each.dtype.kind not in "iuf" or each.shape != numbers[0].shape for each in numbers):  # type: ignore[union-attr]
        return False
    wide = np.stack([np.asarray(each, np.float64) for each in numbers])
    steps = np.diff(wide, axis=0)
    return bool(np.allclose(steps, steps[:1], rtol=1e-5, atol=0.0))


def _are_of_steps(values: Sequence[ir.Value], places: Places) -> bool:
    pieces = pieces_of(values, places)
    return len(pieces) <= 1 + _NEAR_ENDS and any(len(piece.values) > 1 for piece in pieces)


class Piece(NamedTuple):
    """Values of the steps ``first``, ``first + stride``, ... of one source."""

    source: Any
    first: int
    stride: int
    values: tuple[ir.Value, ...]

    def with_next(self, source: Any, step: int, value: ir.Value) -> Piece | None:
        """The same and one more; None where that does not follow."""
        stride = step - (self.first + self.stride * (len(self.values) - 1))
        follows = source == self.source and (stride == self.stride or (len(self.values) == 1 and abs(stride) == 1))
        return Piece(source, self.first, stride, (*self.values, value)) if follows else None


def pieces_of(values: Sequence[ir.Value], places: Places) -> list[Piece]:
    """Values one behind the other, those together that are steps of one source."""
    pieces: list[Piece] = []
    for value in values:
        source, step = _source_of(value, places)
        longer = pieces[-1].with_next(source, step, value) if pieces else None
        if longer is None:
            pieces.append(Piece(source, step, 1, (value,)))
        else:
            pieces[-1] = longer
    return pieces


def _source_of(value: ir.Value, places: Places) -> tuple[Any, int]:
    node = value.producer()
    if node is not None and node.domain == _DOMAIN and node.op_type == STEP_OPERATOR:
        axis, number = (node.attributes[name].as_int() for name in ("axis", "number"))
        return ("step", id(node.inputs[0]), axis), number % NUM_TRACED
    if node is not None and id(node) in places:
        loop, number, position = places[id(node)]
        return ("loop", id(loop), position, value.index()), number
    return ("alone", id(value)), 0


def whole_round(loop: Loop) -> list[ir.Node]:
    """A round that lacks nothing and is begun by another."""
    return [node for node in loop.rounds[1] if node is not None]
