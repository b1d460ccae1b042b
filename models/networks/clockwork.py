"""Clockwork RNN: groups of hidden units, each with a clock of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import ACTIVATIONS, Activation
from ostinato.models.networks.layer import Keep, SteppedLayer


class Clockwork(SteppedLayer):
    """A simple recurrent layer of groups that compute only when their clocks tick.

    Of Koutník et al. (2014, "A Clockwork RNN"). Group k has the period ``P_k`` and reads itself and all slower groups,
    so ``U`` is block upper triangular; with the step's number t counted from 0::

        h_t[k] = a(W_k x_t + sum over l >= k of U_kl h_{t-1}[l] + b_k)      where t mod P_k = 0
        h_t[k] = h_{t-1}[k]                                                 else

    The clock is a state, so each row of a batch has its own. What a group computes, it computes for the rows at which
    its clock ticks and no others: they are gathered, and what came of them is put in their places.

    Args:
        hidden_size: H, of all groups; a multiple of their number.
        periods: of each group, in steps.
    """

    state_names = ("h", "clock")
    clock_periods: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        periods: tuple[int, ...] = (1, 2, 4, 8),
        *,
        activation: Activation = "tanh",
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(hidden_size, (hidden_size, 1), recurrent_dropout)
        self.periods = tuple(sorted(periods))
        self.cycle = math.lcm(*periods)
        self.group_size = hidden_size // len(periods)
        # Of each group, from itself, the slower ones and the input.
        sizes = [hidden_size - index * self.group_size + input_size for index in range(len(periods))]
        self.weights = nn.ParameterList(torch.empty(self.group_size, size) for size in sizes)
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.register_buffer("clock_periods", torch.tensor(self.periods))
        self.activation = ACTIVATIONS[activation]

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """H zeros, and the clock int64 ``[1, B, 1]`` at 0, at which every group ticks."""
        h = self.bias.new_zeros(1, batch_size, self.output_size)
        return h, torch.zeros(1, batch_size, 1, dtype=torch.int64, device=h.device)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above; ``given`` is x."""
        h, clock = states
        # Behind each other as the groups read them: each reads from its own place on.
        read = torch.cat([keep(h), given], dim=-1)
        ticks = clock % self.clock_periods == 0
        groups = []
        for index, (period, weight) in enumerate(zip(self.periods, self.weights, strict=True)):
            first = index * self.group_size
            last, bias = first + self.group_size, self.bias[first : first + self.group_size]
            if period == 1:
                groups.append(self.activation(functional.linear(read[:, first:], weight, bias)))
                continue
            rows = torch.nonzero(ticks[:, index]).squeeze(1)
            made = self.activation(functional.linear(read[:, first:].index_select(0, rows), weight, bias))
            groups.append(h[:, first:last].index_put((rows,), made.to(h.dtype)))
        h = torch.cat(groups, dim=-1)
        return h, h, (clock + 1) % self.cycle
