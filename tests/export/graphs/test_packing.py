from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.layers import onnx_forwards, with_onnx_layers
from ostinato.export.graphs.packing import PaddedPacking, lengths_of
from ostinato.export.graphs.recurrent import Signature, StepGraph, open_exported, write_graph, write_module
from tests.zoo.modules_layers import packed_gru


def test_packed_rows_stay_as_they_were_and_go_on_with_their_lengths() -> None:
    x = torch.arange(12.0).reshape(2, 3, 2)
    with PaddedPacking():
        rows = pack_padded_sequence(x, torch.tensor([1, 3]), batch_first=True, enforce_sorted=False)
        padded, lengths = pad_packed_sequence(rows, batch_first=True, padding_value=-1.0)
    assert lengths_of(rows.batch_sizes) is not None
    assert rows.data.shape == (3, 2, 2)  # steps first, the longest row first
    assert rows.data[:, 0].tolist() == x[1].tolist()
    assert lengths.tolist() == [1, 3]
    assert padded.tolist() == [[[0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]], x[1].tolist()]


def test_a_module_that_packs_whole_rows_streams(tmp_path: Path) -> None:
    module, options = packed_gru()
    contract = inspect_module(module, options["inputs"])
    write_graph(contract, tmp_path / "model.onnx")
    graph = StepGraph(tmp_path / "model.onnx", contract.inputs, contract.output, contract.states)
    x, begin = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32), contract.initial_states(2)
    y, (h,) = graph(x, begin)
    wanted, (last,) = contract(x, begin)
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    np.testing.assert_allclose(h, last, atol=1e-6)


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"bidirectional": True, "proj_size": 2}])
def test_lengths_of_a_packed_sequence_count(options: dict[str, int], tmp_path: Path) -> None:
    """Rows of 1 to 6 steps: outputs, and states from a beginning of their own, as torch has them."""

    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.LSTM(3, 4, batch_first=True, **options)

        def forward(self, x: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            made, (h, c) = self.layers(rows, (h, c))
            y, _ = pad_packed_sequence(made, batch_first=True, total_length=x.shape[1])
            return y, h, c

    module, size = Ragged().eval(), options.get("proj_size", 4)
    x, lengths = torch.randn(4, 6, 3), torch.tensor([3, 6, 1, 6])
    h, c = torch.randn(2, 4, size), torch.randn(2, 4, 4)
    inputs = (("x", ("B", "T", 3)), ("lengths", ("B",)), ("h", (2, "B", size)), ("c", (2, "B", 4)))
    outputs = (("y", ("B", "T", 2 * size)), ("h_next", (2, "B", size)), ("c_next", (2, "B", 4)))
    example = (torch.zeros(3, 5, 3), torch.full((3,), 5), torch.zeros(2, 3, size), torch.zeros(2, 3, 4))
    write_module(with_onnx_layers(module), example, Signature("ragged", inputs, outputs), tmp_path / "model.onnx")
    feeds = {name: each.numpy() for (name, _), each in zip(inputs, (x, lengths, h, c), strict=True)}
    made = open_exported(tmp_path / "model.onnx").run(None, feeds)
    with torch.no_grad():
        wanted = module(x, lengths, h, c)
    for given, true in zip(made, wanted, strict=True):
        np.testing.assert_allclose(given, true.numpy(), atol=1e-6)


def test_rows_that_were_packed_elsewhere_are_refused() -> None:
    rows = pack_padded_sequence(torch.zeros(2, 3, 3), torch.tensor([3, 3]), batch_first=True)
    refused = pytest.raises(ExportError, match="layer 'GRU' is given a packed sequence that was not made in forward")
    with onnx_forwards(), refused:
        with_onnx_layers(nn.GRU(3, 4, batch_first=True))(rows)
