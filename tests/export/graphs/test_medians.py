from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.graphs.medians import SortedMedians
from ostinato.export.graphs.recurrent import Signature, open_exported, write_module

NAN = float("nan")
ROWS = torch.tensor([[3.0, 1.0, 2.0, 4.0], [NAN, 5.0, NAN, 1.0], [2.0, 2.0, NAN, 2.0], [NAN, NAN, NAN, NAN]])


@pytest.mark.parametrize("rows", [ROWS, ROWS[:, :3], ROWS[:1].long()], ids=["even", "odd", "whole"])
@pytest.mark.parametrize("median", [torch.median, torch.nanmedian, Tensor.median, Tensor.nanmedian])
@pytest.mark.parametrize("keepdim", [True, False])
def test_sorted_numbers_have_the_median_that_torch_finds(
    median: Callable[..., tuple[Tensor, Tensor]], rows: Tensor, keepdim: bool
) -> None:
    if not rows.is_floating_point() and "nan" in median.__name__:
        rows = rows.float()
    for dim, along in ((1, rows), (0, rows.T)):
        with SortedMedians():
            made = median(along, dim, keepdim=keepdim)
        wanted = median(along, dim, keepdim=keepdim)
        torch.testing.assert_close(made[0], wanted[0], rtol=0, atol=0, equal_nan=True)
        assert made[1].shape == wanted[1].shape


def test_places_are_those_of_the_medians() -> None:
    rows = ROWS[:2]
    with SortedMedians():
        values, places = rows.nanmedian(dim=1, keepdim=True)
    assert torch.equal(rows.gather(1, places), values)


def test_the_median_of_all_numbers_is_left_to_torch() -> None:
    with SortedMedians():
        made = [ROWS[0].median().item(), ROWS.nanmedian().item()]
    assert made == [2.0, 2.0]


def test_a_graph_has_the_median_of_each_row(tmp_path: Path) -> None:
    class Middle(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.cat([x.median(dim=1).values, x.nanmedian(1)[0]], dim=-1),)

    x = torch.randn(3, 6, 2)
    signature = Signature("median", (("x", ("B", "T", 2)),), (("y", ("B", 4)),))
    write_module(Middle(), [x], signature, tmp_path / "model.onnx")
    [made] = open_exported(tmp_path / "model.onnx").run(["y"], {"x": x[:2, :5].numpy()})
    [wanted] = Middle()(x[:2, :5])
    np.testing.assert_array_equal(made, wanted.numpy())
