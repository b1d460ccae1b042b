"""The real-gated linear recurrent unit of Griffin."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.parallel import ParallelLayer, linear_scan

# Below it the square root's slope would be without bound; Griffin's own code bounds the slope there.
_LEAST_NEW = 1e-6


class RGLRU(ParallelLayer):
    """A linear recurrence with gates that read the input.

    Of De et al. (2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
    section 2.4), behind the block's linear map to H units::

        u   = V x_t + d
        r   = sigmoid(W u + b)                  recurrence gate
        i   = sigmoid(W' u + b')                input gate
        a   = sigmoid(l)^(8 r)
        h_t = a * h_{t-1} + sqrt(1 - a^2) * (i * u)

    At first ``sigmoid(l)^8`` lies between 0.9 and 0.999. The convolution that Griffin's block has before it is the cell
    ``time_delay`` of a list.
    """

    _POWER, _RING = 8.0, (0.9, 0.999)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(hidden_size, (hidden_size,))
        self.input_weight = nn.Parameter(torch.empty(hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.gate_weight = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.gate_bias = nn.Parameter(torch.empty(2 * hidden_size))
        self.kept = nn.Parameter(torch.empty(hidden_size))

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """l, so that ``sigmoid(l)^8`` is even over the ring."""
        least, most = self._RING
        kept = (torch.rand(self.output_size) * (most - least) + least) ** (1 / self._POWER)
        self.kept.copy_(torch.logit(kept))

    def project(self, x: Tensor) -> Tensor:
        """What is kept and what is added, ``[B, T, 2 H]``."""
        u = functional.linear(x, self.input_weight, self.bias)
        r, i = torch.sigmoid(functional.linear(u, self.gate_weight, self.gate_bias)).chunk(2, dim=-1)
        # log sigmoid(l) is -softplus(-l).
        a = torch.exp(-self._POWER * functional.softplus(-self.kept) * r)
        return torch.cat([a, torch.sqrt((1 - a * a).clamp(min=_LEAST_NEW)) * (i * u)], dim=-1)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        a, added = given.chunk(2, dim=-1)
        h = a * states[0] + added
        return h, h

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        a, added = given.chunk(2, dim=-1)
        h = linear_scan(a, added, states[0])
        return h, h[:, -1]
