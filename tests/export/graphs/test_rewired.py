from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.rewired import rewire
from ostinato.service.artifact.tensors import State
from tests.export.graphs.foreign import assert_answers, drawn, parsed
from tests.foreign import FOREIGN
from tests.foreign.case import Foreign

CASES = {name: make() for name, make in FOREIGN.items()}
HIDDEN = [name for name, case in CASES.items() if case.hidden]
SEQUENCES = [name for name, case in CASES.items() if case.task == "sequence"]
EXPLICIT = [name for name, case in CASES.items() if case.task == "recurrent" and not case.hidden and not case.framing]


def opened_up(case: Foreign) -> ir.Model:
    """The graph, the axes of its inputs open that are fixed without need."""
    model = ir.from_proto(case.model)
    for value in model.graph.inputs:
        if case.fixed and value.name is not None and value.name in case.axes:
            value.shape = ir.Shape(case.axes[value.name])
    return model


def axes_of(case: Foreign, name: str) -> tuple[int, int | None]:
    shape = case.axes[name]
    return shape.index("B"), shape.index("T") if "T" in shape else None


def laid_out(rows: Array, shape: tuple[int | str, ...]) -> Array:
    """``[B, T, *row]`` in a graph's axes."""
    order = [axis for axis in ("B", "T") if axis in shape]
    return np.moveaxis(rows, range(len(order)), [shape.index(axis) for axis in order])


@pytest.mark.parametrize("name", HIDDEN)
def test_what_began_with_a_constant_streams_what_its_equations_say(name: str) -> None:
    case = CASES[name]
    axes = {part: axes_of(case, part) for part in case.rows}
    rewired = rewire(opened_up(case), axes)
    assert len(rewired.states) == len(rewired.words) == case.hidden
    given = case.draw(3, 12)
    outputs = {part: axes_of(case, part) for part in case.truth(given)}
    answers = {
        part: laid_out(rows if outputs[part][1] is not None else rows[:, -1], case.axes[part])
        for part, rows in case.truth(given).items()
    }
    feeds = {part: laid_out(rows, case.axes[part]) for part, rows in given.items()}
    assert_answers(rewired, feeds, axes, outputs, answers)


@pytest.mark.parametrize("name", EXPLICIT)
def test_states_that_are_in_the_graph_already_are_left_alone(name: str) -> None:
    case = CASES[name]
    model = opened_up(case)
    dtypes = {value.name: value.dtype.numpy().name for value in model.graph.inputs if value.dtype is not None}
    known = [
        State.model_validate(
            {"name": given, "input": given, "output": made, "shape": case.axes[given], "dtype": dtypes[given]}
        )
        for given, made in case.states.items()
    ]
    constants = {part: np.asarray(value, dtypes[part]) for part, value in case.constants.items()}
    rewired = rewire(model, {part: axes_of(case, part) for part in case.rows}, constants=constants, states=known)
    assert (rewired.states, rewired.obstacles) == ((), ())


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_graph_that_cannot_stream_says_which_node_hinders(name: str) -> None:
    case = CASES[name]
    (obstacle,) = rewire(opened_up(case), {part: axes_of(case, part) for part in case.rows}).obstacles
    assert obstacle.operator in ("LSTM", "GRU")
    assert obstacle.node in {node.name for node in case.model.graph.node}
    wanted = "counted from its numbers" if name == "keras2onnx_masking" else "both ways along the steps"
    assert wanted in obstacle.reason


def test_the_graph_that_is_given_stays_as_it_was() -> None:
    case = CASES["loop_cell"]
    model = ir.from_proto(case.model)
    rewire(model, {part: axes_of(case, part) for part in case.rows})
    assert ir.to_proto(model) == ir.to_proto(ir.from_proto(case.model))


def test_a_graph_that_runs_with_no_length_says_why() -> None:
    case = CASES["loop_cell"]
    (obstacle,) = rewire(ir.from_proto(case.model), {"x": (1, 0)}, constants={"x": np.zeros((2, 3))}).obstacles
    assert "cannot run with any of the numbers of steps" in obstacle.reason


def test_a_graph_that_fails_within_says_at_which_node() -> None:
    model = parsed("g (float[B, T, 4] x) => (y) { y = MatMul (x, Weights) }", Weights=drawn(3, 2))
    model.graph.inputs[0].shape = ir.Shape(["B", "T", "F"])
    (obstacle,) = rewire(model, {"x": (0, 1)}).obstacles
    assert (obstacle.node, obstacle.operator) == ("y", "MatMul")
    assert "cannot run" in obstacle.reason
