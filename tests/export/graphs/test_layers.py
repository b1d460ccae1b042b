from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import run_in_chunks
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.layers import OnnxLayers, onnx_forwards, with_onnx_layers
from ostinato.export.graphs.recurrent import StepGraph, write_graph
from tests.export.modules import amounts
from tests.zoo.modules_layers import projected_stack


class ScaledLSTM(nn.LSTM):
    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        return super().forward(2 * x, hx)


class RenamedLSTM(nn.LSTM):
    pass


def test_layers_are_found_at_any_depth_and_the_original_is_kept() -> None:
    module = nn.ModuleDict({"encoder": nn.ModuleList([nn.Linear(3, 3), nn.GRU(3, 4)]), "own": RenamedLSTM(3, 4)})
    rewired = with_onnx_layers(module)
    paths = [path for path, part in rewired.named_modules() if isinstance(part, OnnxLayers)]
    assert paths == ["encoder.1.as_onnx", "own.as_onnx"]
    assert not any(isinstance(part, OnnxLayers) for part in module.modules())


def test_a_layer_under_two_names_has_one_stand_in_under_both() -> None:
    layer = nn.LSTM(3, 4)
    rewired = with_onnx_layers(nn.ModuleDict({"first": layer, "again": nn.ModuleList([layer])}))
    assert isinstance(rewired.get_submodule("first.as_onnx"), OnnxLayers)
    assert rewired.get_submodule("again.0") is rewired.get_submodule("first")


def test_a_layer_that_stands_alone_is_rewired() -> None:
    assert isinstance(with_onnx_layers(nn.RNN(3, 4)).get_submodule("as_onnx"), OnnxLayers)


@pytest.mark.parametrize(
    ("layer", "order"),
    [
        (nn.LSTM(1, 1), [0, 3, 1, 2]),  # torch: input, forget, cell, output; ONNX: input, output, forget, cell
        (nn.GRU(1, 1), [1, 0, 2]),  # torch: reset, update, new; ONNX: update, reset, new
    ],
)
def test_gates_stand_in_the_order_of_onnx(layer: nn.RNNBase, order: list[int]) -> None:
    with torch.no_grad():
        for begin, name in enumerate(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")):
            part = layer.get_parameter(name)
            part.copy_(10 * begin + torch.arange(len(order)).reshape(part.shape))
    rewired = with_onnx_layers(layer)
    for begin, name in enumerate(("weight_ih_l0", "weight_hh_l0")):
        assert rewired.get_buffer(f"as_onnx.{name}").flatten().tolist() == [10 * begin + gate for gate in order]
    assert rewired.get_buffer("as_onnx.bias_l0").tolist() == [[begin + gate for begin in (20, 30) for gate in order]]


def test_a_layer_without_bias_gets_zeros() -> None:
    rewired = with_onnx_layers(nn.GRU(2, 3, bias=False))
    assert rewired.get_buffer("as_onnx.bias_l0").tolist() == [[0.0] * (2 * 3 * 3)]


def test_a_layer_may_have_a_forward_of_its_own_and_is_asked_for_its_attributes_and_weights(tmp_path: Path) -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = ScaledLSTM(3, 4, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            zeros = torch.zeros(self.layers.num_layers, batch_size, self.layers.hidden_size)
            return zeros, zeros.clone()

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            self.layers.flatten_parameters()
            assert not self.layers.bidirectional
            y, (h, c) = self.layers(x, (h, c))
            return y @ self.layers.weight_hh_l0[:4], h, c  # type: ignore[index]

    contract = inspect_module(Asks(), amounts())
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract.inputs, contract.output, contract.states)
    x = np.random.default_rng(0).standard_normal((2, 8, 3)).astype(np.float32)
    begin = contract.initial_states(2)
    np.testing.assert_allclose(graph(x, begin)[0], contract(x, begin)[0], atol=1e-6)


def test_torch_s_layers_run_as_ever_behind_a_trace() -> None:
    forward = nn.LSTM.forward
    with onnx_forwards():
        assert nn.LSTM(3, 4)(torch.zeros(5, 2, 3))[0].shape == (5, 2, 4)
    assert nn.LSTM.forward is forward


def test_a_recurrent_layer_of_another_kind_is_refused() -> None:
    with pytest.raises(ExportError, match=r"layer 'layer' \(RNNBase\) is neither nn\.LSTM nor nn\.GRU nor nn\.RNN"):
        with_onnx_layers(nn.ModuleDict({"layer": nn.RNNBase("LSTM", 3, 4)}))


def test_a_projected_layer_streams_and_is_the_same_to_the_bit_however_it_is_cut(tmp_path: Path) -> None:
    module, options = projected_stack()
    contract = inspect_module(module, options["inputs"])
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract.inputs, contract.output, contract.states)
    sequences = np.random.default_rng(0).standard_normal((3, 9, 3)).astype(np.float32)
    run = partial(run_in_chunks, inputs=contract.inputs, outputs=contract.output, sequence=sequences)
    whole, states = run(graph, states=contract.initial_states(3))
    wanted, last = run(contract, states=contract.initial_states(3))
    for given, true in zip((whole, *states), (wanted, *last), strict=True):
        np.testing.assert_allclose(given, true, atol=1e-6)
    in_chunks, after = run(graph, states=contract.initial_states(3), cuts=(1, 2, 7))
    assert in_chunks.tobytes() == whole.tobytes()
    assert [each.tobytes() for each in after] == [each.tobytes() for each in states]
