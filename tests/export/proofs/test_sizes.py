from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.proofs.sizes import num_rows, num_steps, share, up_to
from ostinato.service.artifact.tensors import Input
from tests.export.modules import Stacked, amounts


class Kept(nn.Module):
    """Frames, and the last of them."""

    def initial_state(self, batch_size: int) -> tuple[Tensor]:
        return (torch.zeros(batch_size, 64, 64),)

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return x - torch.cat([last.unsqueeze(1), x[:, :-1]], dim=1), x[:, -1]


def test_a_network_of_few_numbers_is_proved_over_all_sizes_and_one_of_frames_over_fewer() -> None:
    small = inspect_module(Stacked(), amounts())
    assert share(small) == 1.0
    assert (num_rows(small, 64), num_steps(small, 1000)) == (64, 1000)
    names = tuple(f"pixel_{place}" for place in range(64 * 64))
    frames = inspect_module(Kept(), Input(name="x", dtype="float32", shape=("B", "T", 64, 64), features=names))
    # A frame and a state of 4,096 numbers each.
    assert share(frames) == 1024 / 8192
    assert (num_rows(frames, 64), num_steps(frames, 1000)) == (8, 125)
    # Never so few that nothing shows.
    assert (num_rows(frames, 8), num_steps(frames, 40)) == (5, 24)
    assert up_to((1, 2, 3, 5, 8, 17), 8) == (1, 2, 3, 5, 8)
