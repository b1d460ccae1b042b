"""Modules whose outputs have another rate than their input, and layers that look at several steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo.entries import Entry, amounts

H = 8


def rates_beside() -> Entry:
    """A number at each step, and beside it a forecast once in five and a summary once a run."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gru = nn.GRU(3, H, batch_first=True)
            self.fine, self.coarse, self.whole = nn.Linear(H, 1), nn.Linear(H, 2), nn.Linear(H, 3)

        def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
            y, h = self.gru(x, h)
            return {"fine": self.fine(y), "coarse": self.coarse(y[:, 4::5]), "whole": self.whole(y[:, -1])}, h

    return Network(), {**amounts(), "steps_per_answer": 5, "delay": {"coarse": 1}}


def overlapping() -> Entry:
    """Every second step is answered by the four steps up to it, of which two are a state."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fold = nn.Conv1d(3, 6, 4, stride=2)
            self.lstm = nn.LSTM(6, H, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return torch.zeros(batch_size, 2, 3), *torch.zeros(2, 1, batch_size, H)

        def forward(self, x: Tensor, before: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
            steps = torch.cat([before, x], dim=1)
            folded = functional.silu(self.fold(steps.transpose(1, 2))).transpose(1, 2)
            y, (h, c) = self.lstm(folded, (h, c))
            return y, steps[:, -2:], h, c

    return Network(), {**amounts(), "steps_per_answer": 2}


def channel_by_channel() -> Entry:
    """Behind a causal convolution of each channel by itself, and one of two groups."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.below = nn.Linear(3, H)
            self.each, self.groups = nn.Conv1d(H, H, 4, groups=H), nn.Conv1d(H, 6, 2, groups=2)
            self.gru = nn.GRU(6, H, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return torch.zeros(batch_size, H, 4), torch.zeros(1, batch_size, H)

        def forward(self, x: Tensor, before: Tensor, h: Tensor) -> tuple[Tensor, ...]:
            steps = torch.cat([before, self.below(x).transpose(1, 2)], dim=2)
            mixed = self.groups(functional.gelu(self.each(steps)))
            y, h = self.gru(mixed.transpose(1, 2), h)
            return y, steps[:, :, -4:], h

    return Network(), amounts()


def pictures_of_sound() -> Entry:
    """Two-dimensional convolutions over steps and frequencies, causal in the steps."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Conv2d(1, 4, 3, padding=(0, 1), stride=(1, 2))
            self.second = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4)
            self.gru = nn.GRU(20, H, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return torch.zeros(batch_size, 2, 10), torch.zeros(1, batch_size, H)

        def forward(self, x: Tensor, before: Tensor, h: Tensor) -> tuple[Tensor, ...]:
            steps = torch.cat([before, x], dim=1)
            seen = self.second(torch.relu(self.first(steps.unsqueeze(1))))
            y, h = self.gru(seen.transpose(1, 2).flatten(2), h)
            return y, steps[:, -2:], h

    return Network(), amounts("B", "T", 10)


def remembering() -> Entry:
    """Each step looks things up in a memory that is a state, and by heads of its own."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gru, self.query = nn.GRU(3, H, batch_first=True), nn.Linear(H, H)
            self.heads = nn.Parameter(torch.randn(2, 4, 3))

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return torch.zeros(1, batch_size, H), torch.ones(batch_size, 5, H)

        def forward(self, x: Tensor, h: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
            y, h = self.gru(x, h)
            weights = (self.query(y) @ memory.transpose(1, 2)).softmax(-1)
            found = functional.scaled_dot_product_attention(y.unsqueeze(1), memory.unsqueeze(1), memory.unsqueeze(1))
            by_head = torch.einsum("bthd,hde->bthe", y.unflatten(-1, (2, 4)), self.heads)
            return torch.cat([weights @ memory, found.squeeze(1), by_head.flatten(2)], dim=-1), h, memory

    return Network(), amounts()
