"""Modules that users might bring: each keeps the exporter's contract in a way of its own, or breaks it in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.service.artifact.tensors import Input

NUM_FEATURES = 3
HIDDEN_SIZE = 6
NUM_TOKENS = 11


def amounts(*shape: int | str, missing: bool = False) -> Input:
    """An input of ``NUM_FEATURES`` amounts; ``("B", "T", 3)`` where no shape is given."""
    names = tuple(f"amount_{index}" for index in range(NUM_FEATURES))
    content = {
        "name": "inputs",
        "dtype": "float32",
        "shape": shape or ("B", "T", NUM_FEATURES),
        "features": names,
        "missing": missing,
    }
    return Input.model_validate(content)


class Stacked(nn.Module):
    """A stack of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` layers, states as torch has them: ``[L, B, H]``."""

    def __init__(self, kind: Callable[..., nn.RNNBase] = nn.LSTM, num_layers: int = 2, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(num_layers)
        self.layers = kind(NUM_FEATURES, HIDDEN_SIZE, num_layers, batch_first=True, **options)
        self.head = nn.Linear(HIDDEN_SIZE, 2)
        self.num_states = 2 if kind is nn.LSTM else 1

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = torch.zeros(self.layers.num_layers, batch_size, HIDDEN_SIZE)
        return tuple(zeros.clone() for _ in range(self.num_states))

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hidden, after = self.layers(x, state if self.num_states == 2 else state[0])
        return (self.head(hidden), *(after if self.num_states == 2 else (after,)))


class Offset(Stacked):
    """Adds 256 and takes it away again: float32 keeps 2^-15 of a number near 256, and half of that is the error."""

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, *after = super().forward(x, *state)
        return (y + 256.0 - 256.0, *after)


class Shared(nn.Module):
    """One ``nn.LSTM`` held under two names, and used under both, one run behind the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.below = nn.LSTM(NUM_FEATURES, NUM_FEATURES, batch_first=True)
        self.above = self.below

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(1, batch_size, NUM_FEATURES) for _ in range(4))

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hidden, below = self.below(x, state[:2])
        hidden, above = self.above(hidden, state[2:])
        return (hidden, *below, *above)


class TimeMajor(nn.Module):
    """Steps first, batch second, in and out; a learned initial state, one for each layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.GRU(NUM_FEATURES, HIDDEN_SIZE, 2)
        self.first = nn.Parameter(torch.randn(2, 1, HIDDEN_SIZE))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.first.expand(-1, batch_size, -1)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        hidden, h_next = self.layers(x, h)
        return hidden, h_next


class Tokens(nn.Module):
    """Whole numbers ``[B, T]`` in, scores ``[B, T, V]`` out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(NUM_TOKENS, 4)
        self.layers = nn.LSTM(4, HIDDEN_SIZE, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, NUM_TOKENS)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(1, batch_size, HIDDEN_SIZE)
        return zeros, zeros.clone()

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, (h_next, c_next) = self.layers(self.embedding(x), (h, c))
        return self.head(hidden), h_next, c_next


class ManyToOne(nn.Module):
    """One answer ``[B, O]`` for all the steps; it is also its own state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.GRU(NUM_FEATURES, HIDDEN_SIZE, batch_first=True)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, HIDDEN_SIZE)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        _, last = self.layers(x, memory.unsqueeze(0))
        return last[0], last[0]


class OneStepCell(nn.Module):
    """Written for one step: ``x [B, F]``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.LSTMCell(NUM_FEATURES, HIDDEN_SIZE)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(batch_size, HIDDEN_SIZE), torch.zeros(batch_size, HIDDEN_SIZE)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(x, (h, c))
        return h, h, c


class LoopedCell(nn.Module):
    """A cell of one's own in a Python loop over the steps: tracing unrolls it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.GRUCell(NUM_FEATURES, HIDDEN_SIZE)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, HIDDEN_SIZE)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in range(x.shape[1]):
            h = self.cell(x[:, step], h)
            outputs.append(h)
        return torch.stack(outputs, dim=1), h


class OddStates(nn.Module):
    """A running total, a count of whole numbers and a buffer ``[2, B, 3, 4]``; output ``[B, T]``; names taken."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        count = torch.full((batch_size,), 7, dtype=torch.int64)
        return torch.zeros(batch_size, 1, dtype=torch.float64), count, torch.ones(2, batch_size, 3, 4)

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        total, count, unchanged = state
        sums = torch.cumsum(torch.cat([total, x[..., 0].double()], dim=1), dim=1)
        return sums[:, 1:].float(), sums[:, -1:], count + x.shape[1], unchanged


class BatchMean(nn.Module):
    """Sees its batch-mates: rows depend on what shares their run."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, NUM_FEATURES)

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        assert last.shape[1] == NUM_FEATURES
        return x - x.mean(dim=0, keepdim=True), x[:, -1]


class Forgetful(nn.Module):
    """Looks at the whole input and carries nothing of it: not recurrent."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, nothing: Tensor) -> tuple[Tensor, Tensor]:
        return x - x[:, :1], nothing


class FixedBatch(nn.Module):
    """Reads the size of the batch as a number."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, NUM_FEATURES)

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([x[row : row + 1] for row in range(x.shape[0])]) * 2, last + x[:, -1]


class TracedAsConstant(nn.Module):
    """Has a branch that tracing decides once and for all, without a complaint: only the proof can tell."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, NUM_FEATURES)

    def forward(self, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        factor = 1.0 if torch.compiler.is_exporting() else 1.5
        return x * factor, x[:, -1] + 0.0 * last
