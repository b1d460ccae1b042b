from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import write_graph
from ostinato.export.graphs.untranslated import untranslated
from tests.export.modules import ManyToOne, amounts


class Bessel(ManyToOne):
    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        y, memory = super().forward(x, memory)
        return torch.special.i1e(y), memory  # the line


def test_an_operator_that_onnx_lacks_is_named_with_the_line_that_calls_it(tmp_path: Path) -> None:
    lines = Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if text.endswith("# the line"))
    sentence = rf"ONNX has no operator for aten\.special_i1e \({Path(__file__).name}, line {line}: return torch"
    with pytest.raises(ExportError, match=rf"{sentence}.*: write it with operators that it has"):
        write_graph(inspect_module(Bessel(), amounts()), tmp_path / "model.onnx")


def test_an_error_that_tells_no_operator_is_told_by_its_first_line() -> None:
    told = untranslated(RuntimeError("\x1b[96mno room\x1b[0m\nand much more"))
    assert str(told) == "torch cannot translate the module to ONNX: no room"


def test_an_operator_is_named_where_its_line_is_not_known() -> None:
    error = RuntimeError("failed")
    error.__cause__ = ValueError("No ONNX function found for <OpOverload(op='prims.fft', overload='default')>.")
    assert str(untranslated(error)).startswith("ONNX has no operator for prims.fft: write it with operators")
