from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.contracts.sequence import inspect_sequence_module
from ostinato.export.graphs import recurrent
from ostinato.export.graphs.recurrent import write_graph
from ostinato.export.proofs.fault import promise_notes, sequence_promise_notes
from ostinato.service.artifact.manifest import ANY, Promise
from tests.export.modules import amounts

FIXED = Promise(holds="fixed", rows=64, steps=1)


class Logarithms(nn.Module):
    """A logarithm of 7 numbers, and an exponential that is at no fault; over all steps or in a loop."""

    def __init__(self, *, loops: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 7)
        self.loops = loops

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 7)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        if not self.loops:
            positive = torch.exp(torch.tanh(self.linear(x))) + 1.0
            return torch.log(positive) * 2.0, 0.5 * h
        outputs = []
        for t in range(x.shape[1]):
            h = torch.log(torch.exp(torch.tanh(self.linear(x[:, t]))) + 1.0) + 0.5 * h
            outputs.append(h)
        return torch.stack(outputs, dim=1), h


@pytest.mark.parametrize("loops", [False, True])
def test_the_operator_that_rounds_by_the_shape_of_a_run_is_named_with_its_line(
    loops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "make_invariant", lambda _model: None)
    contract = inspect_module(Logarithms(loops=loops), amounts())
    places: dict[str, str] = {}
    write_graph(contract, tmp_path / "model.onnx", places=places)
    (note,) = promise_notes(contract, tmp_path / "model.onnx", FIXED, places)
    line = "h = torch.log(torch.exp(" if loops else "return torch.log(positive)"
    assert note.startswith("Log (test_fault.py, line ")
    assert line in note
    assert note.endswith("one session alone costs what 64 do")
    assert promise_notes(contract, tmp_path / "model.onnx", ANY, places) == ()


def test_a_graph_without_fault_is_told_nothing_of(tmp_path: Path) -> None:
    contract = inspect_module(Logarithms(loops=False), amounts())
    write_graph(contract, tmp_path / "model.onnx")
    assert promise_notes(contract, tmp_path / "model.onnx", FIXED, {}) == ()


def test_the_operator_that_heeds_the_length_of_a_sequences_run_is_named_with_its_line(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            within = torch.arange(x.shape[1])[None] < lengths[:, None]
            return torch.tanh((x * within.unsqueeze(-1)).sum(dim=1))

    contract = inspect_sequence_module(Mean(), (amounts(),))
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Slice", ["x", "start", "end"], ["moved"]),
        helper.make_node("ReduceSum", ["moved", "axis"], ["sum"], name="the_sum", keepdims=0),
        helper.make_node("Tanh", ["sum"], ["outputs"]),
    ]
    numbers = {"axis": [1], "start": [0], "end": [2**40]}
    given = [
        helper.make_tensor_value_info(contract.inputs[0].name, TensorProto.FLOAT, ["B", "T", 3]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
    ]
    nodes[0].input[0] = nodes[1].input[0] = contract.inputs[0].name
    made = [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["B", 3])]
    weights = [numpy_helper.from_array(np.array(each, np.int64), name) for name, each in numbers.items()]
    graph = helper.make_graph(nodes, "mean", given, made, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "m.onnx")
    places = {"the_sum": " (mean.py, line 3)"}
    (note,) = sequence_promise_notes(contract, tmp_path / "m.onnx", FIXED, "16 rows run", places)
    assert note.startswith("ReduceSum (mean.py, line 3) rounds a sequence otherwise")
    assert note.endswith("so 16 rows run")
    assert sequence_promise_notes(contract, tmp_path / "m.onnx", ANY, "any run", places) == ()
