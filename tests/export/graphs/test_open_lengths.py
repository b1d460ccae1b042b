from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.export.graphs.open_lengths import open_lengths
from ostinato.export.graphs.recurrent import Signature, open_exported, write_module


class ByLen(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (torch.ones(len(x), 1, 1) * x.reshape(len(x), -1, 3),)


def test_the_length_of_a_tensor_is_as_open_as_its_first_axis(tmp_path: Path) -> None:
    signature = Signature("net", (("x", ("B", "T", 3)),), (("y", ("B", "T", 3)),))
    write_module(ByLen(), [torch.ones(3, 5, 3)], signature, tmp_path / "net.onnx")
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_array_equal(open_exported(tmp_path / "net.onnx").run(None, {"x": x})[0], x)


def test_the_files_of_a_module_are_left_as_they_were() -> None:
    with open_lengths(nn.Sequential(ByLen(), nn.Linear(1, 1))):
        assert globals()["len"] is not builtins.len
        assert globals()["len"]([1, 2]) == 2
        assert "len" not in nn.Linear.forward.__globals__
    assert "len" not in globals()
