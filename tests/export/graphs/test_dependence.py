from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.dependence import first_dependence
from ostinato.service.artifact.tensors import State
from tests.export.graphs.foreign import drawn, layer, parsed

AXES = {"x": (0, 1)}
AXIS = "one = Constant <value_ints = [1]> () zero = Constant <value_ints = [0]> ()"
DEPENDENT = {
    "attention": (
        "keys = Transpose <perm = [0, 2, 1]> (x) scores = MatMul (x, keys) p = Softmax (scores) y = MatMul (p, x)",
        "scores",
        "attention",
    ),
    "a mean of all steps": (f"{AXIS} mean = ReduceMean (x, one) y = Sub (x, mean)", "mean", "one number of all steps"),
    "a norm of all steps": (
        "steps = Transpose <perm = [0, 2, 1]> (x) y = InstanceNormalization (steps, Scale, Shift)",
        "y",
        "one number of all steps",
    ),
    "softmax along the steps": ("y = Softmax <axis = 1> (x)", "y", "all steps together"),
    "steps turned round": (
        f"{AXIS} last = Constant <value_ints = [-1]> () least = Constant <value_ints = [-99999]> ()"
        "y = Slice (x, last, least, one, last)",
        "y",
        "turns the steps round",
    ),
    "the number of the step": (
        f"""{AXIS} from = Constant <value_int = 0> () by = Constant <value_int = 1> () shape = Shape (x)
        steps_of = Gather (shape, one) steps = Squeeze (steps_of) places = Range (from, steps, by)
        rows = Gather (Table, places) y = Add (x, rows)""",
        "y",
        "number of a step",
    ),
    "the first step, for all": (
        f"{AXIS} first = Slice (x, zero, one, one) y = Sub (x, first)",
        "first",
        "by their place",
    ),
    "a scale of all steps": (
        "q, scale, zero = DynamicQuantizeLinear (x) y = DequantizeLinear (q, scale, zero)",
        "q",
        "eight bits",
    ),
    "the next step": (
        f"""{AXIS} pads = Constant <value_ints = [0, 0, 0, 0, 1, 0]> () wide = Pad (x, pads)
        all = Constant <value_ints = [99999]> () y = Slice (wide, one, all, one)""",
        "wide",
        "differently",
    ),
    "the largest of all steps, of each row folded with a feature": (
        """turned = Transpose <perm = [0, 2, 1]> (x) flat_shape = Constant <value_ints = [-1, 1]> ()
        flat = Reshape (turned, flat_shape) back = Constant <value_ints = [3, 4, -1]> ()
        apart = Reshape (flat, back) two = Constant <value_ints = [2]> () most = ReduceMax (apart, two)
        y = Sub (apart, most)""",
        "most",
        "one number of all steps",
    ),
}
WEIGHTS = {"Scale": np.ones(4, np.float32), "Shift": np.zeros(4, np.float32), "Table": drawn(999, 4)}


def graph(nodes: str) -> ir.Model:
    return parsed(
        f"g (float[B, T, 4] x) => (y) {{ {nodes} }}", **{name: a for name, a in WEIGHTS.items() if name in nodes}
    )


@pytest.mark.parametrize("dependence", DEPENDENT)
def test_the_first_node_is_named_that_answers_otherwise_in_pieces(dependence: str) -> None:
    nodes, node, reason = DEPENDENT[dependence]
    found = first_dependence(graph(nodes), {"x": drawn(3, 17, 4)}, AXES)
    assert found is not None
    assert found.node == node
    assert reason in found.reason


STEPWISE = {
    "what is done to each step by itself": "y = Softmax <axis = -1> (x)",
    "the last step": "place = Constant <value_int = -1> () y = Gather <axis = 1> (x, place)",
    "steps and rows in one axis": "shape = Constant <value_ints = [-1, 4]> () y = Reshape (x, shape)",
    "steps and features in one axis": "shape = Constant <value_ints = [3, -1]> () y = Reshape (x, shape)",
    "features before the steps in one axis": """turned = Transpose <perm = [0, 2, 1]> (x)
        shape = Constant <value_ints = [3, -1]> () y = Reshape (turned, shape)""",
    "the number of steps, which nobody uses": "shape = Shape (x) y = Reshape (x, shape)",
}


@pytest.mark.parametrize("nodes", STEPWISE.values(), ids=STEPWISE)
def test_what_is_the_same_in_pieces_is_no_dependence(nodes: str) -> None:
    assert first_dependence(graph(nodes), {"x": drawn(3, 17, 4)}, AXES) is None


def test_states_are_carried_from_piece_to_piece() -> None:
    text = """g (float[T, B, 4] x, float[1, B, 3] h) => (float[T, 1, B, 3] y, float[1, B, 3] last) {
        y, last = GRU <hidden_size = 3> (x, W, R, Bias, , h)
    }"""
    model = parsed(text, **layer("GRU", 4, 3))
    state = State(name="h", input="h", output="last", shape=(1, "B", 3), dtype="float32", initial=0.5)
    given: dict[str, Array] = {"x": drawn(17, 3, 4)}
    assert first_dependence(model, given, {"x": (1, 0)}, [state]) is None
    wrong = state.model_copy(update={"output": "h"})
    found = first_dependence(model, given, {"x": (1, 0)}, [wrong])
    assert found is not None
    assert found.operator == "GRU"


def test_a_graph_that_cannot_run_a_piece_says_which_node_cannot() -> None:
    nodes = "turned = Transpose <perm = [0, 2, 1]> (x) y = Conv (turned, Kernel)"
    model = parsed(f"g (float[B, T, 4] x) => (y) {{ {nodes} }}", Kernel=drawn(2, 4, 5))
    model.graph.node(1).name = "conv"
    found = first_dependence(model, {"x": drawn(3, 17, 4)}, AXES)
    assert found is not None
    assert (found.node, found.operator) == ("conv", "Conv")
