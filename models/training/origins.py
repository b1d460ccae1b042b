"""Origins: the steps after which forecasts are made, and what a network carries there, as a session would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ostinato.models.networks.recurrent import States
from ostinato.models.training.forecasting import WARM_UP_STEPS


class Recurrent(Protocol):
    """A network that keeps the exporter's contract."""

    def __call__(self, x: Tensor, /, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` and the states to ``y [B, T, O]`` and the states."""

    def initial_state(self, batch_size: int) -> States:
        """The states of sequences that have not begun."""


def states_at(network: Recurrent, values: Tensor, origins: Sequence[int]) -> Iterator[tuple[Tensor, States]]:
    """At each origin the answer ``[1, O]`` to its step and the states after it.

    Args:
        values: a series ``[N, F]``.
        origins: rising; the first has a warm-up on the steps before it.
    """
    states = network.initial_state(1)
    start = max(0, origins[0] - WARM_UP_STEPS)
    for origin in origins:
        y, *after = network(values[start : origin + 1].unsqueeze(0), *states)
        states, start = tuple(after), origin + 1
        yield y[:, -1], states


def join_rows(network: Recurrent, rows: Sequence[States]) -> States:
    """The states of several batches as those of one, in their order."""
    axes = [
        next(axis for axis, (one, two) in enumerate(zip(alone.shape, pair.shape, strict=True)) if one != two)
        for alone, pair in zip(network.initial_state(1), network.initial_state(2), strict=True)
    ]
    return tuple(torch.cat(parts, dim=axis) for axis, parts in zip(axes, zip(*rows, strict=True), strict=True))
