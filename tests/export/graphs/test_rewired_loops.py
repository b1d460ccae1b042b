from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.rewired import Rewired, rewire
from tests.export.graphs.foreign import assert_streams, drawn, parsed

AXES = {"x": (1, 0)}
OUTPUTS = {"y": (1, 0)}
BEGIN = """zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
    scalar = Constant <value_int = 0> ()
    shape = Shape (x) rows = Gather (shape, one) width = Constant <value_ints = [3]> ()
    steps_of = Gather (shape, zero) steps = Squeeze (steps_of, zero)
    wanted = Concat <axis = 0> (rows, width) begin = ConstantOfShape (wanted)
    true = Constant <value = bool {1}> () step_size = Constant <value_int = 1> ()"""
CELL = "added = Add (h, row) after = Tanh (added)"


def streamed(nodes: str, weights: Mapping[str, Array] = {}) -> tuple[ir.Model, Rewired]:
    """A graph over ``x [T, B, 3]``."""
    model = parsed(f"g (float[T, B, 3] x) => (float[T, B, 3] y) {{ {BEGIN} {nodes} }}", **weights)
    return model, rewire(model, AXES)


LOOPS = {
    "a loop that takes its steps by the number of the round": f"""last, y = Loop (steps, true, begin) <body = b (
        int64 i, bool go, float[B, 3] h) => (bool go_on, float[B, 3] after, float[B, 3] shown)
        {{ go_on = Identity (go) row = Gather (x, i) {CELL} shown = Identity (after) }}>""",
    "a loop with a counter of its own, which ends it": f"""
        last_t, last, y = Loop (, true, scalar, begin) <body = b (
        int64 i, bool go, int64 t, float[B, 3] h) => (bool go_on, int64 next, float[B, 3] after, float[B, 3] shown)
        {{ next = Add (t, step_size) go_on = Less (next, steps) row = Gather (x, t) {CELL}
          shown = Identity (after) }}>""",
    "a loop that writes its answers into zeros": f"""wide = ConstantOfShape (shape)
        last, y = Loop (steps, true, begin, wide) <body = b (
        int64 i, bool go, float[B, 3] h, float[T, B, 3] before)
        => (bool go_on, float[B, 3] after, float[T, B, 3] written)
        {{ go_on = Identity (go) row = Gather (x, i) {CELL} place = Unsqueeze (i, zero)
          places = Unsqueeze (place, zero) shown = Unsqueeze (after, zero)
          written = ScatterND (before, places, shown) }}>""",
    "a loop that appends its answers": f"""none = Constant <value_ints = [0]> ()
        nothing = Slice (x, none, none, none)
        last, y = Loop (steps, true, begin, nothing) <body = b (
        int64 i, bool go, float[B, 3] h, float[N, B, 3] before)
        => (bool go_on, float[B, 3] after, float[M, B, 3] written)
        {{ go_on = Identity (go) row = Gather (x, i) {CELL} shown = Unsqueeze (after, zero)
          written = Concat <axis = 0> (before, shown) }}>""",
    "a loop that collects its answers in a sequence": f"""parts = SequenceEmpty ()
        last, made = Loop (steps, true, begin, parts) <body = b (
        int64 i, bool go, float[B, 3] h, seq(float[B, 3]) before)
        => (bool go_on, float[B, 3] after, seq(float[B, 3]) written)
        {{ go_on = Identity (go) row = Gather (x, i) {CELL} written = SequenceInsert (before, after) }}>
        y = ConcatFromSequence <axis = 0, new_axis = 1> (made)""",
    "a scan": f"""last, y = Scan (begin, x) <num_scan_inputs = 1, body = b (
        float[B, 3] h, float[B, 3] row) => (float[B, 3] after, float[B, 3] shown)
        {{ {CELL} shown = Identity (after) }}>""",
    "a scan whose state has the batch last": f"""columns = Concat <axis = 0> (width, rows)
        turned = ConstantOfShape (columns)
        last, y = Scan (turned, x) <num_scan_inputs = 1, body = b (
        float[3, B] c, float[B, 3] row) => (float[3, B] over, float[B, 3] shown)
        {{ h = Transpose (c) {CELL} over = Transpose (after) shown = Identity (after) }}>""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_loop_carries_from_step_to_step_becomes_a_state(loop: str) -> None:
    model, rewired = streamed(LOOPS[loop])
    assert [state.shape for state in rewired.states] == [(3, "B") if "batch last" in loop else ("B", 3)]
    assert_streams(model, rewired, {"x": drawn(12, 3, 3)}, AXES, OUTPUTS)


NUMBER = "number = Cast <to = 1> (i) row = Mul (given, number)"
OBSTACLES = {
    "the number of the round, in what it answers": (
        f"""last, y = Loop (steps, true, begin) <body = b (
        int64 i, bool go, float[B, 3] h) => (bool go_on, float[B, 3] after, float[B, 3] shown)
        {{ go_on = Identity (go) given = Gather (x, i) {NUMBER} {CELL} shown = Identity (after) }}>""",
        "number of the step",
    ),
    "a counter of its own, in what it answers": (
        f"""last_t, last, y = Loop (steps, true, scalar, begin) <body = b (
        int64 i, bool go, int64 t, float[B, 3] h) => (bool go_on, int64 next, float[B, 3] after, float[B, 3] shown)
        {{ next = Add (t, step_size) go_on = Identity (go) given = Gather (x, i) number = Cast <to = 1> (next)
          row = Mul (given, number) {CELL} shown = Identity (after) }}>""",
        "number of the step",
    ),
    "a table of what belongs to each step": (
        f"""last, y = Loop (steps, true, begin) <body = b (
        int64 i, bool go, float[B, 3] h) => (bool go_on, float[B, 3] after, float[B, 3] shown)
        {{ go_on = Identity (go) given = Gather (x, i) place = Gather (Table, i) row = Add (given, place) {CELL}
          shown = Identity (after) }}>""",
        "number of the step",
    ),
    "one state for all rows": (
        """row_of_zeros = ConstantOfShape (width)
        last, y = Scan (row_of_zeros, x) <num_scan_inputs = 1, body = b (
        float[3] h, float[B, 3] row) => (float[3] after, float[B, 3] shown)
        { zeros = Mul (row, Nothing) small = ReduceMean <keepdims = 0> (row, Zero) after = Add (h, small)
          shown = Add (zeros, after) }>""",
        "one for all rows",
    ),
    "from the last step to the first": (
        f"""last, y = Scan (begin, x) <num_scan_inputs = 1, scan_input_directions = [1],
        scan_output_directions = [1], body = b (
        float[B, 3] h, float[B, 3] row) => (float[B, 3] after, float[B, 3] shown)
        {{ {CELL} shown = Identity (after) }}>""",
        "backwards along the steps",
    ),
}
WEIGHTS = {"Table": drawn(5000, 3), "Nothing": np.zeros(1, np.float32), "Zero": np.zeros(1, np.int64)}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_loop_that_cannot_stream_says_why(obstacle: str) -> None:
    nodes, reason = OBSTACLES[obstacle]
    _, rewired = streamed(nodes, {name: array for name, array in WEIGHTS.items() if name in nodes})
    assert [each.operator for each in rewired.obstacles] == ["Scan" if "Scan" in nodes else "Loop"]
    assert reason in rewired.obstacles[0].reason


def test_a_loop_that_is_not_along_the_steps_stays() -> None:
    """Three rounds over all steps, each of which begins with zeros."""
    nodes = """three = Constant <value_int = 3> () nothing = Mul (x, Nothing)
        y = Loop (three, true, nothing) <body = b (
        int64 i, bool go, float[T, B, 3] h) => (bool go_on, float[T, B, 3] after)
        { go_on = Identity (go) added = Add (h, x) number = Cast <to = 1> (i) grown = Mul (added, number)
          after = Tanh (grown) }>"""
    model, rewired = streamed(nodes, {"Nothing": WEIGHTS["Nothing"]})
    assert rewired.states == ()
    assert_streams(model, rewired, {"x": drawn(12, 3, 3)}, AXES, OUTPUTS)
