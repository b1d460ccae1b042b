"""The first node of a graph that answers differently where a sequence comes in pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.feeding import Feeds, InputAxes
from ostinato.export.graphs.nodes import constant_of
from ostinato.export.graphs.observed import Exposed
from ostinato.export.graphs.rewiring import Obstacle
from ostinato.export.graphs.sources import name_of, used_by
from ostinato.service.artifact.tensors import State

_FIRST_PART = 0.4
_TOLERANCE = 1e-3
"""Of the largest number: rounding is less, what depends on other steps is more."""

_MEANS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSumSquare"}
_MEANS |= {"GlobalAveragePool", "GlobalMaxPool", "ReduceLogSum", "ReduceLogSumExp", "BatchNormalization"}
_NORMS = {"InstanceNormalization", "LayerNormalization", "GroupNormalization", "MeanVarianceNormalization"}
_PRODUCTS = {"Softmax", "LogSoftmax", "MatMul", "Gemm", "Einsum", "Attention", "MultiHeadAttention"}
_WINDOWS = {"Conv", "ConvTranspose", "AveragePool", "MaxPool", "QLinearConv", "ConvInteger", "LpPool", "DFT", "STFT"}
_SELECTS = {"Gather", "Slice", "GatherND", "GatherElements", "Split", "SplitToSequence"}
_LOOPS = {"Scan", "Loop"}
_SCALES = {"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"}
_REASONS = (
    (_PRODUCTS, "it puts all steps together, as attention does: what it answers depends on steps still to come"),
    (_MEANS | _NORMS, "it makes one number of all steps, those still to come included"),
    (_SCALES, "it takes the scale of its eight bits from all the steps that it is given together"),
    (_WINDOWS, "it looks at steps around each step that are not in the piece it is given"),
    (_SELECTS, "it takes steps by their place in the whole sequence"),
    (_LOOPS, "it keeps from step to step what could not be made a state"),
    ({"ReverseSequence", "TopK", "NonZero", "Unique", "Compress"}, "it puts the steps in an order of all of them"),
    ({"CumSum"}, "it sums up from the last step on, or what is no number of a row"),
)
"""What operators have to do with steps that they are not given."""


@dataclass(frozen=True)
class _Pieces:
    """A run over a whole sequence, and runs over its pieces one after the other."""

    whole: Mapping[str, Array]
    parts: Sequence[Mapping[str, Array]]
    lengths: Sequence[int]

    def differs(self, name: str) -> bool:
        """Whether a value is other in pieces than in the whole."""
        whole, parts = self.whole.get(name), [part.get(name) for part in self.parts]
        if whole is None or any(part is None for part in parts):
            return False
        return not any(_is_close(whole, joined) for joined in self._joined(whole, [p for p in parts if p is not None]))

    def _joined(self, whole: Array, parts: list[Array]) -> Iterator[Array]:
        """What pieces may be together: the last of them, or one behind the other along an axis, or within it."""
        yield parts[-1]
        if any(part.ndim != whole.ndim for part in parts):
            return
        for axis in range(whole.ndim):
            sizes = [part.shape[axis] for part in parts]
            yield from self._overlapping(whole.shape[axis], parts, sizes, axis)
            for outer in _divisors(parts, whole, axis, self.lengths):
                split = [part.reshape(*part.shape[:axis], outer, -1, *part.shape[axis + 1 :]) for part in parts]
                if len({each.shape[: axis + 1] + each.shape[axis + 2 :] for each in split}) == 1:
                    yield np.concatenate(split, axis=axis + 1).reshape(whole.shape)

    def _overlapping(self, size: int, parts: list[Array], sizes: list[int], axis: int) -> Iterator[Array]:
        """Pieces along an axis, each with some steps of the one before."""
        overlap, more = divmod(sum(sizes) - size, len(parts) - 1)
        others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
        new = [each - overlap for each in sizes]
        if more or overlap < 0 or min(new) <= 0 or len(others) > 1:
            return
        if any(each * self.lengths[0] != new[0] * length for each, length in zip(new, self.lengths, strict=True)):
            return
        yield np.concatenate(
            [parts[0], *(part.take(range(overlap, part.shape[axis]), axis) for part in parts[1:])], axis
        )


def _divisors(parts: list[Array], whole: Array, axis: int, lengths: Sequence[int]) -> Iterator[int]:
    """How many times the steps may stand one behind the other within an axis."""
    sizes = [part.shape[axis] for part in parts]
    if sum(sizes) != whole.shape[axis] or any(size % length for size, length in zip(sizes, lengths, strict=True)):
        return
    times = sizes[0] // lengths[0]
    yield from (outer for outer in range(2, times + 1) if times % outer == 0)


def _is_close(whole: Array, joined: Array) -> bool:
    if whole.shape != joined.shape:
        return False
    if whole.dtype.kind != "f":
        return bool(np.array_equal(whole, joined))
    a, b = whole.astype(np.float64), joined.astype(np.float64)
    finite = np.abs(a[np.isfinite(a)])
    scale = float(finite.max()) if finite.size else 1.0
    return bool(np.allclose(a, b, rtol=0, atol=_TOLERANCE * scale, equal_nan=True))


def first_dependence(
    model: ir.Model, feeds: Feeds, axes: InputAxes, states: Sequence[State] = (), unit: int = 1
) -> Obstacle | None:
    """The first node whose value is other in pieces than in the whole, beyond rounding; None where none is.

    Args:
        model: with states as inputs and outputs.
        feeds: inputs of a whole run of three steps at least, the states left out.
        axes: of each input which axis is the batch, and which has the steps.
        unit: each piece is a multiple of so many steps.
    """
    batch_size = next(
        (feeds[name].shape[batch] for name, (batch, _) in axes.items() if batch is not None and name in feeds), 1
    )
    num_steps = next(feeds[name].shape[time] for name, (_, time) in axes.items() if time is not None and name in feeds)
    dtypes = {value.name: value.dtype for value in model.graph.inputs}
    known = [state for state in states if state.input in dtypes]
    begin = {state.input: _initial(state, batch_size, dtypes[state.input]) for state in known}
    exposed = Exposed(model, {**feeds, **begin})
    lengths, length = _lengths(num_steps, unit), num_steps
    parts: list[Mapping[str, Array]] = []
    try:
        whole = exposed.run({**feeds, **begin})
        carried = begin
        for piece in _pieces_of(feeds, axes, lengths):
            length = lengths[len(parts)]
            parts.append(exposed.run({**piece, **carried}))
            carried = {state.input: parts[-1].get(state.output, carried[state.input]) for state in known}
    except Exception as error:  # onnxruntime's own exceptions share no base class
        found = failure(exposed.nodes, str(error), f"{length} steps")
        return found or Obstacle(model.graph.name or "", "graph", f"it cannot run with {length} steps: {error}")
    return _found(exposed, _Pieces(whole, parts, lengths), begin)


def _lengths(num_steps: int, unit: int) -> list[int]:
    """Of three pieces: an odd number of units, one unit, and the rest."""
    first = (int(_FIRST_PART * num_steps / unit) | 1) * unit
    return [first, unit, num_steps - first - unit]


def _pieces_of(feeds: Feeds, axes: InputAxes, lengths: Sequence[int]) -> Iterator[dict[str, Array]]:
    """The inputs of each piece."""
    first = 0
    for length in lengths:
        steps = range(first, first + length)
        times = {name: axes.get(name, (None, None))[1] for name in feeds}
        yield {
            name: array if (time := times[name]) is None else array.take(steps, axis=time)
            for name, array in feeds.items()
        }
        first += length


def _initial(state: State, batch_size: int, dtype: ir.DataType | None) -> Array:
    row = np.expand_dims(state.initial_row(), state.batch_axis)
    rows = np.repeat(row, batch_size, axis=state.batch_axis)
    return rows if dtype is None else rows.astype(dtype.numpy())


def failure(nodes: Iterable[ir.Node], message: str, what: str) -> Obstacle | None:
    """The node at which onnxruntime failed, in its own words; None where it names none."""
    named, _, words = message.partition("Status Message:")
    node = next((node for node in nodes if node.name and f"Name:'{node.name}'" in named), None)
    return (
        None if node is None else Obstacle(name_of(node), node.op_type, f"it cannot run with {what}: {words.strip()}")
    )


def _found(exposed: Exposed, pieces: _Pieces, carried: Collection[str]) -> Obstacle | None:
    """Of the nodes that answer differently the first one that data go through."""
    of_data = {id(value) for value in exposed.inputs if value.name not in carried}
    of_states = {id(value) for value in exposed.inputs if value.name in carried}
    for node in exposed.nodes:
        given = used_by(node)
        if node.op_type in ("Shape", "Size"):
            continue
        if any(id(value) in of_states for value in given):
            of_states |= {id(value) for value in node.outputs}
        if not any(id(value) in of_data for value in given):
            continue
        of_data |= {id(value) for value in node.outputs}
        looked_at = [each.name for each in node.outputs if each.name and (each.uses() or each.name in exposed.answers)]
        if any(map(pieces.differs, looked_at)):
            counted = [v for v in given if id(v) not in of_data | of_states and pieces.differs(v.name or "")]
            return Obstacle(name_of(node), node.op_type, _reason(node, counted))
    return None


def _reason(node: ir.Node, counted: Sequence[ir.Value]) -> str:
    """Why a node answers differently in pieces."""
    steps = constant_of(node.inputs[4]) if node.op_type == "Slice" and len(node.inputs) > 4 else None
    if steps is not None and bool(np.any(steps < 0)):
        return "it turns the steps round, so that the last one comes first"
    if counted and node.op_type not in _SELECTS | _LOOPS:
        return "it takes what depends on the number of a step, counted from the beginning of what it is given"
    found = (reason for operators, reason in _REASONS if node.op_type in operators)
    return next(found, "it answers differently where the sequence comes in pieces")
