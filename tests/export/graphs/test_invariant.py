from __future__ import annotations

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


def einsum(equation: str, *, turned: bool) -> Callable[[int], Graph]:
    def graph(width: int) -> Graph:
        w = np.linspace(-1, 1, width * 6, dtype=np.float32).reshape(width, 6)
        return [helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)], {"w": w.T.copy() if turned else w}

    return graph


def bilinear(width: int) -> Graph:
    w = np.linspace(-1, 1, width * width, dtype=np.float32).reshape(width, width)
    return [helper.make_node("Einsum", ["x", "w", "x"], ["y"], equation="bti,ij,btj->bt")], {"w": w}


def convolution(dilation: int, *, has_bias: bool) -> Callable[[int], Graph]:
    """Over the steps; the first three are those before."""

    def graph(width: int) -> Graph:
        w = np.random.default_rng(1).normal(0, 0.4, (4, width, 2)).astype(np.float32)
        nodes = [
            helper.make_node("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
            helper.make_node("Conv", ["channels", "w", *(["b"] if has_bias else [])], ["made"], dilations=[dilation]),
            helper.make_node("Transpose", ["made"], ["y"], perm=[0, 2, 1]),
        ]
        return nodes, {"w": w, **({"b": np.arange(4, dtype=np.float32)} if has_bias else {})}

    return graph


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
    "Einsum": (einsum("btf,fo->bto", turned=False), True),
    "Einsum, turned": (einsum("btf,of->bto", turned=True), True),
    "Einsum of three": (bilinear, True),
    "Conv": (convolution(1, has_bias=True), False),
    "Conv, dilated": (convolution(3, has_bias=False), False),
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
        if name != "Einsum of three":  # of which one of two is left
            assert name.split(" ", maxsplit=1)[0].rstrip(",") not in {node.op_type for node in other.graph.node}
        original, run = runs(model), runs(other)
        for scale in (1.0, 0.01, 20.0):
            x = (np.random.default_rng(width).normal(size=(256, 7, width)) * scale).astype(np.float32)
            np.testing.assert_allclose(run(x), original(x), rtol=3e-6, atol=3e-6 * max(1.0, scale))
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
