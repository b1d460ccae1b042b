from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import Signature, open_exported, write_module

CENTRES = torch.tensor([[0.0, 1.0, -1.0, 0.5], [2.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 0.0]])


class Lacking(nn.Module):
    """Everything that ONNX has no operator for, along the features."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        centres = CENTRES.expand(x.shape[0], -1, -1)
        made = [
            torch.cumprod(x, -1),
            torch.logcumsumexp(x * 60, 2),
            torch.logaddexp(x * 60, -x * 60),
            torch.logaddexp2(x * 90, x * 80),
            torch.logaddexp(x, x.masked_fill(x > 0, -torch.inf)),
            nn.functional.logsigmoid(x * 90),
            *torch.cummax(x, -1),
            *torch.cummin(x, 2),
            x.median(-1, keepdim=True)[0],
            x.median(dim=2).indices.unsqueeze(-1),
            x.kthvalue(2, keepdim=True).values,
            torch.hypot(x, x + 1),
            *(torch.cdist(x, centres, p=p) for p in (0.0, 1.0, 2.0, 3.0, torch.inf)),
        ]
        return tuple(each.float() for each in made)


class Accumulating(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (torch.logcumsumexp(x, 1),)


def signature(*last: int) -> Signature:
    return Signature("net", (("x", ("B", "T", 4)),), tuple((f"y{n}", ("B", "T", size)) for n, size in enumerate(last)))


def test_what_onnx_lacks_is_what_torch_computes(tmp_path: Path) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 7, 4)).astype(np.float32))
    wanted = [each.numpy() for each in Lacking()(x)]
    write_module(Lacking(), [torch.randn(3, 5, 4)], signature(*(each.shape[-1] for each in wanted)), tmp_path / "net")
    graph = open_exported(tmp_path / "net")
    for given, each in zip(graph.run(None, {"x": x.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(given, each, rtol=1e-5, atol=1e-5)
    x[0, 0, 1] = torch.nan
    (median,) = graph.run(["y10"], {"x": x.numpy()})
    assert np.isnan(median[0, 0, 0])
    np.testing.assert_array_equal(median[1], wanted[10][1])


def test_what_accumulates_along_the_steps_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"aten\.logcumsumexp \(test_decomp.*line \d+: return.*of open size"):
        write_module(Accumulating(), [torch.randn(3, 5, 4)], signature(4), tmp_path / "net.onnx")
