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


class StepsAhead(nn.Module):
    """A GRU over the steps ahead, ``d_k`` of what is above; ``W`` and ``b`` are the forecaster's head.

    Args:
        hidden_size: S, of what the layers carry, and of the GRU.
        num_steps: H.
        dropout: of what the head hears.
        cycle_lengths: float32 ``[F]``, how many codes each feature's cycle has; 0 = it is none.
    """

    ahead: Tensor

    def __init__(self, hidden_size: int, num_steps: int, dropout: float, cycle_lengths: Tensor) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.cycles = [(index, int(length)) for index, length in enumerate(cycle_lengths.tolist()) if length]
        self.register_buffer("ahead", torch.arange(1.0, num_steps + 1.0), persistent=False)
        self.layers = nn.GRU(1 + sum(length for _, length in self.cycles), hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, filled: Tensor) -> Tensor:
        """What the head hears of the steps ahead, ``[B, T, H, S]``.

        Args:
            hidden: what the layers carry after each step, ``[B, T, S]``.
            filled: the steps' features without holes, ``[B, T, F]``.
        """
        carried, _ = self.layers(self._known(filled).flatten(0, 1), hidden.flatten(0, 1).unsqueeze(0))
        heard: Tensor = self.dropout(carried)
        return heard.reshape(*hidden.shape[:2], self.num_steps, -1)

    def _known(self, filled: Tensor) -> Tensor:
        """What is known of each step ahead, ``[B, T, H, C]``."""
        parts = [(self.ahead / self.num_steps).unsqueeze(-1).expand(*filled.shape[:2], -1, -1)]
        for index, length in self.cycles:
            moved = filled[..., index : index + 1] + self.ahead
            code = moved - length * torch.floor(moved / length)
            codes = torch.arange(length, device=filled.device)
            parts.append((code.unsqueeze(-1) == codes).to(filled.dtype))
        return torch.cat(parts, dim=-1)
