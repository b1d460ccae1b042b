from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import write_graph
from tests.export.modules import amounts


class Kept(nn.Module):
    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 3)


class ByNumpy(Kept):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(x.numpy() * 2.0), h


class ByItem(Kept):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        largest = x.abs().max()
        if largest.item() > 100.0:
            return x / largest, h
        return x, h


class BySize(Kept):
    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        number = int(x.shape[0])
        return x.reshape(number, -1, 3), h


@pytest.mark.parametrize(
    ("module", "line", "sentence"),
    [
        (
            ByNumpy(),
            "return torch.from_numpy(x.numpy() * 2.0), h",
            "torch cannot trace the module {}: compute with torch",
        ),
        (
            ByItem(),
            "if largest.item() > 100.0:",
            "torch cannot trace the module {}: what the numbers are decides there",
        ),
        (
            BySize(),
            "number = int(x.shape[0])",
            "axis B is secretly static {}: its graph would take that many sequences only",
        ),
    ],
)
def test_what_cannot_be_traced_is_told_with_its_line_and_the_way_out(
    module: nn.Module, line: str, sentence: str, tmp_path: Path
) -> None:
    lines = Path(__file__).read_text().splitlines()
    number = next(number for number, text in enumerate(lines, start=1) if text.strip() == line)
    with pytest.raises(ExportError) as told:
        write_graph(inspect_module(module, amounts()), tmp_path / "model.onnx")
    assert sentence.format(f"({Path(__file__).name}, line {number}: {line})") in str(told.value)
