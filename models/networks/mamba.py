"""Mamba: a state space whose input says what is written, what is read, and how fast is forgotten."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.parallel import ParallelLayer, linear_scan


class Mamba(ParallelLayer):
    """A selective state space behind a short convolution over the steps.

    Of Gu and Dao (2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", algorithm 2 and section
    3.4), with E = 2 H inner units, each of N numbers::

        u, g  = W x_t
        u_t   = silu(sum over k < 4 of w_k * u_{t-k} + b)       of each unit by itself
        r, B, C = W' u_t                                        [H / 16], [N], [N]
        D     = softplus(W'' r + b'')                           [E]
        S_t   = exp(D A) * S_{t-1} + B (D * u_t)^T              [N, E], A negative
        y_t   = V ((C^T S_t + s * u_t) * silu(g))

    States: ``past [1, B, 3, E]``, what the convolution reads, and ``space [1, B, N, E]``. At first A is -1 ... -N in
    each unit, and D at rest between 0.001 and 0.1, as the paper has them.
    """

    state_names = ("past", "space")
    _TAPS, _EXPANSION, _DELTAS = 4, 2, (1e-3, 1e-1)

    def __init__(self, input_size: int, hidden_size: int, state_size: int | None = None) -> None:
        inner, state_size = self._EXPANSION * hidden_size, state_size or 16
        super().__init__(hidden_size, ((self._TAPS - 1, inner), (state_size, inner)))
        self.sizes = [math.ceil(hidden_size / 16), state_size, state_size]
        self.input_weight = nn.Parameter(torch.empty(2 * inner, input_size))
        self.taps_weight = nn.Parameter(torch.empty(self._TAPS, inner))
        self.taps_bias = nn.Parameter(torch.empty(inner))
        self.selecting_weight = nn.Parameter(torch.empty(sum(self.sizes), inner))
        self.delta_weight = nn.Parameter(torch.empty(inner, self.sizes[0]))
        self.delta_bias = nn.Parameter(torch.empty(inner))
        self.log_decay = nn.Parameter(torch.empty(state_size, inner))
        self.skip = nn.Parameter(torch.empty(inner))
        self.output_weight = nn.Parameter(torch.empty(hidden_size, inner))

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """A and D at rest, and s = 1."""
        self.log_decay.copy_(
            torch.log(torch.arange(1.0, len(self.log_decay) + 1)).unsqueeze(1).expand_as(self.log_decay)
        )
        least, most = (math.log(each) for each in self._DELTAS)
        deltas = torch.exp(torch.rand(len(self.delta_bias)) * (most - least) + least)
        self.delta_bias.copy_(torch.log(torch.expm1(deltas)))  # softplus backwards
        nn.init.ones_(self.skip)

    def project(self, x: Tensor) -> Tensor:
        """What goes into the convolution, and g, ``[B, T, 2 E]``."""
        return functional.linear(x, self.input_weight)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        past, space = states
        u, gate = given.chunk(2, dim=-1)
        seen = torch.cat([past, u.unsqueeze(1)], dim=1)
        u = self._convolved([seen[:, tap] for tap in range(self._TAPS)])
        kept, written, c = self._selected(u)
        space = kept * space + written
        return self._shown(space, c, u, gate), seen[:, 1:], space

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        u, gate = given.chunk(2, dim=-1)
        seen, num_steps = torch.cat([states[0], u], dim=1), u.shape[1]
        u = self._convolved([seen[:, tap : tap + num_steps] for tap in range(self._TAPS)])
        kept, written, c = self._selected(u)
        space = linear_scan(kept, written, states[1])
        return self._shown(space, c, u, gate), seen[:, num_steps:], space[:, -1]

    def _convolved(self, seen: list[Tensor]) -> Tensor:
        """What the convolution makes, ``[..., E]``, of what each tap sees, the oldest first."""
        made = self.taps_bias
        for weight, each in zip(self.taps_weight, seen, strict=True):
            made = made + weight * each
        return functional.silu(made)

    def _selected(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is kept and what is written, ``[..., N, E]``, and C ``[..., 1, N]``."""
        r, b, c = torch.split(functional.linear(u, self.selecting_weight), self.sizes, dim=-1)
        delta = functional.softplus(functional.linear(r, self.delta_weight, self.delta_bias))
        kept = torch.exp(delta.unsqueeze(-2) * -torch.exp(self.log_decay))
        return kept, b.unsqueeze(-1) * (delta * u).unsqueeze(-2), c.unsqueeze(-2)

    def _shown(self, space: Tensor, c: Tensor, u: Tensor, gate: Tensor) -> Tensor:
        read = torch.matmul(c, space).squeeze(-2) + self.skip * u
        return functional.linear(read * functional.silu(gate), self.output_weight)
