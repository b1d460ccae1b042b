from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.export.graphs.rewired import rewire
from tests.export.graphs.foreign import assert_answers, assert_streams, drawn, layer, parsed, run

STEPS_FIRST = {"x": (1, 0)}
NUM_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


@pytest.mark.parametrize("operator", NUM_STATES)
def test_a_layer_that_begins_with_zeros_takes_and_gives_its_states(operator: str) -> None:
    text = f"g (float[T, B, 3] x) => (float[T, 1, B, 4] y) {{ y = {operator} <hidden_size = 4> (x, W, R, Bias) }}"
    model = parsed(text, **layer(operator, 3, 4))
    rewired = rewire(model, STEPS_FIRST)
    assert [state.shape for state in rewired.states] == [(1, "B", 4)] * NUM_STATES[operator]
    assert_streams(model, rewired, {"x": drawn(12, 3, 3)}, STEPS_FIRST, {"y": (2, 0)})


def test_stacked_layers_have_states_of_their_own() -> None:
    text = """g (float[B, T, 3] x) => (float[B, T, 5] y) {
        steps = Transpose <perm = [1, 0, 2]> (x)
        first = LSTM <hidden_size = 4> (steps, W, R, Bias)
        one = Constant <value_ints = [1]> ()
        inner = Squeeze (first, one)
        second = GRU <hidden_size = 5, linear_before_reset = 1> (inner, W2, R2, Bias2)
        outer = Squeeze (second, one)
        y = Transpose <perm = [1, 0, 2]> (outer)
    }"""
    upper = {f"{name}2": array for name, array in layer("GRU", 4, 5, seed=7).items()}
    model = parsed(text, **layer("LSTM", 3, 4), **upper)
    rewired = rewire(model, {"x": (0, 1)})
    assert [(state.name, state.shape) for state in rewired.states] == [
        ("first_h", (1, "B", 4)),
        ("first_c", (1, "B", 4)),
        ("second_h", (1, "B", 5)),
    ]
    assert_streams(model, rewired, {"x": drawn(3, 12, 3)}, {"x": (0, 1)}, {"y": (0, 1)})


ZEROS = "shape = Shape (x) rows = Gather (shape, one) begin_shape = Concat <axis = 0> (one, rows, four)"
BEGINNINGS: dict[str, tuple[str, Any]] = {
    "zeros of a shape": (f"{ZEROS} begin = ConstantOfShape (begin_shape)", 0.0),
    "a number of a shape": (f"{ZEROS} begin = ConstantOfShape <value = float[1] {{0.5}}> (begin_shape)", 0.5),
    "a learned row for all": (f"{ZEROS} begin = Expand (Learned, begin_shape)", [1.0, 2.0, 3.0, 4.0]),
    "zero times what is given": (
        "nothing = Mul (x, Nothing) step = Slice (nothing, zero, one, zero, one) begin = MatMul (step, Wide)",
        0.0,
    ),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_what_a_layer_begins_with_is_what_its_state_begins_with(beginning: str) -> None:
    begin, initial = BEGINNINGS[beginning]
    text = f"""g (float[T, B, 3] x) => (float[T, 1, B, 4] y) {{
        zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () four = Constant <value_ints = [4]> ()
        {begin} y = GRU <hidden_size = 4> (x, W, R, Bias, , begin)
    }}"""
    learned = {"Learned": drawn(1, 1, 4) * 0 + np.arange(1, 5, dtype=np.float32), "Nothing": np.float32(0)}
    model = parsed(text, **layer("GRU", 3, 4), **learned, Wide=drawn(3, 4))
    rewired = rewire(model, STEPS_FIRST)
    assert [np.ravel(state.initial).tolist() for state in rewired.states] == [np.ravel(initial).tolist()]
    assert_streams(model, rewired, {"x": drawn(12, 3, 3)}, STEPS_FIRST, {"y": (2, 0)})


FOLDS = {
    "rows of frequencies": ("[0, 2, 1, 3]", "BF", "[0, 2, 1, 3]", ("B", 6, 4)),
    "frequencies of rows": ("[2, 0, 1, 3]", "FB", "[1, 2, 0, 3]", (6, "B", 4)),
}


@pytest.mark.parametrize("fold", FOLDS)
def test_a_layer_along_the_steps_of_each_frequency_has_a_state_of_each(fold: str) -> None:
    """Beside it, one that runs both ways along the frequencies of each step stays as it is."""
    order, rows, back, shape = FOLDS[fold]
    split = {"BF": "back_shape = Concat <axis = 0> (minus, six, steps, four)"}
    split["FB"] = "back_shape = Concat <axis = 0> (six, minus, steps, four)"
    text = f"""g (float[B, T, 6, 4] x) => (float[B, T, 6, 4] y) {{
        minus = Constant <value_ints = [-1]> () one = Constant <value_ints = [1]> ()
        four = Constant <value_ints = [4]> () six = Constant <value_ints = [6]> ()
        shape = Shape (x) steps = Gather (shape, one)
        each_shape = Concat <axis = 0> (minus, six, four)
        each = Reshape (x, each_shape) along = Transpose <perm = [1, 0, 2]> (each)
        both = LSTM <hidden_size = 2, direction = "bidirectional"> (along, W, R, Bias)
        both_back = Transpose <perm = [2, 0, 1, 3]> (both) shape_again = Shape (x)
        inner = Reshape (both_back, shape_again)
        turned = Transpose <perm = {order}> (inner)
        folded_shape = Concat <axis = 0> (minus, steps, four)
        folded = Reshape (turned, folded_shape)
        first = Transpose <perm = [1, 0, 2]> (folded)
        made = GRU <hidden_size = 4> (first, W2, R2, Bias2)
        squeezed = Squeeze (made, one) behind = Transpose <perm = [1, 0, 2]> (squeezed)
        {split[rows]} apart = Reshape (behind, back_shape)
        y = Transpose <perm = {back}> (apart)
    }}"""
    upper = {f"{name}2": array for name, array in layer("GRU", 4, 4, seed=7).items()}
    model = parsed(text, **layer("LSTM", 4, 2, 2), **upper)
    rewired = rewire(model, {"x": (0, 1)})
    assert [state.shape for state in rewired.states] == [shape]
    assert_streams(model, rewired, {"x": drawn(3, 12, 6, 4)}, {"x": (0, 1)}, {"y": (0, 1)})


@pytest.mark.parametrize("direction", ["bidirectional", "reverse"])
def test_a_layer_that_needs_later_steps_is_named(direction: str) -> None:
    text = (
        f"""g (float[T, B, 3] x) => (y) {{ y = LSTM <hidden_size = 4, direction = "{direction}"> (x, W, R, Bias) }}"""
    )
    rewired = rewire(parsed(text, **layer("LSTM", 3, 4, 1 + (direction == "bidirectional"))), STEPS_FIRST)
    (obstacle,) = rewired.obstacles
    assert (obstacle.node, obstacle.operator) == ("y", "LSTM")
    assert "steps still to come" in obstacle.reason
    assert rewired.states == ()


def test_a_layer_with_the_batch_first_which_onnxruntime_does_not_run_streams() -> None:
    text = """g (float[B, T, 3] x) => (float[B, T, 1, 4] y, float[B, 1, 4] last) {
        y, last = GRU <hidden_size = 4, layout = 1> (x, W, R, Bias)
    }"""
    first = """g (float[B, T, 3] x) => (float[B, T, 1, 4] y, float[B, 1, 4] last) {
        steps = Transpose <perm = [1, 0, 2]> (x) made, end = GRU <hidden_size = 4> (steps, W, R, Bias)
        y = Transpose <perm = [2, 0, 1, 3]> (made) last = Transpose <perm = [1, 0, 2]> (end)
    }"""
    weights = layer("GRU", 3, 4)
    rewired = rewire(parsed(text, **weights), {"x": (0, 1)})
    outputs = {"y": (0, 1), "last": (0, None)}
    assert_streams(parsed(first, **weights), rewired, {"x": drawn(3, 12, 3)}, {"x": (0, 1)}, outputs)


def test_lengths_that_are_those_of_the_sequence_are_dropped() -> None:
    text = """g (float[T, B, 3] x) => (float[T, 1, B, 4] y) {
        zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
        shape = Shape (x) steps = Gather (shape, zero) rows = Gather (shape, one)
        wide = Expand (steps, rows) lengths = Cast <to = 6> (wide)
        y = RNN <hidden_size = 4> (x, W, R, , lengths)
    }"""
    weights = layer("RNN", 3, 4)
    del weights["Bias"]
    model = parsed(text, **weights)
    assert_streams(model, rewire(model, STEPS_FIRST), {"x": drawn(12, 3, 3)}, STEPS_FIRST, {"y": (2, 0)})


def test_lengths_that_somebody_gives_are_an_obstacle() -> None:
    text = """g (float[T, B, 3] x, int32[B] lengths) => (float[T, 1, B, 4] y) {
        y = LSTM <hidden_size = 4> (x, W, R, Bias, lengths)
    }"""
    axes = {**STEPS_FIRST, "lengths": (0, None)}
    (obstacle,) = rewire(parsed(text, **layer("LSTM", 3, 4)), axes).obstacles
    assert (obstacle.operator, obstacle.node) == ("LSTM", "y")
    assert "lengths" in obstacle.reason


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        ("begin = RandomNormalLike (zeros)", "random numbers"),
        ("first = Slice (x, zero, one, zero) begin = MatMul (first, Wide)", "first"),
    ],
)
def test_a_layer_that_begins_with_what_nobody_can_know_before_is_an_obstacle(begin: str, reason: str) -> None:
    text = f"""g (float[T, B, 3] x) => (float[T, 1, B, 4] y) {{
        zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () four = Constant <value_ints = [4]> ()
        {ZEROS} zeros = ConstantOfShape (begin_shape)
        {begin} y = GRU <hidden_size = 4> (x, W, R, Bias, , begin)
    }}"""
    weights = {**layer("GRU", 3, 4), **({"Wide": drawn(3, 4)} if "Wide" in begin else {})}
    (obstacle,) = rewire(parsed(text, **weights), STEPS_FIRST).obstacles
    assert obstacle.node in ("y", "first")
    assert reason in str(obstacle)


def test_a_peephole_and_clipping_stay_where_they_are() -> None:
    text = """g (float[T, B, 3] x) => (float[T, 1, B, 4] y, float[1, B, 4] c) {
        y, h, c = LSTM <hidden_size = 4, clip = 0.7> (x, W, R, Bias, , , , Peepholes)
    }"""
    model = parsed(text, **layer("LSTM", 3, 4), Peepholes=drawn(1, 12, seed=5))
    rewired = rewire(model, STEPS_FIRST)
    assert_streams(model, rewired, {"x": drawn(12, 3, 3)}, STEPS_FIRST, {"y": (2, 0), "c": (1, None)})


def test_a_layer_along_the_rows_of_the_batch_is_an_obstacle() -> None:
    text = "g (float[B, T, 3] x) => (float[B, 1, T, 4] y) { y = GRU <hidden_size = 4> (x, W, R, Bias) }"
    (obstacle,) = rewire(parsed(text, **layer("GRU", 3, 4)), {"x": (0, 1)}).obstacles
    assert "along the rows of the batch" in obstacle.reason


def test_a_layer_of_a_graph_of_one_step_has_a_state() -> None:
    text = """g (float[B, 3] x) => (float[1, B, 4] last) {
        zero = Constant <value_ints = [0]> () step = Unsqueeze (x, zero)
        y, last = GRU <hidden_size = 4> (step, W, R, Bias)
    }"""
    rewired = rewire(parsed(text, **layer("GRU", 3, 4)), {"x": (0, None)})
    assert [state.shape for state in rewired.states] == [(1, "B", 4)]
    assert rewired.obstacles == ()


def test_a_state_that_is_given_and_not_given_back_is_carried_from_zeros_on() -> None:
    """Of two layers' states side by side in one input."""
    text = """g (float[B, T, 3] x, float[2, B, 4] h0) => (float[T, 1, B, 4] y) {
        zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () two = Constant <value_ints = [2]> ()
        steps = Transpose <perm = [1, 0, 2]> (x)
        lower = Slice (h0, zero, one, zero) upper = Slice (h0, one, two, zero)
        made = GRU <hidden_size = 4> (steps, W, R, Bias, , lower)
        inner = Squeeze (made, one)
        y = GRU <hidden_size = 4> (inner, W2, R2, Bias2, , upper)
    }"""
    weights = {**layer("GRU", 3, 4), **{f"{name}2": array for name, array in layer("GRU", 4, 4).items()}}
    model = parsed(text, **weights)
    rewired = rewire(model, {"x": (0, 1)})
    assert [value.name for value in rewired.model.graph.inputs] == ["x", "made_h_in", "y_h_in"]
    assert "'h0'" in rewired.words[-1]
    given = {"x": drawn(3, 12, 3)}
    before = run(model, {**given, "h0": np.zeros((2, 3, 4), np.float32)})
    assert_answers(rewired, given, {"x": (0, 1)}, {"y": (2, 0)}, before)


def test_what_a_layer_is_told_to_begin_with_by_an_input_that_is_no_state_stays() -> None:
    text = """g (float[T, B, 3] x, float[1, B, 4] speaker) => (float[T, 1, B, 4] y) {
        y = GRU <hidden_size = 4> (x, W, R, Bias, , speaker)
    }"""
    rewired = rewire(parsed(text, **layer("GRU", 3, 4)), {**STEPS_FIRST, "speaker": (1, None)})
    assert rewired.states == ()
    assert [obstacle.node for obstacle in rewired.obstacles] == ["y"]


def test_lengths_that_are_the_number_of_steps_that_a_graph_was_written_for_are_dropped() -> None:
    text = "g (float[T, B, 3] x) => (float[T, 1, B, 4] y) { y = LSTM <hidden_size = 4> (x, W, R, Bias, Lengths) }"
    weights = layer("LSTM", 3, 4)
    rewired = rewire(parsed(text, **weights, Lengths=np.full(1, 12, np.int32)), STEPS_FIRST)
    whole = parsed(text.replace(", Lengths", ""), **weights)
    assert_streams(whole, rewired, {"x": drawn(12, 3, 3)}, STEPS_FIRST, {"y": (2, 0)})


def test_a_layer_over_frames_streams_whole_frames() -> None:
    text = """g (float[B, T] x) => (float[N, 1, B, 4] y) {
        shape = Constant <value_ints = [0, -1, 3]> () frames = Reshape (x, shape)
        steps = Transpose <perm = [1, 0, 2]> (frames) y = GRU <hidden_size = 4> (steps, W, R, Bias)
    }"""
    model, axes = parsed(text, **layer("GRU", 3, 4)), {"x": (0, 1)}
    assert rewire(model, axes).obstacles
    rewired = rewire(model, axes, unit=3)
    assert_streams(model, rewired, {"x": drawn(3, 36)}, axes, {"y": (2, 0)}, unit=3)
