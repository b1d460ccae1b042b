"""GRU in the forms that ``nn.GRU`` does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import ACTIVATIONS, GATE_ACTIVATIONS, Activation, GateActivation
from ostinato.models.networks.layer import Keep, SteppedLayer


class ResetGRU(SteppedLayer):
    """A GRU that says where its reset gate is, Keras' ``reset_after``.

    ::

        r, z = s(W x_t + U h_{t-1} + b)
        n = a(W x_t + U (r * h_{t-1}) + b)              reset_after = False: Cho et al. (2014)
        n = a(W x_t + b + r * (U h_{t-1} + b'))         reset_after = True: cuDNN, torch
        h_t = (1 - z) * n + z * h_{t-1}

    Each gate has its own ``W, U, b``; they lie in torch's order r z n, where Keras has z r n.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = False,
        activation: Activation = "tanh",
        gate_activation: GateActivation = "sigmoid",
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(hidden_size, (hidden_size,), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.reset_after = reset_after
        if reset_after:
            self.recurrent_bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.activation, self.gate = ACTIVATIONS[activation], GATE_ACTIVATIONS[gate_activation]

    def project(self, x: Tensor) -> Tensor:
        """``W x + b`` of all gates, ``[B, T, 3 H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        (h,) = states
        size, kept = self.output_size, keep(h)
        if self.reset_after:
            recurrent = functional.linear(kept, self.recurrent_weight, self.recurrent_bias)
            r, z = self.gate(given[:, : 2 * size] + recurrent[:, : 2 * size]).chunk(2, dim=-1)
            candidate = r * recurrent[:, 2 * size :]
        else:
            recurrent = functional.linear(kept, self.recurrent_weight[: 2 * size])
            r, z = self.gate(given[:, : 2 * size] + recurrent).chunk(2, dim=-1)
            candidate = functional.linear(r * kept, self.recurrent_weight[2 * size :])
        n = self.activation(given[:, 2 * size :] + candidate)
        h = (1 - z) * n + z * h
        return h, h
