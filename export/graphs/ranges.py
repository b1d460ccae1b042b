"""Ranges: what is known of the numbers of a graph before it runs, from its weights and from what may go in.

A range holds for every input that is let through: ``bound`` is at least the absolute value of each number (infinity
where there may be an infinity), and ``may_be_nan`` says whether one may be NaN. What is not known of an operator
counts as anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.graphs.tidy import bodies_of

_MOVING = {
    *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Expand", "Split", "Flatten", "Tile"),
    *("Gather", "GatherND", "GatherElements", "Neg", "Abs"),
}
"""Operators whose numbers are those of their first input, moved."""
_CHOOSING = {"Concat", "Where", "Max", "Min", "ScatterElements", "ScatterND"}
"""Operators each of whose numbers is one of an input's."""
_SQUASHING = {"Tanh": 1.0, "Sigmoid": 1.0, "HardSigmoid": 1.0, "Erf": 1.0, "Sin": 1.0, "Cos": 1.0}
_SHRINKING = {"Relu", "LeakyRelu", "Gelu", "Elu", "Selu", "HardSwish", "Mish", "ReduceMax", "ReduceMin", "ReduceMean"}
"""Operators that make no number larger than 2 and what goes in is."""


class Range(NamedTuple):
    """What the numbers of a tensor may be."""

    bound: float
    may_be_nan: bool

    @property
    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return not self.may_be_nan and self.bound < np.inf


FINITE = Range(float(np.finfo(np.float32).max), False)
MAY_BE_MISSING = Range(FINITE.bound, True)
ANYTHING = Range(np.inf, True)


class Ranges:
    """The ranges of a graph's values.

    Args:
        given: name of a graph's input -> its range; ``FINITE`` where it is not named.
    """

    def __init__(self, given: Mapping[str, Range]) -> None:
        self._given = given
        self._known: dict[int, Range] = {}

    def of(self, value: ir.Value | None) -> Range:
        """The range of one value; of none, as an operator's absent input, the numbers are 0."""
        if value is None:
            return Range(0.0, False)
        if id(value) not in self._known:
            self._known[id(value)] = self._overflowing(value, self._work_out(value))
        return self._known[id(value)]

    def enter(self, node: ir.Node) -> list[ir.Graph]:
        """The graphs within an operator, when it is known what may go into them."""
        bodies = bodies_of(node)
        if bodies and node.op_type == "Scan":
            self.of(node.outputs[0])
        else:
            self._known |= {id(value): ANYTHING for body in bodies for value in body.inputs}
        return bodies

    def _overflowing(self, value: ir.Value, found: Range) -> Range:
        """``found`` with infinity where the dtype holds no number so large."""
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        if dtype.kind != "f":
            return Range(min(found.bound, 2.0**63), False)
        return Range(found.bound if found.bound <= float(np.finfo(dtype).max) else np.inf, found.may_be_nan)

    def _work_out(self, value: ir.Value) -> Range:
        constant = constant_of(value)
        if constant is not None:
            return _range_of(constant)
        node = value.producer()
        if node is None:
            return self._given.get(value.name or "", FINITE)
        if node.op_type in ("LSTM", "GRU", "RNN"):
            return self._recurrent(node, value)
        if node.op_type == "Scan":
            self._known |= {id(each): self._overflowing(each, found) for each, found in self._scan(node)}
            return self._known[id(value)]
        if node.op_type == "Cast" or node.op_type in _MOVING:
            return self.of(node.inputs[0])
        if node.op_type in _CHOOSING:
            chosen = node.inputs[1:] if node.op_type == "Where" else node.inputs
            return _either([self.of(part) for part in chosen])
        if node.op_type in _SQUASHING:
            return Range(_SQUASHING[node.op_type], self.of(node.inputs[0]).may_be_nan)
        if node.op_type in _SHRINKING:
            given = self.of(node.inputs[0])
            return Range(2.0 * max(given.bound, 1.0), given.may_be_nan or given.bound == np.inf)
        work_out = _ARITHMETIC.get(node.op_type)
        return ANYTHING if work_out is None else work_out(node, [self.of(part) for part in node.inputs])

    def _scan(self, node: ir.Node) -> list[tuple[ir.Value, Range]]:
        """What a step makes of a state goes into the next: so its range is widened until it holds what comes out."""
        body = node.attributes["body"].as_graph()
        num_states = len(body.inputs) - node.attributes["num_scan_inputs"].as_int()
        given = [self.of(value) for value in node.inputs]
        begun = given[:num_states]
        for rounds in itertools.count():
            for inner in ir.traversal.RecursiveGraphIterator(body):
                for value in inner.outputs:
                    self._known.pop(id(value), None)
            self._known |= {id(value): each for value, each in zip(body.inputs, given, strict=True)}
            made = [self.of(value) for value in body.outputs]
            wider = [_either(pair) for pair in zip(begun, made, strict=False)]
            if wider == begun:
                return list(zip(node.outputs, made, strict=True))
            grown = zip(begun, wider, strict=True)
            begun = [after if rounds == 0 or before == after else ANYTHING for before, after in grown]
            given[:num_states] = begun
        raise AssertionError("no range is wider than anything")

    def _recurrent(self, node: ir.Node, value: ir.Value) -> Range:
        """Hidden states lie between -1 and 1, or where they began; a cell grows by 1 a step at most."""
        given = [self.of(node.inputs[index]) for index in (0, 5, 6) if index < len(node.inputs)]
        if node.op_type == "RNN" and "Relu" in str(node.attributes.get("activations", "")):
            return ANYTHING
        begun = max((each.bound for each in given[1:]), default=0.0)
        is_cell = node.op_type == "LSTM" and value is node.outputs[-1]
        bound = FINITE.bound if is_cell and begun < np.inf else max(1.0, begun)
        return Range(bound, any(not each.is_finite for each in given))


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of a weight or a constant; None of any other value."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _range_of(numbers: NDArray[Any]) -> Range:
    if numbers.dtype.kind != "f":
        return Range(float(np.abs(numbers.astype(np.float64)).max(initial=0.0)), False)
    missing = np.isnan(numbers)  # all of them, where a constant is NaN
    return Range(float(np.abs(numbers[~missing]).max(initial=0.0)), bool(missing.any()))


def _either(ranges: Sequence[Range]) -> Range:
    return Range(max(each.bound for each in ranges), any(each.may_be_nan for each in ranges))


def _sum(_node: ir.Node, given: list[Range]) -> Range:
    infinite = sum(each.bound == np.inf for each in given)
    return Range(sum(each.bound for each in given), any(each.may_be_nan for each in given) or infinite > 1)


def _product(_node: ir.Node, given: list[Range]) -> Range:
    bounds = [each.bound for each in given]
    is_finite = np.inf not in bounds
    bound = float(np.prod(bounds)) if is_finite else np.inf
    return Range(bound, any(each.may_be_nan for each in given) or not is_finite)


def _quotient(node: ir.Node, given: list[Range]) -> Range:
    divisor = constant_of(node.inputs[1])
    least = float(np.abs(divisor).min(initial=np.inf)) if divisor is not None else 0.0
    if not least > 0.0 or given[0].bound == np.inf:
        return ANYTHING
    return Range(given[0].bound / least, given[0].may_be_nan or given[1].may_be_nan)


def _clipped(node: ir.Node, given: list[Range]) -> Range:
    limits = [constant_of(limit) for limit in (*node.inputs[1:3], None, None)][:2]
    if any(limit is None for limit in limits):
        return given[0]
    return Range(max(float(np.abs(limit).max()) for limit in limits if limit is not None), given[0].may_be_nan)


def _exponential(_node: ir.Node, given: list[Range]) -> Range:
    # 88 is the largest whole number of which the exponential is still finite in float32.
    return Range(float(np.exp(given[0].bound)) if given[0].bound <= 88.0 else np.inf, given[0].may_be_nan)


def _matrix(node: ir.Node, given: list[Range]) -> Range:
    """``x W``, or ``x W + b``, with weights that are known."""
    weights = constant_of(node.inputs[1])
    if weights is None or weights.ndim != 2 or not given[0].bound < np.inf:
        return ANYTHING
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
    sums = float(np.abs(weights.astype(np.float64)).sum(axis=1 if transposed else 0).max(initial=0.0))
    added = given[2].bound if len(given) > 2 else 0.0
    return Range(given[0].bound * sums + added, any(each.may_be_nan for each in given))


def _normalised(node: ir.Node, given: list[Range]) -> Range:
    """Layer normalisation: no number is further from the mean than the deviation times the root of their count."""
    scale = constant_of(node.inputs[1])
    # The squares of larger numbers overflow.
    if scale is None or not given[0].bound < 1e15:
        return ANYTHING
    added = given[2].bound if len(given) > 2 else 0.0
    return Range(float(np.sqrt(scale.size)) * given[1].bound + added, any(each.may_be_nan for each in given))


_ARITHMETIC: dict[str, Callable[[ir.Node, list[Range]], Range]] = {
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
    "Div": _quotient,
    "Clip": _clipped,
    "Exp": _exponential,
    "Softmax": lambda _node, given: Range(1.0, not given[0].is_finite),
    "MatMul": _matrix,
    "Gemm": _matrix,
    "LayerNormalization": _normalised,
}
