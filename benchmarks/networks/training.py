"""Training of networks for the comparison: the same short course for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks.series import Floats, Task

NUM_STREAMS, WINDOW_STEPS, NUM_EPOCHS, LEARNING_RATE = 16, 50, 80, 5e-3
NUM_UPDATES = 1500  # of whole sequences


class Headed(nn.Module):
    """Layers, or any network with the contract, and a linear head behind them."""

    def __init__(self, layers: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.layers = layers
        self.state_names: tuple[str, ...] = layers.state_names  # type: ignore[assignment]
        self.head = nn.Linear(layers.output_size, num_outputs)  # type: ignore[arg-type]

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the layers."""
        states: tuple[Tensor, ...] = self.layers.initial_state(batch_size)  # type: ignore[operator]
        return states

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` to ``[B, T, O]``, and the states."""
        hidden, *after = self.layers(x, *states)
        return (self.head(hidden), *after)


class HeadedWithConstants(Headed):
    """The same for layers with constants."""

    def forward(self, x: Tensor, constants: Tensor, *states: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """``x [B, T, F]`` and constants ``[B, K]`` to ``[B, T, O]``, and the states."""
        hidden, *after = self.layers(x, constants, *states)
        return (self.head(hidden), *after)


class PictureHead(nn.Module):
    """Frames of hidden channels to frames of one, each pixel by itself."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.state_names: tuple[str, ...] = layers.state_names  # type: ignore[assignment]
        self.head = nn.Linear(layers.output_size, 1)  # type: ignore[arg-type]

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the layers."""
        states: tuple[Tensor, ...] = self.layers.initial_state(batch_size)  # type: ignore[operator]
        return states

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``[B, T, 1, P, Q]`` to the same shape."""
        hidden, *after = self.layers(x, *states)
        return (self.head(hidden.movedim(2, -1)).movedim(-1, 2), *after)


def train_streamed(
    network: nn.Module, task: Task, constants: Tensor | None = None, learning_rate: float = LEARNING_RATE
) -> None:
    """Truncated backpropagation through time over streams that lie side by side, the states carried on.

    Args:
        constants: ``[K]``, given with each step.
    """
    num_steps = task.split // NUM_STREAMS
    x, y = (_side_by_side(part, num_steps) for part in (task.x, task.y))
    known = () if constants is None else (constants.expand(NUM_STREAMS, -1),)
    optimiser = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, NUM_EPOCHS)
    for _ in range(NUM_EPOCHS):
        states = network.initial_state(NUM_STREAMS)  # type: ignore[operator]
        for start in range(0, num_steps, WINDOW_STEPS):
            made, *states = network(x[:, start : start + WINDOW_STEPS], *known, *states)
            states = [state.detach() for state in states]
            _learn(optimiser, network, (made - y[:, start : start + WINDOW_STEPS]).square().mean())
        schedule.step()


def train_whole(network: nn.Module, task: Task) -> None:
    """Windows of random lengths, each a sequence of its own."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, NUM_UPDATES)
    for _ in range(NUM_UPDATES):
        starts = torch.randint(0, task.split - WINDOW_STEPS, (NUM_STREAMS,), generator=generator).tolist()
        lengths = torch.randint(WINDOW_STEPS // 2, WINDOW_STEPS + 1, (NUM_STREAMS,), generator=generator)
        rows = torch.stack([x[start : start + WINDOW_STEPS] for start in starts])
        true = torch.stack([y[start : start + WINDOW_STEPS] for start in starts])
        is_true = (torch.arange(WINDOW_STEPS) < lengths.unsqueeze(1)).unsqueeze(-1)
        made = network(rows, lengths)
        _learn(optimiser, network, ((made - true) * is_true).square().sum() / is_true.sum())
        schedule.step()


@torch.no_grad()
def answer(network: nn.Module, x: Floats, constants: Tensor | None = None) -> Floats:
    """What a network makes of one sequence ``[T, ...]``."""
    network.eval()
    known = () if constants is None else (constants.unsqueeze(0),)
    row = torch.from_numpy(x[None])
    initial_state: Any = getattr(network, "initial_state", None)
    if initial_state is not None:
        made, *_ = network(row, *known, *initial_state(1))
    else:
        made = network(row, torch.tensor([len(x)]))
    outputs: Floats = made[0].numpy()
    return outputs


def _side_by_side(part: Floats, num_steps: int) -> Tensor:
    """``[T, ...]`` to ``[streams, num_steps, ...]``."""
    return torch.from_numpy(part[: num_steps * NUM_STREAMS]).reshape(NUM_STREAMS, num_steps, *part.shape[1:])


def _learn(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
