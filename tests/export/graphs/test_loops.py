from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, run_in_chunks
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.symbols import Axes
from ostinato.export.errors import ExportError
from ostinato.export.graphs.loops import loops_over_steps, scan_over_steps
from ostinato.export.graphs.recurrent import StepGraph, open_exported, write_graph
from ostinato.export.graphs.tidy import tidy
from tests.export.modules import LoopedCell, Stacked, amounts
from tests.zoo.entries import Entry
from tests.zoo.modules_layers import both_ways_in_a_loop
from tests.zoo.modules_loops import conv_lstm, holes_filled, only_the_last, rnn_cell_time_major


def graph_of(contract: Contract, folder: Path) -> StepGraph:
    write_graph(contract, folder / "model.onnx")
    return StepGraph(folder / "model.onnx", contract)


def test_a_loop_is_told_from_layers_over_all_steps_and_from_a_branch() -> None:
    class Branches(nn.Module):
        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, 1)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return (x + 0.0 * h[:, None], h) if x.shape[1] > 4 else (x, h)

    assert loops_over_steps(inspect_module(LoopedCell(), amounts()))
    assert not loops_over_steps(inspect_module(Stacked(nn.RNN), amounts()))
    assert not loops_over_steps(inspect_module(Branches(), amounts()))


@pytest.mark.parametrize("entry", [rnn_cell_time_major, only_the_last, conv_lstm, both_ways_in_a_loop])
def test_a_loop_takes_any_number_of_steps_and_rows_and_is_the_same_to_the_bit_however_it_is_cut(
    entry: Callable[[], Entry], tmp_path: Path
) -> None:
    module, options = entry()
    contract = inspect_module(module, options["inputs"])
    graph = graph_of(contract, tmp_path)
    inputs, output = contract.inputs, contract.output
    sequences = np.random.default_rng(0).standard_normal((3, 11, *inputs.row_shape)).astype(np.float32)
    begin = contract.initial_states(3)
    whole = run_in_chunks(graph, inputs, output, sequences, begin)
    wanted = run_in_chunks(contract, inputs, output, sequences, begin)
    for given, true in zip((whole[0], *whole[1]), (wanted[0], *wanted[1]), strict=True):
        np.testing.assert_allclose(given, true, atol=2e-6)
    in_chunks = run_in_chunks(graph, inputs, output, sequences, begin, cuts=(1, 2, 7))
    alone = run_in_chunks(graph, inputs, output, sequences[:1], contract.initial_states(1))
    for given, true in zip((whole[0], *whole[1]), (in_chunks[0], *in_chunks[1]), strict=True):
        assert given.tobytes() == true.tobytes()
    assert whole[0][:1].tobytes() == alone[0].tobytes()


def test_nan_that_arises_in_a_step_reaches_the_steps_behind_it(tmp_path: Path) -> None:
    """A layer within the loop would lose what the step before made of its state."""

    class Roots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.GRU(3, 4, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(1, batch_size, 4), torch.full((batch_size, 3), 1.0)

        def forward(self, x: Tensor, h: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for t in range(x.shape[1]):
                total = 0.5 * total + x[:, t]
                y, h = self.layers(torch.sqrt(total)[:, None], h)
                outputs.append(y)
            return torch.cat(outputs, dim=1), h, total

    contract = inspect_module(Roots(), amounts())
    graph = graph_of(contract, tmp_path)
    x = np.full((2, 6, 3), 0.5, np.float32)
    x[1, 2] = -3.0  # a root of less than 0 in one step, and of more in those that follow
    x[1, 3:] = 9.0
    y, (h, _) = graph(x, contract.initial_states(2))
    assert np.isnan(y[1, 2:]).all()
    assert np.isnan(h[:, 1]).all()
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[1, :2]).all()


def test_missing_values_are_filled_within_the_loop(tmp_path: Path) -> None:
    module, options = holes_filled()
    contract = inspect_module(module, options["inputs"])
    graph = graph_of(contract, tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    x[:, ::2] = np.nan
    y, _ = graph(x, contract.initial_states(2))
    wanted, _ = contract(x, contract.initial_states(2))
    np.testing.assert_allclose(y, wanted, atol=1e-6)


def test_a_size_that_is_read_as_a_number_is_none_of_one_step(tmp_path: Path) -> None:
    class Reshaped(LoopedCell):
        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return x.reshape(x.shape[0], int(x.shape[1]), 3) * 2.0, h

    graph = graph_of(inspect_module(Reshaped(), amounts()), tmp_path)
    x = np.ones((2, 9, 3), np.float32)
    assert (graph(x, (np.zeros((2, 6), np.float32),))[0] == 2.0 * x).all()


def test_a_loop_that_carries_more_than_its_states_is_refused(tmp_path: Path) -> None:
    class Begins(LoopedCell):
        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x, torch.zeros_like(h))

    with pytest.raises(ExportError, match="Begins answers differently step by step than over a whole sequence"):
        graph_of(inspect_module(Begins(), amounts()), tmp_path)


def test_what_is_the_same_in_each_step_and_an_output_of_the_last_one_go_around_the_scan(tmp_path: Path) -> None:
    """``h = scale h + x``, ``y = h``, ``z = x``, over ``x [T, B, 2]``: h and y [B, 2], z [T, B, 2]."""
    body = onnx.parser.parse_graph(
        "one (float[B, 2] x, float[B, 2] h, float[2] scale) => (float[B, 2] y, float[B, 2] n, float[B, 2] x) "
        "{ m = Mul(scale, h) n = Add(m, x) y = Identity(n) }"
    )
    model = ir.from_proto(onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10))
    inputs: dict[str, Axes] = {"x": ("T", "B", 2), "h": ("B", 2), "scale": (2,)}
    outputs: dict[str, Axes] = {"y": ("B", 2), "h_next": ("B", 2), "z": ("T", "B", 2)}
    scan_over_steps(model, inputs, outputs, {"h": "h_next"})
    tidy(model, list(inputs.items()), list(outputs.items()), "steps")
    ir.save(model, tmp_path / "model.onnx")
    session = open_exported(tmp_path / "model.onnx")
    x: Array = np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[3.0, 3.0]]], np.float32)
    given = (x, np.zeros((1, 2), np.float32), np.array([1.0, 10.0], np.float32))
    y, h, z = session.run(None, dict(zip(inputs, given, strict=True)))
    assert y.tolist() == h.tolist() == [[1.0 + 2.0 + 3.0, 100.0 + 20.0 + 3.0]]
    assert z.tolist() == x.tolist()
