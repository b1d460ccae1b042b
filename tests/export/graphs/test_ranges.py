from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from ostinato.export.graphs.ranges import ANYTHING, FINITE, MAY_BE_MISSING, Range, Ranges

LARGEST = float(np.finfo(np.float32).max)


def value(name: str = "x") -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT))


def constant(*numbers: Any) -> ir.Value:
    return ir.node("Constant", [], {"value": ir.tensor(np.array(numbers, np.float32))}).outputs[0]


def made(operator: str, *inputs: ir.Value | None) -> ir.Value:
    node = ir.node(operator, inputs)
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (made("Add", made("Tanh", value()), constant(2.0, -3.0)), Range(4.0, False)),
        (made("Mul", made("Sigmoid", value()), constant(-5.0)), Range(5.0, False)),
        (made("Div", made("Tanh", value()), constant(0.5, -4.0)), Range(2.0, False)),
        (made("MatMul", made("Tanh", value()), made("Reshape", value(), value())), ANYTHING),
        (made("Clip", value(), constant(-8.0), constant(3.0)), Range(8.0, False)),
        (made("Clip", value(), constant(-8.0)), FINITE),
        (made("Concat", made("Tanh", value()), constant(7.0)), Range(7.0, False)),
        (made("Softmax", value()), Range(1.0, False)),
    ],
)
def test_a_bound_follows_from_weights_and_operators(found: ir.Value, wanted: Range) -> None:
    assert Ranges({}).of(found) == wanted


def test_weights_are_summed_over_what_goes_in_however_they_stand() -> None:
    weights = ir.node("Constant", [], {"value": ir.tensor(np.array([[1, -2], [3, 4], [5, 6]], np.float32))}).outputs[0]
    transposed = ir.node("Gemm", [made("Tanh", value()), weights], {"transB": 1})
    assert Ranges({}).of(transposed.outputs[0]).bound == 5 + 6
    assert Ranges({}).of(made("MatMul", made("Tanh", value()), weights)).bound == 2 + 4 + 6


def test_a_hidden_state_lies_between_1_and_minus_1_or_where_it_began() -> None:
    weights = [constant(1.0)] * 3
    assert Ranges({}).of(made("GRU", value(), *weights, None, constant(-3.0))) == Range(3.0, False)
    assert Ranges({}).of(made("GRU", value(), *weights, None, constant(0.5))) == Range(1.0, False)


@pytest.mark.parametrize(
    "found",
    [
        made("Log", value()),
        made("Sqrt", value()),
        made("Div", value(), constant(1.0, 0.0)),  # 0 / 0
        made("Div", value(), value("other")),
        made("Sub", made("Exp", value()), made("Exp", value())),  # infinity less infinity
        made("Mul", made("Exp", value()), constant(0.0)),  # infinity times 0
        made("Softmax", made("Log", value())),
        made("NobodyKnowsThis", value()),
    ],
)
def test_what_may_be_nan_is_told(found: ir.Value) -> None:
    assert Ranges({}).of(found).may_be_nan


def test_a_constant_may_be_nan_alone() -> None:
    assert Ranges({}).of(constant(np.nan)) == Range(0.0, True)
    assert Ranges({}).of(constant(np.nan, -3.0)) == Range(3.0, True)


def test_numbers_of_float32_overflow() -> None:
    # 3.4e38 / 0.5 is more than float32 holds; one such infinity is not NaN, and another layer may make it that.
    halved = made("Div", value(), constant(0.5))
    assert Ranges({}).of(halved) == Range(np.inf, False)
    assert Ranges({}).of(made("Add", halved, halved)).may_be_nan


def test_a_missing_value_is_nan_until_a_limit_and_beyond() -> None:
    ranges = Ranges({"x": MAY_BE_MISSING})
    assert ranges.of(value()) == MAY_BE_MISSING
    assert ranges.of(made("Clip", value(), constant(-1.0), constant(1.0))) == Range(1.0, True)
    assert ranges.of(value("other")) == FINITE
    assert not ANYTHING.is_finite


def scan(step: list[ir.Node], h: ir.Value, x: ir.Value, after: ir.Value, begin: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The last state and all that the steps show, of a body from h and x to the state after it, which it shows too."""
    shown = ir.node("Identity", [after])
    shown.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    body = ir.Graph([h, x], [after, shown.outputs[0]], nodes=[*step, shown], name="step")
    node = ir.node("Scan", [begin, value("sequence")], {"body": body, "num_scan_inputs": 1}, num_outputs=2)
    for each in node.outputs:
        each.type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0], node.outputs[1]


def test_a_state_of_a_scan_is_bounded_where_each_step_bounds_it() -> None:
    h, x = value("h"), value("step")
    total = made("Add", h, x)
    after = made("Tanh", total)
    last, shown = scan([total.producer(), after.producer()], h, x, after, constant(5.0))  # type: ignore[list-item]
    ranges = Ranges({})
    assert ranges.of(last) == ranges.of(shown) == Range(1.0, False)
    assert ranges.of(h) == Range(5.0, False)  # what it began with, or what a step left


def test_nan_of_one_step_may_be_what_the_next_begins_with() -> None:
    """``sqrt(h)`` of a state that begins above 0 is a number, and in a later step it may not be."""
    h, x = value("h"), value("step")
    root = made("Sqrt", h)
    after = made("Tanh", made("Add", root, x))
    nodes = [root.producer(), after.producer().inputs[0].producer(), after.producer()]  # type: ignore[union-attr]
    last, _ = scan(nodes, h, x, after, constant(1.0))  # type: ignore[arg-type]
    ranges = Ranges({})
    assert ranges.of(last).may_be_nan
    assert ranges.of(h).may_be_nan


def test_a_sum_over_the_steps_of_a_scan_may_be_anything() -> None:
    h, x = value("h"), value("step")
    after = made("Add", h, x)
    last, _ = scan([after.producer()], h, x, after, constant(0.0))  # type: ignore[list-item]
    assert Ranges({}).of(last) == ANYTHING
