from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.graphs.recurrent import Signature, open_exported
from ostinato.export.graphs.whole import write_whole

Forward = Callable[[Tensor], Tensor]


def by_number(x: Tensor) -> Tensor:
    h, made = torch.zeros(x.size(0), 2), []
    for t in range(x.size(1)):
        h = 0.5 * h + x[:, t]
        made.append(h)
    return torch.stack(made, dim=1)


def by_slices(x: Tensor) -> Tensor:
    h, made = torch.zeros(x.size(0), 1, 2), []
    for t in range(x.shape[1]):
        h = 0.5 * h + x[:, t : t + 1]
        made.append(h)
    return torch.cat(made, dim=1)


def by_a_grown_tensor(x: Tensor) -> Tensor:
    h = x.select(1, 0).unsqueeze(1) * 0.0
    made = torch.zeros(x.size(0), 0, 2)
    t = 0
    while t < x.size(1):
        h = 0.5 * h + x.select(1, t).unsqueeze(1)
        made = torch.cat([made, h], dim=1)
        t += 1
    return made


def of_time_major_rows(x: Tensor) -> Tensor:
    h: Tensor | None = None
    made: list[Tensor] = []
    for row in x.transpose(0, 1):
        h = row if h is None else 0.5 * h + row
        made.append(h)
    return torch.stack(made).transpose(0, 1)


def of_pieces(x: Tensor) -> Tensor:
    h, made = torch.zeros(x.size(0), 1, 2), []
    for first, second in zip(torch.split(x, 1, dim=1), x.chunk(x.size(1), 1), strict=True):
        h = 0.5 * h + 0.5 * (first + second)
        made.append(h)
    return torch.cat(made, 1)


def into_a_tensor(x: Tensor) -> Tensor:
    h, made = torch.zeros(x.size(0), 2), torch.zeros(x.size(0), x.size(1), 4)
    for t, row in enumerate(x.unbind(1)):
        h = 0.5 * h + row
        made[:, t, :2] = h
        made[:, t, 2:] = 2 * made[:, t, :2]
    return made


def backwards(x: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 2)
    made: list[Tensor] = []
    for t in range(x.size(1) - 1, -1, -1):
        h = 0.5 * h + x[:, t] * t
        made.insert(0, h)
    return torch.stack(made, dim=1)


def from_the_second_on(x: Tensor) -> Tensor:
    h = torch.tanh(x[:, 0])
    made = [h]
    for t in range(1, x.size(1)):
        h = 0.5 * h + x[:, t] - x[:, t - 1]
        made.append(h)
    return torch.stack(made, dim=1) + x[:, -1:]


class Looped(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return (self.run(x),)


def example(batch_size: int, num_steps: int) -> list[Tensor]:
    return [torch.randn(batch_size, num_steps, 2, generator=torch.Generator().manual_seed(num_steps))]


@pytest.mark.parametrize(
    "forward",
    [
        by_number,
        by_slices,
        by_a_grown_tensor,
        of_time_major_rows,
        of_pieces,
        into_a_tensor,
        backwards,
        from_the_second_on,
    ],
)
def test_however_steps_are_taken_and_put_together_the_loop_takes_any_length(forward: Forward, tmp_path: Path) -> None:
    width = 4 if forward is into_a_tensor else 2
    signature = Signature("looped", (("x", ("B", "T", 2)),), (("y", ("B", "T", width)),))
    write_whole(Looped(forward), example, signature, tmp_path / "looped.onnx")
    graph = open_exported(tmp_path / "looped.onnx")
    for batch_size, num_steps in ((1, 1), (2, 2), (3, 17), (1, 40)):
        (x,) = example(batch_size, num_steps)
        (made,) = graph.run(["y"], {"x": x.numpy()})
        np.testing.assert_allclose(made, forward(x).numpy(), rtol=1e-5, atol=1e-5)
    operators = [node.op_type for node in onnx.load(tmp_path / "looped.onnx").graph.node]
    assert "Scan" in operators


def test_the_longest_length_counts_as_the_steps(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            h = torch.zeros(x.size(0), 2)
            for t in range(int(lengths.to(torch.int64).max().item())):
                h = torch.where((t < lengths)[:, None], 0.5 * h + x[:, t], h)
            return (h,)

    def with_lengths(batch_size: int, num_steps: int) -> list[Tensor]:
        return [*example(batch_size, num_steps), torch.full((batch_size,), num_steps)]

    inputs = (("x", ("B", "T", 2)), ("lengths", ("B",)))
    signature = Signature("masked", inputs, (("y", ("B", 2)),))
    write_whole(Masked(), with_lengths, signature, tmp_path / "masked.onnx", lengths=1)
    graph = open_exported(tmp_path / "masked.onnx")
    (x,) = example(2, 9)
    (made,) = graph.run(["y"], {"x": x.numpy(), "lengths": np.array([4, 9])})
    wanted = [by_number(x[:1, :4])[0, -1], by_number(x[1:])[0, -1]]
    np.testing.assert_allclose(made, torch.stack(wanted).numpy(), rtol=1e-5, atol=1e-6)
