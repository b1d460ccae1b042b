from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import pytest

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.rewired import Rewired, rewire
from tests.export.graphs.foreign import assert_streams, drawn, parsed

AXES = {"x": (0, 2)}
KERNEL, TAPS = drawn(6, 4, 3), drawn(4, 1, 3)


def rewired_of(nodes: str, shape: str = "B, 4, T", weights: Mapping[str, Array] = {}) -> tuple[ir.Model, Rewired]:
    model = parsed(f"g (float[{shape}] x) => (y) {{ {nodes} }}", **weights)
    return model, rewire(model, AXES)


PADDED = {
    "a convolution's own padding": ("y = Conv <dilations = [2], pads = [4, 0]> (x, Kernel)", 4, 0.0),
    "padding on both sides, cut off behind": (
        """zero = Constant <value_ints = [0]> () end = Constant <value_ints = [-4]> ()
        axis = Constant <value_ints = [2]> () wide = Conv <dilations = [2], pads = [4, 4]> (x, Kernel)
        y = Slice (wide, zero, end, axis)""",
        4,
        0.0,
    ),
    "padding on both sides, cut off behind what is done to each step": (
        """zero = Constant <value_ints = [0]> () end = Constant <value_ints = [-2]> ()
        axis = Constant <value_ints = [2]> () wide = Conv <pads = [2, 2]> (x, Kernel) above = Relu (wide)
        first = Transpose <perm = [2, 0, 1]> (above) y_first = Slice (first, zero, end, zero)
        y = Transpose <perm = [1, 2, 0]> (y_first)""",
        2,
        0.0,
    ),
    "padding before": (
        "pads = Constant <value_ints = [0, 0, 2, 0, 0, 0]> () seen = Pad (x, pads) y = Conv (seen, Kernel)",
        2,
        0.0,
    ),
    "padding with a number": (
        """pads = Constant <value_ints = [2, 0]> () number = Constant <value_float = 1.5> ()
        axis = Constant <value_ints = [-1]> () seen = Pad (x, pads, number, axis) y = Conv (seen, Kernel)""",
        2,
        1.5,
    ),
    "zeros of the batch put before": (
        """zero = Constant <value_ints = [0]> () rest = Constant <value_ints = [4, 2]> ()
        shape = Shape (x) rows = Gather (shape, zero) wanted = Concat <axis = 0> (rows, rest)
        zeros = ConstantOfShape (wanted) seen = Concat <axis = 2> (zeros, x) y = Conv (seen, Kernel)""",
        2,
        0.0,
    ),
    "each channel by itself": ("y = Conv <group = 4, pads = [2, 0]> (x, Taps)", 2, 0.0),
    "more than it looks back to": (
        "end = Constant <value_ints = [-1]> () zero = Constant <value_ints = [0]> ()"
        "two = Constant <value_ints = [2]> () wide = Conv <pads = [3, 0]> (x, Kernel) y = Slice (wide, zero, end, two)",
        3,
        0.0,
    ),
}


@pytest.mark.parametrize("padding", PADDED)
def test_what_is_seen_before_the_first_step_becomes_a_state(padding: str) -> None:
    nodes, count, initial = PADDED[padding]
    model, rewired = rewired_of(nodes, weights={"Taps": TAPS} if "Taps" in nodes else {"Kernel": KERNEL})
    (state,) = rewired.states
    assert (state.shape, state.initial) == (("B", 4, count), initial)
    assert_streams(model, rewired, {"x": drawn(3, 4, 12)}, AXES, {"y": (0, 2)})


def test_a_convolution_over_time_and_frequencies_is_padded_along_the_frequencies_as_before() -> None:
    nodes = "y = Conv <pads = [1, 2, 1, 0]> (x, Kernel)"
    model, rewired = rewired_of(nodes, "B, 2, 5, T", {"Kernel": drawn(3, 2, 3, 3)})
    axes = {"x": (0, 3)}
    rewired = rewire(model, axes)
    assert [state.shape for state in rewired.states] == [("B", 2, 5, 2)]
    assert_streams(model, rewired, {"x": drawn(3, 2, 5, 12)}, axes, {"y": (0, 3)})


def test_a_convolution_along_the_steps_of_each_frequency_has_a_past_of_each() -> None:
    nodes = """shape = Constant <value_ints = [-1, 4, 12]> () back = Constant <value_ints = [-1, 3, 4, 12]> ()
    turned = Transpose <perm = [0, 2, 1, 3]> (x) steps = Shape <start = 3> (x) four = Constant <value_ints = [-1, 4]> ()
    folded_shape = Concat <axis = 0> (four, steps) folded = Reshape (turned, folded_shape)
    made = Conv <pads = [2, 0]> (folded, Kernel) apart = Constant <value_ints = [-1, 5, 6]> ()
    apart_shape = Concat <axis = 0> (apart, steps) y = Reshape (made, apart_shape)"""
    axes = {"x": (0, 3)}
    model = parsed(f"g (float[B, 4, 5, T] x) => (y) {{ {nodes} }}", Kernel=KERNEL)
    rewired = rewire(model, axes)
    assert [state.shape for state in rewired.states] == [("B", 5, 4, 2)]
    assert_streams(model, rewired, {"x": drawn(3, 4, 5, 12)}, axes, {"y": (0, 3)})


@pytest.mark.parametrize(("pads", "cut"), [(0, 4), (1, 3), (4, 0)])
def test_a_transposed_convolution_goes_on_with_what_steps_before_give_to_later_ones(pads: int, cut: int) -> None:
    nodes = f"""zero = Constant <value_ints = [0]> () two = Constant <value_ints = [2]> ()
    wide = ConvTranspose <dilations = [2], pads = [0, {pads}]> (x, Kernel)"""
    end = (
        f"end = Constant <value_ints = [-{cut}]> () y = Slice (wide, zero, end, two)" if cut else "y = Identity (wide)"
    )
    model, rewired = rewired_of(f"{nodes} {end}", weights={"Kernel": drawn(4, 6, 3)})
    assert [state.shape for state in rewired.states] == [("B", 4, 4)]
    assert_streams(model, rewired, {"x": drawn(3, 4, 12)}, AXES, {"y": (0, 2)})


@pytest.mark.parametrize("exclusive", [0, 1])
def test_a_running_sum_goes_on_from_the_sum_so_far(exclusive: int) -> None:
    nodes = f"axis = Constant <value_int = 2> () y = CumSum <exclusive = {exclusive}> (x, axis)"
    model, rewired = rewired_of(nodes)
    assert [state.shape for state in rewired.states] == [("B", 4, 1)]
    assert_streams(model, rewired, {"x": drawn(3, 4, 12)}, AXES, {"y": (0, 2)})


LATER = {
    "padding on both sides": ("y = Conv <pads = [1, 1]> (x, Kernel)", "Conv"),
    "padding behind": (
        "pads = Constant <value_ints = [0, 0, 0, 0, 0, 2]> () seen = Pad (x, pads) y = Conv (seen, Kernel)",
        "Pad",
    ),
    "no padding": ("y = Conv (x, Kernel)", "Conv"),
    "every second step": ("y = Conv <pads = [1, 0], strides = [2]> (x, Kernel)", "Conv"),
    "a sum from the end": ("axis = Constant <value_int = 2> () y = CumSum <reverse = 1> (x, axis)", "CumSum"),
    "steps put before that are given on to a layer": (
        """pads = Constant <value_ints = [0, 0, 1, 0, 0, 0]> () wide = Pad (x, pads)
        steps = Transpose <perm = [2, 0, 1]> (wide)
        y = GRU <hidden_size = 2> (steps, W, R)""",
        "GRU",
    ),
}


@pytest.mark.parametrize("later", LATER)
def test_what_needs_later_steps_is_named(later: str) -> None:
    nodes, operator = LATER[later]
    weights = {"Kernel": KERNEL, "W": drawn(1, 6, 4), "R": drawn(1, 6, 2)}
    _, rewired = rewired_of(nodes, weights={name: array for name, array in weights.items() if name in nodes})
    (obstacle,) = rewired.obstacles
    assert obstacle.operator == operator
