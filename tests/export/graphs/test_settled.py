"""Layers within ``If``: both branches stream where either may be taken, one where the other never is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ostinato.export.graphs.rewired import rewire
from tests.export.graphs.foreign import assert_answers, beginning, drawn, layer, parsed, run, run_in_pieces

AXES = {"x": (1, 0)}


def graph(condition: str, others: str = "") -> ir.Model:
    """Two layers, one of which is run: the first where the condition is true."""
    text = f"""g (float[T, B, 3] x{others}) => (float[T, 1, B, 4] y) {{
        zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () two = Constant <value_int = 2> ()
        three = Constant <value_ints = [3]> () shape = Shape (x)
        {condition}
        y = If (is_so) <then_branch = a () => (float[T, 1, B, 4] y_a) {{ y_a = GRU <hidden_size = 4> (x, W, R, Bias) }},
            else_branch = b () => (float[T, 1, B, 4] y_b) {{ y_b = LSTM <hidden_size = 4> (x, W2, R2, Bias2) }}>
    }}"""
    other = {f"{name}2": array for name, array in layer("LSTM", 3, 4, seed=5).items()}
    return parsed(text, **layer("GRU", 3, 4), **other)


SETTLED = {
    "a constant": "is_so = Constant <value = bool {1}> ()",
    "how many features there are": "size = Gather (shape, two) is_so = Equal (size, three)",
}


@pytest.mark.parametrize("condition", SETTLED.values(), ids=SETTLED)
def test_of_a_choice_that_is_always_the_same_one_branch_is_left(condition: str) -> None:
    model = graph(condition)
    rewired = rewire(model, AXES)
    assert [state.name for state in rewired.states] == ["y_a_h"]
    assert "If" not in {node.op_type for node in rewired.model.graph}
    given = {"x": drawn(12, 3, 3)}
    assert_answers(rewired, given, AXES, {"y": (2, 0)}, run(model, given))


def test_of_a_choice_by_a_constant_input_one_branch_is_left() -> None:
    model = graph("rate_is = Constant <value_int = 16000> () is_so = Equal (rate, rate_is)", ", int64 rate")
    rewired = rewire(model, AXES, constants={"rate": np.array(8000)})
    assert [state.name for state in rewired.states] == ["y_b_h", "y_b_c"]


@pytest.mark.parametrize("is_so", [True, False])
def test_where_either_branch_may_be_taken_each_has_its_states_and_keeps_the_other_s(is_so: bool) -> None:
    model = graph("is_so = Identity (choice)", ", bool choice")
    rewired = rewire(model, AXES)
    assert sorted(state.name for state in rewired.states) == ["y_a_h", "y_b_c", "y_b_h"]
    given = {"x": drawn(12, 3, 3), "choice": np.array(is_so)}
    whole = run(rewired.model, {**given, **beginning(rewired.states, 3)})
    np.testing.assert_array_equal(whole["y"], run(model, given)["y"])
    pieces = run_in_pieces(rewired, given, {**AXES, "choice": (None, None)})
    np.testing.assert_array_equal(np.concatenate([piece["y"] for piece in pieces]), whole["y"])
    untaken = [state for state in rewired.states if state.name.startswith("y_b" if is_so else "y_a")]
    assert all(not pieces[-1][state.output].any() for state in untaken)


def test_a_choice_by_the_number_of_steps_stays() -> None:
    condition = "size = Gather (shape, zero) is_so = Equal (size, one)"
    rewired = rewire(graph(condition), AXES)
    assert "If" in {node.op_type for node in rewired.model.graph}


def test_a_convolution_within_a_branch_has_its_past() -> None:
    text = """g (float[B, 3, T] x, bool choice) => (float[B, 2, T] y) {
        y = If (choice) <then_branch = a () => (float[B, 2, T] y_a) { y_a = Conv <pads = [2, 0]> (x, Kernel) },
            else_branch = b () => (float[B, 2, T] y_b) { y_b = Conv (x, Single) }>
    }"""
    model = parsed(text, Kernel=drawn(2, 3, 3), Single=drawn(2, 3, 1))
    rewired = rewire(model, {"x": (0, 2)})
    assert [(state.name, state.shape) for state in rewired.states] == [("y_a_past", ("B", 3, 2))]
    given = {"x": drawn(3, 3, 12), "choice": np.array(True)}
    whole = run(model, given)["y"]
    pieces = run_in_pieces(rewired, given, {"x": (0, 2), "choice": (None, None)})
    np.testing.assert_allclose(np.concatenate([piece["y"] for piece in pieces], axis=2), whole, rtol=0, atol=2e-6)
