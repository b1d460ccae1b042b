from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import write_graph
from ostinato.export.proofs.promise import check_rows, recurrent_promise
from ostinato.service.artifact.manifest import ANY
from ostinato.service.catalogue.promise_checks import FIXED
from tests.export.modules import BatchMean, Stacked, amounts


class RoundedByShape(nn.Module):
    """All that onnxruntime rounds by the shape of a run, as torch writes it, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(3, 17, num_layers=2, batch_first=True)
        self.conv = nn.Conv1d(17, 17, 3)
        self.norm = nn.RMSNorm(17)
        self.groups = nn.GroupNorm(1, 17)

    def forward(self, x: Tensor, h: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, h = self.rnn(x, h)
        both = torch.cat([past, hidden.transpose(1, 2)], dim=2)
        y = self.norm(self.conv(both).transpose(1, 2))
        y = nn.functional.elu(nn.functional.softplus(y) - 1) + torch.sin(y) + nn.functional.mish(y)
        y = y - y.pow(2).mean(dim=-1, keepdim=True) + torch.log(y.abs() + 0.1)
        y = y + self.groups(y.flatten(0, 1)).reshape(y.shape)
        return y + nn.functional.logsigmoid(y).sum(dim=-1, keepdim=True), h, both[:, :, -2:]

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, batch_size, 17), torch.zeros(batch_size, 17, 2)


def written(module: nn.Module, folder: Path) -> tuple[Contract, Path]:
    contract = inspect_module(module, amounts())
    write_graph(contract, folder / "model.onnx")
    return contract, folder / "model.onnx"


def test_what_rounds_by_the_shape_of_a_run_is_exported_so_that_it_does_not(tmp_path: Path) -> None:
    contract, path = written(RoundedByShape(), tmp_path)
    assert recurrent_promise(contract, path, may_be_any=True) == ANY


def test_where_the_proof_has_seen_a_bit_differ_no_shape_is_promised_but_one(tmp_path: Path) -> None:
    contract, path = written(Stacked(nn.GRU, 1), tmp_path)
    assert recurrent_promise(contract, path, may_be_any=True) == ANY
    assert recurrent_promise(contract, path, may_be_any=False) == FIXED
    check_rows(contract, path)


def test_rows_that_depend_on_each_other_are_refused(tmp_path: Path) -> None:
    contract, path = written(BatchMean(), tmp_path)
    for check in (check_rows, lambda *given: recurrent_promise(*given, may_be_any=True)):
        with pytest.raises(ExportError, match="the exported graph: the rows of a batch depend on each other"):
            check(contract, path)
