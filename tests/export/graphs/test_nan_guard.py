from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import Tensor, nn
from torch.nn import functional

from ostinato.export.contracts.axes import Array, States
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.graphs.nan_guard import guard, telling_columns
from ostinato.export.graphs.ranges import MAY_BE_MISSING, Ranges
from ostinato.export.graphs.recurrent import StepGraph, write_graph
from ostinato.export.proofs.not_finite import find_nan
from ostinato.service.artifact.tensors import Input

HIDDEN_SIZE = 5
POSITIVE = {"mean": (2.0, 2.0), "std": (0.1, 0.1), "minimum": (1.0, 1.0), "maximum": (3.0, 3.0)}


class Logarithms(nn.Module):
    """An LSTM of logarithms, two layers, a GRU behind the larger of both, a GRU whose input is never NaN, and the
    least and the maximum of a window.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(2, HIDDEN_SIZE, 2, batch_first=True)
        self.gru = nn.GRU(1, HIDDEN_SIZE, batch_first=True)
        self.plain = nn.GRU(2, HIDDEN_SIZE, batch_first=True)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(num_layers, batch_size, HIDDEN_SIZE) for num_layers in (2, 2, 1, 1))

    def forward(self, x: Tensor, h: Tensor, c: Tensor, above: Tensor, beside: Tensor) -> tuple[Tensor, ...]:
        logarithms = x.log()
        first, (h, c) = self.lstm(logarithms, (h, c))
        second, above = self.gru(logarithms.amax(dim=-1, keepdim=True), above)
        third, beside = self.plain(x.clamp(-9.0, 9.0), beside)
        # Each a number of its own: which layer lost NaN shows.
        pooled = functional.max_pool1d(logarithms, 2)
        least = logarithms.amin(dim=-1)
        outputs = torch.stack([first.sum(-1), second.sum(-1), third.sum(-1), pooled.sum(-1), least], dim=-1)
        return outputs, h, c, above, beside


@pytest.fixture(scope="module")
def contract() -> Contract:
    inputs = {"name": "inputs", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b")}
    return inspect_module(Logarithms(), Input.model_validate(inputs | {"statistics": POSITIVE}))


@pytest.fixture(scope="module")
def graph_path(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(contract, path)
    return path


@pytest.fixture(scope="module")
def graph(contract: Contract, graph_path: Path) -> StepGraph:
    return StepGraph(graph_path, contract)


def run(step: Contract | StepGraph, contract: Contract, *rows: tuple[float, ...]) -> tuple[Array, States]:
    return step(np.array(rows, np.float32)[:, None], contract.initial_states(len(rows)))


def test_nan_comes_out_of_a_graph_where_it_comes_out_of_the_network(contract: Contract, graph: StepGraph) -> None:
    # log: of -1 NaN, of 0 minus infinity; one of these drives the gates to their ends, two of them cancel each other.
    for pair in product((-1.0, 0.0, 1.0, 2.0), repeat=2):
        (wanted, states), (made, after) = (run(step, contract, pair) for step in (contract, graph))
        np.testing.assert_allclose(made, wanted, atol=1e-5, equal_nan=True, err_msg=str(pair))
        assert [np.isnan(state).any() for state in after] == [np.isnan(state).any() for state in states], pair


def test_a_row_with_nan_does_not_touch_the_rows_next_to_it(contract: Contract, graph: StepGraph) -> None:
    # Among as many rows: a logarithm alone is rounded differently than in company.
    sound, _ = run(graph, contract, (3.0, 2.0), (1.0, 2.0), (2.0, 3.0))
    together, _ = run(graph, contract, (-1.0, 2.0), (1.0, 2.0), (0.0, 0.0))
    assert np.isnan(together[[0, 2]]).any(axis=(1, 2)).all()
    assert together[1].tobytes() == sound[1].tobytes()


class Places(nn.Module):
    """The places of the largest and the least of four logarithms, added up."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        logarithms = torch.cat([x, 2.0 * x], dim=-1).log()
        places = torch.stack([logarithms.argmax(dim=-1), logarithms.argmin(dim=-1)], dim=-1).float()
        return places, total + places.sum(dim=(1, 2)).unsqueeze(1)


def test_the_place_of_an_extreme_is_that_of_the_first_nan_as_in_the_network(tmp_path: Path) -> None:
    inputs = {"name": "inputs", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b")}
    contract = inspect_module(Places(), Input.model_validate(inputs | {"statistics": POSITIVE}))
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract)
    for pair in product((-1.0, 0.0, 1.0, 2.0), repeat=2):
        (wanted, _), (made, _) = (run(step, contract, pair) for step in (contract, graph))
        assert made.tolist() == wanted.tolist(), pair


def test_only_layers_that_may_meet_nan_are_guarded(graph_path: Path) -> None:
    nodes = onnx.load(graph_path).graph.node
    by_output = {name: node for node in nodes for name in node.output}
    layers = [node for node in nodes if node.op_type in ("LSTM", "GRU")]
    begun = [by_output.get(node.input[6 if node.op_type == "LSTM" else 5]) for node in layers]
    is_guarded = [node is not None and node.op_type == "Sub" for node in begun]
    assert sorted(zip([node.op_type for node in layers], is_guarded, strict=True)) == [
        ("GRU", False),
        ("GRU", True),
        ("LSTM", True),
        ("LSTM", True),
    ]


@pytest.mark.parametrize("layer", [nn.LSTM(1, HIDDEN_SIZE, batch_first=True), nn.GRU(1, HIDDEN_SIZE, batch_first=True)])
def test_the_guard_keeps_the_sign_of_a_zero_that_a_run_begins_with(layer: nn.RNNBase, tmp_path: Path) -> None:
    """Within a run nothing is added to a state, so nothing may be added where a run begins."""
    with torch.no_grad():
        for weights in layer.parameters():
            weights.zero_()
        # The state is kept, whatever comes in: an LSTM's forget gate open and its input closed, a GRU's update gate 1.
        gates = (-200.0, 200.0, -1.0, 200.0) if isinstance(layer, nn.LSTM) else (0.0, 200.0, -1.0)
        layer.get_parameter("bias_ih_l0").copy_(torch.tensor(gates).repeat_interleave(HIDDEN_SIZE))
    inputs = {"name": "inputs", "dtype": "float32", "shape": ("B", "T", 1), "features": ("a",), "missing": True}
    contract = inspect_module(layer, Input.model_validate(inputs))
    write_graph(contract, tmp_path / "model.onnx")
    assert "Clip" in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    states = tuple(np.full((1, 1, HIDDEN_SIZE), -0.0, np.float32) for _ in contract.states)
    _, after = StepGraph(tmp_path / "model.onnx", contract)(np.ones((1, 3, 1), np.float32), states)
    assert all(np.signbit(state).all() and not state.any() for state in after)


def test_the_proof_says_where_the_network_gives_nan(contract: Contract, graph: StepGraph) -> None:
    (note,) = find_nan(contract, graph)
    assert note.startswith("the network gives NaN for a = -1, a = -1000, a = -1e+06 and 3 more, and so does the graph")


def test_columns_tell_nan_as_all_weights_would() -> None:
    generator = np.random.default_rng(0)
    for weights in (
        generator.normal(size=(12, 3)),
        np.abs(generator.normal(size=(8, 3))),  # two infinities of one sign never cancel each other
        np.array([[1.0, 0.0, 2.0], [3.0, 1.0, -1.0]]),  # infinity times 0
        np.array([[1.0, 2.0, 3.0], [3.0, 0.0, 1.0]]),  # and where the signs alone tell nothing new
        np.array([[1.0, 2.0, 3.0], [3.0, -1.0, 1.0]]),  # two of one sign that only the second row makes opposite
    ):
        columns = telling_columns(weights)
        for step in product((-np.inf, np.inf, 1.0, np.nan), repeat=3):
            with np.errstate(invalid="ignore"):
                wanted, told = weights @ np.array(step), np.array(step) @ columns
            assert np.isnan(told).any() == np.isnan(wanted).any(), (weights, step)


def rows_with_nan(operator: str, may_be_missing: str, x: Array, lengths: list[int], begun: Array) -> list[bool]:
    """For each row of ``x`` ``[T, B, 2]``, whether a guarded layer that begins with ``begun`` ``[B]`` ends with NaN."""
    num_gates = {"LSTM": 4, "GRU": 3}[operator]
    rows = num_gates * HIDDEN_SIZE
    shapes = {"w": (1, rows, 2), "r": (1, rows, HIDDEN_SIZE), "b": (1, 2 * rows)}
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    hidden = np.repeat(begun.astype(np.float32)[None, :, None], HIDDEN_SIZE, axis=2)
    states = {"h": hidden, "c": np.zeros_like(hidden)} if operator == "LSTM" else {"h": hidden}
    feeds = {"x": x.astype(np.float32), "lengths": np.array(lengths, np.int32), **states}
    layer = helper.make_node(operator, ["x", *weights, "lengths", *states], ["", "last"], hidden_size=HIDDEN_SIZE)
    graph = helper.make_graph(
        [layer],
        "layer",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feed.dtype), feed.shape)
            for name, feed in feeds.items()
        ],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, feeds["h"].shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = ir.from_proto(made)
    guard(model, Ranges({may_be_missing: MAY_BE_MISSING}))
    session = InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (last,) = session.run(["last"], feeds)
    found: list[bool] = np.isnan(last).any(axis=(0, 2)).tolist()
    return found


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_nan_beyond_the_end_of_a_row_is_nothing_to_it_and_in_its_last_step_is(operator: str) -> None:
    x = np.ones((3, 4, 2))
    x[2, 0, 0] = x[2, 1, 0] = x[0, 2, 1] = np.nan
    assert rows_with_nan(operator, "x", x, [2, 3, 1, 3], np.zeros(4)) == [False, True, True, False]


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_a_row_that_begins_with_nan_has_it(operator: str) -> None:
    begun = np.array([0.0, np.nan, 0.5])
    assert rows_with_nan(operator, "h", np.ones((2, 3, 2)), [2, 2, 1], begun) == [False, True, False]
