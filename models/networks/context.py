"""Layers with constants: what is known of a sequence before it begins goes in with each of its steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.models.networks.layers import Layers


class ContextLayers(nn.Module):
    """Layers whose every step is given the same constants, Keras' ``constants``, next to its own input.

    ``forward(x [B, T, F], constants [B, K], *states) -> (y [B, T, O], *states)``. Whatever a layer makes of its input
    by ``W x_t``, it makes ``W x_t + V k`` of it. Exported with ``constants`` as a context, a session is opened with
    them.

    Args:
        layers: made for ``F + K`` features.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        self.output_size, self.state_names = layers.output_size, layers.state_names

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the layers."""
        return self.layers.initial_state(batch_size)

    def forward(self, x: Tensor, constants: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As above."""
        repeated = constants.unsqueeze(1).expand(-1, x.shape[1], -1)
        made: tuple[Tensor, ...] = self.layers(torch.cat([x, repeated], dim=-1), *states)
        return made
