from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import Signature, open_exported
from ostinato.export.graphs.whole import write_whole

INPUTS = (("x", ("B", "T", 3)), ("lengths", ("B",)))


def example(batch_size: int, num_steps: int) -> list[Tensor]:
    drawn = torch.randn(batch_size, num_steps, 3, generator=torch.Generator().manual_seed(num_steps))
    return [drawn, torch.arange(batch_size) % num_steps + 1]


class ManyLoops(nn.Module):
    """Lists from loop to loop, one of them turned round, a state that is None at first, the step's number, a decoder
    that is given nothing but what it made, and the first and last step by themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ahead, self.back, self.decoder = nn.LSTMCell(3, 4), nn.LSTMCell(3, 4), nn.GRUCell(4, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        rows = [x[:, t] for t in range(x.shape[1])]
        state, ahead = None, []
        for t, row in enumerate(rows):
            new = self.ahead(row, state)
            if state is not None:
                new = tuple(torch.where((t < lengths)[:, None], *pair) for pair in zip(new, state, strict=True))
            state = new
            ahead.append(state[0])
        h = c = torch.zeros(x.shape[0], 4)
        back = []
        for row in reversed(rows):
            h, c = self.back(row, (h, c))
            back.append(h)
        both = torch.stack([torch.cat(pair, dim=-1) for pair in zip(ahead, reversed(back), strict=True)], dim=1)
        y, decoded = h, []
        for _ in rows:
            y = self.decoder(y, y)
            decoded.append(y)
        return both, torch.stack(decoded, dim=1), ahead[0] + ahead[-1] + back[-1]


class Halves(nn.Module):
    """Only every second step: no rounds for all steps."""

    def forward(self, x: Tensor, _lengths: Tensor) -> Any:
        h = torch.zeros(x.shape[0], 3)
        for t in range(0, x.shape[1], 2):
            h = 0.5 * h + x[:, t]
        return (h,)


def test_loops_that_take_from_one_another_answer_as_the_network_over_any_length(tmp_path: Path) -> None:
    outputs = (("both", ("B", "T", 8)), ("decoded", ("B", "T", 4)), ("ends", ("B", 4)))
    module = ManyLoops().eval().requires_grad_(False)
    write_whole(module, example, Signature("loops", INPUTS, outputs), tmp_path / "loops.onnx", lengths=1)
    graph = open_exported(tmp_path / "loops.onnx")
    for batch_size, num_steps in ((1, 1), (3, 2), (2, 30)):
        tensors = example(batch_size, num_steps)
        made = graph.run(None, dict(zip(("x", "lengths"), (each.numpy() for each in tensors), strict=True)))
        for ours, theirs in zip(made, module(*tensors), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_a_loop_over_some_of_the_steps_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"axis T is secretly static.*x\[:, t\]|axis T .*range\(0, x.shape\[1\], 2\)"):
        write_whole(Halves(), example, Signature("loops", INPUTS, (("y", ("B", 3)),)), tmp_path / "no.onnx")
