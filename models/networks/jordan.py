"""Jordan's network: a simple recurrent layer whose output is fed back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import ACTIVATIONS, Activation
from ostinato.models.networks.layer import Keep, SteppedLayer


class Jordan(SteppedLayer):
    """A simple recurrent layer whose output is fed back, not its hidden units.

    Of Jordan (1986, "Serial Order: A Parallel Distributed Processing Approach")::

        h_t = a(W x_t + U y_{t-1} + b)
        y_t = tanh(V h_t + c)

    Args:
        output_size: O, features of ``y``; as many as hidden units where it is None.
    """

    state_names = ("y",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        activation: Activation = "tanh",
        recurrent_dropout: float = 0.0,
    ) -> None:
        output_size = output_size or hidden_size
        super().__init__(output_size, (output_size,), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(hidden_size, output_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.output_weight = nn.Parameter(torch.empty(output_size, hidden_size))
        self.output_bias = nn.Parameter(torch.empty(output_size))
        self.activation = ACTIVATIONS[activation]

    def project(self, x: Tensor) -> Tensor:
        """``W x + b``, ``[B, T, H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        h = self.activation(given + functional.linear(keep(states[0]), self.recurrent_weight))
        y = torch.tanh(functional.linear(h, self.output_weight, self.output_bias))
        return y, y
