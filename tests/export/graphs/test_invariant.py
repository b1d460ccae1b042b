from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ostinato.export.graphs.invariant import make_invariant

Array = NDArray[Any]

WIDTHS = (1, 2, 3, 7, 16, 17, 33, 64)
BATCHES = (1, 2, 3, 5, 8, 17, 33, 256)

Graph = tuple[list[NodeProto], dict[str, Array]]


def plain(operator: str, **attributes: Any) -> Callable[[int], Graph]:
    """The operator alone, from x ``[B, T, F]`` to y."""
    return lambda _width: ([helper.make_node(operator, ["x"], ["y"], **attributes)], {})


def positive(operator: str) -> Callable[[int], Graph]:
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node(operator, ["a"], ["y"])]
    return lambda _width: (nodes, {})


def bounded(operator: str) -> Callable[[int], Graph]:
    """From -1 to 1."""
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node(operator, ["t"], ["y"])]
    return lambda _width: (nodes, {})


def reduced(operator: str, axes: list[int], keepdims: int) -> Callable[[int], Graph]:
    """Over axes of ``x [B, T, F, 1] * w [F, 5]``, which is ``[B, T, F, 5]``."""

    def graph(width: int) -> Graph:
        nodes = [
            helper.make_node("Unsqueeze", ["x", "three"], ["x4"]),
            helper.make_node("Mul", ["x4", "w"], ["wide"]),
            helper.make_node(operator, ["wide", "axes"], ["y"], keepdims=keepdims),
        ]
        constants = {"three": [3], "axes": axes}
        arrays = {name: np.array(each, np.int64) for name, each in constants.items()}
        return nodes, {**arrays, "w": np.linspace(-1, 1, width * 5, dtype=np.float32).reshape(width, 5)}

    return graph


def group_norm(width: int) -> Graph:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["x3"]),
        helper.make_node("InstanceNormalization", ["x3", "one", "zero"], ["y"], epsilon=1e-3),
    ]
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    return nodes, {"rows": np.array([-1, 1, width], np.int64), "one": one, "zero": zero}


def einsum(equation: str, *shape: int) -> Callable[[int], Graph]:
    """Of x with weights, 0 in whose shape is the width; or with itself, where there is no shape."""

    def graph(width: int) -> Graph:
        sizes = [size or width for size in shape]
        node = helper.make_node("Einsum", ["x", "w" if shape else "x"], ["y"], equation=equation)
        return [node], {"w": np.linspace(-1, 1, math.prod(sizes), dtype=np.float32).reshape(sizes)} if shape else {}

    return graph


def heads(equation: str) -> Callable[[int], Graph]:
    """Of three heads: x, its double and x, with weights for each ``[heads, F, 4]``."""

    def graph(width: int) -> Graph:
        nodes = [
            helper.make_node("Mul", ["x", "two"], ["x2"]),
            helper.make_node("Concat", ["x", "x2", "x"], ["wide"], axis=2),
            helper.make_node("Reshape", ["wide", "sizes"], ["h"]),
            helper.make_node("Einsum", ["h", "w"], ["y"], equation=equation),
        ]
        arrays: dict[str, Array] = {"two": np.array(2, np.float32), "sizes": np.array([0, 0, 3, width], np.int64)}
        return nodes, {**arrays, "w": np.linspace(-1, 1, width * 12, dtype=np.float32).reshape(3, width, 4)}

    return graph


def looked_up(num_keys: int, *, is_turned: bool) -> Callable[[int], Graph]:
    """Each step by a matrix of its sequence, as a step looks things up in what is remembered."""

    def graph(width: int) -> Graph:
        product = ["rows", "x_turned"] if is_turned else ["x", "keys"]
        nodes = [
            helper.make_node("Slice", ["x", "zero", "one", "one"], ["first"]),
            helper.make_node("Mul", ["w", "first"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["keys"], perm=[0, 2, 1]),
            helper.make_node("Transpose", ["x"], ["x_turned"], perm=[0, 2, 1]),
            helper.make_node("MatMul", product, ["made"]),
            helper.make_node("Transpose", ["made"], ["y"], perm=[0, 2, 1] if is_turned else [0, 1, 2]),
        ]
        w = np.linspace(-1, 1, width * num_keys, dtype=np.float32).reshape(1, num_keys, width)
        return nodes, {"w": w, "zero": np.array([0], np.int64), "one": np.array([1], np.int64)}

    return graph


def of_each_head(width: int) -> Graph:
    """Of three heads, a product with weights of their own; one head's is a product of all rows."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    w = np.linspace(-1, 1, width * 4, dtype=np.float32).reshape(1, width, 4)
    return nodes, {"w": w, "axes": np.array([2, 3], np.int64)}


def bilinear(width: int) -> Graph:
    w = np.linspace(-1, 1, width * width, dtype=np.float32).reshape(width, width)
    return [helper.make_node("Einsum", ["x", "w", "x"], ["y"], equation="bti,ij,btj->bt")], {"w": w}


def convolution(
    num_groups: int = 1, num_outputs: int = 1, *, has_bias: bool, **attributes: Any
) -> Callable[[int], Graph]:
    """Over the steps; channels in so many groups, with so many outputs each, ``width`` a group."""

    def graph(width: int) -> Graph:
        generator = np.random.default_rng(1)
        w = generator.normal(0, 0.4, (num_groups * num_outputs, width, 2)).astype(np.float32)
        b = generator.normal(size=num_groups * num_outputs).astype(np.float32)
        nodes = [
            helper.make_node("Concat", ["x"] * num_groups, ["wide"], axis=2),
            helper.make_node("Transpose", ["wide"], ["channels"], perm=[0, 2, 1]),
            helper.make_node(
                "Conv", ["channels", "w", *(["b"] if has_bias else [])], ["made"], group=num_groups, **attributes
            ),
            helper.make_node("Transpose", ["made"], ["y"], perm=[0, 2, 1]),
        ]
        return nodes, {"w": w, **({"b": b} if has_bias else {})}

    return graph


def channels(num_outputs: int, **attributes: Any) -> Callable[[int], Graph]:
    """Over the steps, each channel by itself."""

    def graph(width: int) -> Graph:
        w = np.random.default_rng(1).normal(0, 0.4, (width * num_outputs, 1, 3)).astype(np.float32)
        nodes = [
            helper.make_node("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
            helper.make_node("Conv", ["channels", "w", "b"], ["made"], group=width, **attributes),
            helper.make_node("Transpose", ["made"], ["y"], perm=[0, 2, 1]),
        ]
        return nodes, {"w": w, "b": np.linspace(-1, 1, len(w), dtype=np.float32)}

    return graph


def pictures(_width: int) -> Graph:
    """Over steps and features, with every second feature left out and a margin of zeros."""
    w = np.random.default_rng(1).normal(0, 0.4, (4, 2, 2, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Unsqueeze", ["x", "one"], ["x4"]),
        helper.make_node("Unsqueeze", ["square", "one"], ["square4"]),
        helper.make_node("Concat", ["x4", "square4"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w"], ["made"], strides=[1, 2], pads=[0, 1, 0, 1]),
        helper.make_node("Transpose", ["made"], ["y"], perm=[0, 2, 1, 3]),
    ]
    return nodes, {"w": w, "one": np.array([1], np.int64)}


def recurrence(activation: str) -> Callable[[int], Graph]:
    def graph(width: int) -> Graph:
        generator = np.random.default_rng(2)
        arrays = {
            "w": generator.normal(0, 0.3, (1, 9, width)),
            "r": generator.normal(0, 0.3, (1, 9, 9)),
            "b": generator.normal(0, 0.3, (1, 18)),
            "h0": np.zeros((1, 1, 9)),
        }
        nodes = [
            helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
            helper.make_node("Shape", ["x"], ["B"], start=0, end=1),
            helper.make_node("Concat", ["one", "B", "nine"], ["sizes"], axis=0),
            helper.make_node("Expand", ["h0", "sizes"], ["h"]),
            helper.make_node(
                "RNN", ["x_t", "w", "r", "b", "", "h"], ["y4", "last"], hidden_size=9, activations=[activation]
            ),
            helper.make_node("Squeeze", ["y4", "one"], ["y3"]),
            helper.make_node("Add", ["y3", "last"], ["y_t"]),
            helper.make_node("Transpose", ["y_t"], ["y"], perm=[1, 0, 2]),
        ]
        sizes = {"one": np.array([1], np.int64), "nine": np.array([9], np.int64)}
        return nodes, {**{name: array.astype(np.float32) for name, array in arrays.items()}, **sizes}

    return graph


# Each with whether a run of T steps is T runs of one.
OPERATORS: dict[str, tuple[Callable[[int], Graph], bool]] = {
    "Log": (positive("Log"), True),
    "Softplus": (plain("Softplus"), True),
    "Mish": (plain("Mish"), True),
    "Elu": (plain("Elu", alpha=0.7), True),
    "Celu": (plain("Celu", alpha=1.3), True),
    "Selu": (plain("Selu"), True),
    "Sin": (plain("Sin"), True),
    "Cos": (plain("Cos"), True),
    "Atan": (plain("Atan"), True),
    "Asin": (bounded("Asin"), True),
    "Acos": (bounded("Acos"), True),
    "ReduceSum of the last axis": (reduced("ReduceSum", [-1], 0), True),
    "ReduceSum of an inner axis": (reduced("ReduceSum", [2], 1), True),
    "ReduceMean of two axes": (reduced("ReduceMean", [2, 3], 1), True),
    "ReduceMean of an inner axis": (reduced("ReduceMean", [-2], 0), True),
    "InstanceNormalization": (group_norm, False),
    "of many matrices": (looked_up(6, is_turned=False), False),
    "of many matrices and one column": (looked_up(1, is_turned=False), False),
    "of many matrices, turned": (looked_up(6, is_turned=True), False),
    "of many matrices and one row, turned": (looked_up(1, is_turned=True), False),
    "of one matrix for many": (of_each_head, True),
    "Einsum": (einsum("btf,fo->bto", 0, 6), True),
    "Einsum, turned": (einsum("btf,of->bto", 6, 0), True),
    "Einsum of any axes": (einsum("...f,fo->...o", 0, 6), True),
    "Einsum of each step with itself": (einsum("btf,btf->bt"), True),
    "Einsum that sums what stands alone": (einsum("btf,fo->bt", 0, 3), True),
    "Einsum with two axes of weights": (einsum("btf,hfo->btho", 2, 0, 3), True),
    "Einsum by heads": (heads("bthf,hfo->btho"), True),
    "Einsum over heads": (heads("bthf,hfo->bto"), True),
    "Einsum of three": (bilinear, True),
    "Conv": (convolution(num_outputs=4, has_bias=True), False),
    "Conv, dilated": (convolution(num_outputs=4, has_bias=False, dilations=[3]), False),
    "Conv, once in two steps": (convolution(num_outputs=4, has_bias=True, strides=[2]), False),
    "Conv, once in three steps, dilated": (
        convolution(num_outputs=4, has_bias=False, strides=[3], dilations=[2]),
        False,
    ),
    "Conv, of groups": (convolution(2, 3, has_bias=True), False),
    "Conv, of channels": (channels(1), False),
    "Conv, of channels, two each": (channels(2, strides=[2], dilations=[2]), False),
    "Conv, behind zeros": (convolution(num_outputs=4, has_bias=True, pads=[1, 0]), False),
    "Conv, of pictures": (pictures, False),
    "RNN": (recurrence("Tanh"), False),
    "RNN of ReLU": (recurrence("Relu"), False),
}


def model_of(graph: Graph, width: int) -> onnx.ModelProto:
    nodes, constants = graph
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it is exported, another object."""
    again = ir.from_proto(model)
    make_invariant(again)
    proto: onnx.ModelProto = ir.to_proto(again)
    onnx.checker.check_model(proto)
    return proto


def runs(model: onnx.ModelProto) -> Callable[[Array], Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(x: Array) -> Array:
        made: Array = session.run(None, {"x": np.ascontiguousarray(x)})[0]
        return made.reshape(*x.shape[:2], -1) if made.shape[0] == x.shape[0] * x.shape[1] else made

    return run


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_operator_has_the_same_value_in_another_form_and_is_the_same_to_the_bit_in_any_company(name: str) -> None:
    graph, is_by_step = OPERATORS[name]
    for width in WIDTHS:
        model = model_of(graph(width), width)
        other = rewritten(model)
        assert name.split(" ", maxsplit=1)[0].rstrip(",") not in {node.op_type for node in other.graph.node}
        original, run = runs(model), runs(other)
        for scale in (1.0, 0.01, 20.0):
            x = (np.random.default_rng(width).normal(size=(256, 7, width)) * scale).astype(np.float32)
            wanted = original(x)
            np.testing.assert_allclose(run(x), wanted, rtol=3e-6, atol=3e-6 * max(1.0, scale, np.abs(wanted).max() / 4))
            alone = np.concatenate([run(x[row : row + 1]) for row in range(40)])
            for batch in BATCHES:
                assert run(x[:batch])[:40].tobytes() == alone[: min(batch, 40)].tobytes(), (width, scale, batch)
            assert run(x[39::-1])[::-1].tobytes() == alone.tobytes(), "in another place"
            if is_by_step:
                steps = [run(x[:3, step : step + 1]) for step in range(7)]
                assert np.concatenate(steps, axis=1).tobytes() == alone[:3].tobytes(), (width, scale)


@pytest.mark.parametrize("name", ["Conv", "RNN", "Einsum", "ReduceSum of the last axis"])
def test_weights_stand_in_the_graph_once(name: str) -> None:
    model = rewritten(model_of(OPERATORS[name][0](16), 16))
    used = {name for node in model.graph.node for name in node.input}
    assert {each.name for each in model.graph.initializer} <= used


@pytest.mark.parametrize("name", ["Log", "Softplus", "Elu", "Celu", "Selu", "Mish", "Atan"])
def test_what_is_beyond_numbers_stays_what_it_was(name: str) -> None:
    model = model_of(OPERATORS[name][0](1), 1)
    x = np.array([0.0, -0.0, 1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan, 88.0, -88.0], np.float32)[None, :, None]
    if name == "Mish":
        x = x[:, np.isfinite(x[0, :, 0])]
    np.testing.assert_allclose(runs(rewritten(model))(x), runs(model)(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1]), {"w": np.ones((2, 3, 3), np.float32)}),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides=[2]), {"w": np.ones((2, 3, 3), np.float32)}),
        (helper.make_node("ReduceSum", ["x"], ["y"]), {}),
        (helper.make_node("Einsum", ["x", "x"], ["y"], equation="btf,btf->btf"), {}),
        (helper.make_node("Einsum", ["x", "x"], ["y"], equation="btf,btg->fg"), {}),
        (helper.make_node("Tanh", ["x"], ["y"]), {}),
    ],
)
def test_what_has_no_other_form_stays(node: NodeProto, constants: dict[str, Array]) -> None:
    model = model_of(([node], constants), 4)
    assert [each.op_type for each in rewritten(model).graph.node] == [node.op_type]


@pytest.mark.parametrize("operator", ["ReduceSum", "MatMul", "Einsum"])
def test_sums_over_the_steps_are_the_same_with_zeros_behind_them(operator: str) -> None:
    """Of 1 to 64 steps, alone, padded and in company: the mean as a sum, and weights times rows as attention has it."""
    nodes = {
        "ReduceSum": [helper.make_node("ReduceSum", ["x", "axis"], ["y"])],
        "Einsum": [helper.make_node("Einsum", ["x", "x"], ["y"], equation="bth,bth->hb")],
        "MatMul": [
            helper.make_node("Slice", ["x", "0", "axis", "2"], ["first"]),
            helper.make_node("Transpose", ["first"], ["weights"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["weights", "x"], ["y"]),
        ],
    }
    numbers = {"axis": [1], "0": [0], "2": [2]}
    constants = {name: np.array(each, np.int64) for name, each in numbers.items()}
    run = runs(rewritten(model_of((nodes[operator], constants), 8)))
    generator = np.random.default_rng(0)
    for length in (1, 3, 16, 33, 64):
        rows = generator.normal(size=(1, length, 8)).astype(np.float32)
        alone = run(rows)
        for num_steps, batch_size in ((length + 1, 1), (64 + length, 1), (length, 5), (90, 17)):
            wide = generator.normal(size=(batch_size, num_steps, 8)).astype(np.float32)
            wide[-1] = 0
            wide[-1, :length] = rows[0]
            own, made = (each.T if operator == "Einsum" else each for each in (alone, run(wide)))
            assert made[-1].tobytes() == own[0].tobytes()
