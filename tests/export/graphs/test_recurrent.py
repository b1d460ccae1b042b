from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import StepGraph, write_graph
from tests.export.modules import HIDDEN_SIZE, FixedBatch, ManyToOne, OddStates, Stacked, amounts
from tests.zoo.modules_layers import both_ways_along_frequency


def graph_of(module: nn.Module, folder: Path) -> StepGraph:
    contract = inspect_module(module, amounts())
    write_graph(contract, folder / "model.onnx")
    return StepGraph(folder / "model.onnx", contract.inputs, contract.output, contract.states)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stacked, StepGraph]:
    module = Stacked(nn.LSTM, 3).eval()
    return module, graph_of(module, tmp_path_factory.mktemp("stack"))


@pytest.mark.parametrize(("batch_size", "num_steps"), [(1, 1), (2, 70), (33, 5)])
def test_a_stack_runs_at_sizes_it_was_not_traced_with(
    stack: tuple[Stacked, StepGraph], batch_size: int, num_steps: int
) -> None:
    module, graph = stack
    x = torch.randn(batch_size, num_steps, 3)
    states = tuple(torch.randn(3, batch_size, HIDDEN_SIZE) for _ in range(2))
    y, after = graph(x.numpy(), tuple(state.numpy() for state in states))
    with torch.no_grad():
        wanted = module(x, *states)
    for given, true in zip((y, *after), wanted, strict=True):
        np.testing.assert_allclose(given, true.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (FixedBatch(), r"axis B is secretly static \(modules\.py, line \d+: return torch\.cat.*\): .*do not read"),
    ],
)
def test_what_cannot_have_open_axes_is_refused(tmp_path: Path, module: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        graph_of(module, tmp_path)


def test_a_module_that_torch_cannot_trace_is_refused(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, 1)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return (x, h) if x.sum() > 0 else (-x, h)

    with pytest.raises(ExportError, match="torch cannot trace the module"):
        graph_of(Branches(), tmp_path)


def test_layers_that_run_both_ways_along_the_steps_are_refused_and_along_another_axis_are_not(tmp_path: Path) -> None:
    class BothWays(Stacked):
        def __init__(self) -> None:
            super().__init__(nn.GRU, 1, bidirectional=True)
            self.head = nn.Linear(2 * HIDDEN_SIZE, 2)

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return (torch.zeros(2, batch_size, HIDDEN_SIZE),)

    with pytest.raises(ExportError, match=r"layer 'layers' is bidirectional over the steps: .*task 'sequence'"):
        graph_of(BothWays(), tmp_path)
    module, options = both_ways_along_frequency()
    contract = inspect_module(module, options["inputs"])
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract.inputs, contract.output, contract.states)
    x = np.random.default_rng(0).standard_normal((2, 8, 6)).astype(np.float32)
    y, _ = graph(x, contract.initial_states(2))
    np.testing.assert_allclose(y, contract(x, contract.initial_states(2))[0], atol=1e-6)


def test_one_value_may_be_output_and_state_and_a_state_may_pass_through(tmp_path: Path) -> None:
    x = np.ones((2, 4, 3), np.float32)
    y, (memory,) = graph_of(ManyToOne(), tmp_path)(x, (np.zeros((2, HIDDEN_SIZE), np.float32),))
    np.testing.assert_array_equal(y, memory)
    total = np.full((2, 1), 10.0)
    untouched = np.random.default_rng(0).standard_normal((2, 2, 3, 4)).astype(np.float32)
    y, after = graph_of(OddStates(), tmp_path)(x, (total, np.array([1, 2]), untouched))
    assert y.tolist() == [[11, 12, 13, 14]] * 2
    assert [state.tolist() for state in after[:2]] == [[[14.0], [14.0]], [5, 6]]
    np.testing.assert_array_equal(after[2], untouched)


def test_the_same_module_gives_the_same_file(tmp_path: Path) -> None:
    contract = inspect_module(Stacked(), amounts())
    write_graph(contract, tmp_path / "first.onnx")
    write_graph(contract, tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_a_state_called_as_an_inner_value_gets_its_name(tmp_path: Path) -> None:
    contract = inspect_module(Stacked(), amounts(), state_names=("getitem", "linear"))
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract.inputs, contract.output, contract.states)
    state = np.zeros((2, 1, HIDDEN_SIZE), np.float32)
    y, _ = graph(np.zeros((1, 9, 3), np.float32), (state, state))
    assert y.shape == (1, 9, 2)
