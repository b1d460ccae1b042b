"""Graphs as others write them, and runs of them whole, in pieces and row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.branches import opened
from ostinato.export.graphs.invariant import make_invariant
from ostinato.export.graphs.rewired import InputAxes, Rewired
from ostinato.service.artifact.tensors import State

LENGTHS = (2, 1, 5, 4)
"""Of the pieces that a sequence comes in."""
HEADER = '<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>\n'


def parsed(text: str, **weights: Any) -> ir.Model:
    """A graph in ONNX's own words, ``name (inputs) => (outputs) {nodes}``, with weights by their names."""
    model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
    named = {value.name: value for value in _undefined(model)}
    for name, array in weights.items():
        value = named.get(name) or ir.Value(name=name)
        value.const_value = ir.tensor(np.asarray(array), name=name)
        value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(np.shape(array))
        model.graph.register_initializer(value)
    return model


def _undefined(model: ir.Model) -> list[ir.Value]:
    """Values that nothing makes: the parser knows no weights of any size."""
    given = {id(value) for value in model.graph.inputs}
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    inputs = (value for node in nodes for value in node.inputs if value is not None)
    return [value for value in inputs if value.producer() is None and id(value) not in given]


def drawn(*shape: int, seed: int = 0) -> Array:
    """Weights, or a sequence."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(
    operator: str, num_features: int, hidden_size: int, num_directions: int = 1, seed: int = 0
) -> dict[str, Array]:
    """The weights ``W``, ``R`` and ``Bias`` of an ONNX layer."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator] * hidden_size
    return {
        "W": drawn(num_directions, gates, num_features, seed=seed),
        "R": drawn(num_directions, gates, hidden_size, seed=seed + 1) * 0.5,
        "Bias": drawn(num_directions, 2 * gates, seed=seed + 2),
    }


def run(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph, by name."""
    names = [value.name or "" for value in model.graph.outputs]
    return dict(zip(names, _session(model).run(names, dict(feeds)), strict=True))


def _session(model: ir.Model) -> Any:
    """A graph under onnxruntime, in the form that rounds alike in runs of any size."""
    copy = model.clone()
    make_invariant(copy)
    return opened(copy)


def beginning(states: Sequence[State], batch_size: int) -> dict[str, Array]:
    """States of sequences that have not begun."""
    rows = ((state, np.expand_dims(state.initial_row(), state.batch_axis)) for state in states)
    return {state.input: np.repeat(row, batch_size, axis=state.batch_axis) for state, row in rows}


def run_in_pieces(
    rewired: Rewired, feeds: Mapping[str, Array], axes: InputAxes, rows: slice = slice(None), unit: int = 1
) -> list[dict[str, Array]]:
    """The outputs of each piece of a sequence, of some rows of the batch."""
    session = _session(rewired.model)
    names = [value.name or "" for value in rewired.model.graph.outputs]
    feeds = {
        name: array if axes[name][0] is None else _part(array, axes[name][0], rows) for name, array in feeds.items()
    }
    batch_size = next(array.shape[axes[name][0] or 0] for name, array in feeds.items())
    states, made, first = beginning(rewired.states, batch_size), [], 0
    for length in (unit * each for each in LENGTHS):
        piece = {name: _part(array, axes[name][1], slice(first, first + length)) for name, array in feeds.items()}
        made.append(dict(zip(names, session.run(names, {**piece, **states}), strict=True)))
        states = {state.input: made[-1][state.output] for state in rewired.states}
        for state in rewired.states:
            assert np.delete(states[state.input].shape, state.batch_axis).tolist() == list(state.row_shape)
        first += length
    return made


def _part(array: Array, axis: int | None, part: slice) -> Array:
    return array if axis is None else array[(*[slice(None)] * axis, part)]


def assert_streams(
    model: ir.Model,
    rewired: Rewired,
    feeds: Mapping[str, Array],
    axes: InputAxes,
    outputs: Mapping[str, tuple[int, int | None]],
    unit: int = 1,
) -> None:
    """As ``assert_answers``, of what the graph answered before."""
    assert_answers(rewired, feeds, axes, outputs, run(model, feeds), unit)


def assert_answers(
    rewired: Rewired,
    feeds: Mapping[str, Array],
    axes: InputAxes,
    outputs: Mapping[str, tuple[int, int | None]],
    expected: Mapping[str, Array],
    unit: int = 1,
) -> None:
    """Whole = in pieces = in pieces by themselves, to the bit; and, but for rounding, what is expected.

    Args:
        outputs: of each the axis of the batch and of the steps; without one the last piece's answer is that of all.
        unit: pieces are of a multiple of so many steps.
    """
    assert [str(obstacle) for obstacle in rewired.obstacles] == []
    batch_size = next(array.shape[axes[name][0] or 0] for name, array in feeds.items())
    whole = run(rewired.model, {**feeds, **beginning(rewired.states, batch_size)})
    for name in outputs:
        np.testing.assert_allclose(whole[name], expected[name], rtol=0, atol=4e-6)
    for rows in (slice(None), *(slice(row, row + 1) for row in range(batch_size))):
        pieces = run_in_pieces(rewired, feeds, axes, rows, unit)
        for name, (batch, time) in outputs.items():
            arrays = [piece[name] for piece in pieces]
            joined = arrays[-1] if time is None else np.concatenate(arrays, axis=time)
            np.testing.assert_array_equal(joined, _part(whole[name], batch, rows))
