"""The steps ahead of a direct forecast as a sequence of their own, which a GRU goes through.

A linear head has weights of its own for each step ahead, and learns each of them from nothing. Here all steps ahead
share one recurrence and one head, so the twentieth hour is learned from all others as well. Nothing is fed back: what
differs from step to step is how far ahead it is, and what is known there, the codes of cycles such as the hour. With
``h`` what the layers carry after a step, ``H`` steps ahead and ``x_k`` what is known ``k`` ahead::

    d_0 = h
    d_k = GRU(d_{k-1}, (x_k, k / H))            k = 1 .. H
    u_k = W d_k + b                             what is learned, in units

Decoders that read what is known of the future and no forecasts of their own are those of Wen et al. (2017), "A
Multi-Horizon Quantile Recurrent Forecaster", and, recurrent as here, of Lim et al. (2021), "Temporal Fusion
Transformers for Interpretable Multi-horizon Time Series Forecasting".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.models.networks.forecasts import Forecasts


class StepsAheadHead(nn.Module):
    """A GRU over the steps ahead, and one linear layer for all of them; untrained it answers 0.

    Args:
        hidden_size: of what the layers carry, and of the GRU.
        dropout: of what the linear layer hears.
        forecasts: what is answered of each target.
        num_targets: K.
        cycle_lengths: float32 ``[F]``, how many codes each feature's cycle has; 0 = it is none.
    """

    ahead: Tensor

    def __init__(
        self, hidden_size: int, dropout: float, forecasts: Forecasts, num_targets: int, cycle_lengths: Tensor
    ) -> None:
        super().__init__()
        self.num_parts = len(forecasts.parts)
        self.num_steps = forecasts.num_steps
        self.cycles = [(index, int(length)) for index, length in enumerate(cycle_lengths.tolist()) if length]
        self.register_buffer("ahead", torch.arange(1.0, self.num_steps + 1.0), persistent=False)
        self.layers = nn.GRU(1 + sum(length for _, length in self.cycles), hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, num_targets * self.num_parts)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor, filled: Tensor) -> Tensor:
        """What is learned of the steps ahead, ``[B, T, H, K, P]``.

        Args:
            hidden: what the layers carry after each step, ``[B, T, S]``.
            filled: the steps' features without holes, ``[B, T, F]``.
        """
        known = self._known(filled).flatten(0, 1)
        carried, _ = self.layers(known, hidden.flatten(0, 1).unsqueeze(0))
        learned: Tensor = self.linear(self.dropout(carried))
        return learned.reshape(*hidden.shape[:2], self.num_steps, -1, self.num_parts)

    def _known(self, filled: Tensor) -> Tensor:
        """What is known of each step ahead, ``[B, T, H, C]``."""
        parts = [(self.ahead / self.num_steps).unsqueeze(-1).expand(*filled.shape[:2], -1, -1)]
        for index, length in self.cycles:
            moved = filled[..., index : index + 1] + self.ahead
            code = moved - length * torch.floor(moved / length)
            codes = torch.arange(length, device=filled.device)
            parts.append((code.unsqueeze(-1) == codes).to(filled.dtype))
        return torch.cat(parts, dim=-1)
