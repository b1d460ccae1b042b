"""LSTM with peepholes, or with activations that ``nn.LSTM`` does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import ACTIVATIONS, GATE_ACTIVATIONS, Activation, GateActivation
from ostinato.models.networks.layer import Keep, SteppedLayer


class PeepholeLSTM(SteppedLayer):
    """An LSTM whose gates may look at the cell.

    Of Gers and Schmidhuber (2000, "Recurrent Nets that Time and Count")::

        i = s(W x_t + U h_{t-1} + p_i * c_{t-1} + b)
        f = s(W x_t + U h_{t-1} + p_f * c_{t-1} + b)
        c_t = f * c_{t-1} + i * a(W x_t + U h_{t-1} + b)
        o = s(W x_t + U h_{t-1} + p_o * c_t + b)
        h_t = o * a(c_t)

    Each gate has its own ``W, U, b``; they lie in the order i f c o, as torch and Keras have them. ``s`` is the sigmoid
    and ``a`` the hyperbolic tangent, unless told otherwise.

    Args:
        peepholes: without them, ``p`` is 0.
    """

    state_names = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peepholes: bool = True,
        activation: Activation = "tanh",
        gate_activation: GateActivation = "sigmoid",
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(hidden_size, (hidden_size, hidden_size), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.peepholes = peepholes
        if peepholes:
            self.peephole_bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.activation, self.gate = ACTIVATIONS[activation], GATE_ACTIVATIONS[gate_activation]

    def set_forget_bias(self, value: float) -> None:
        """Of the gate f."""
        with torch.no_grad():
            self.bias[self.output_size : 2 * self.output_size] = value

    def project(self, x: Tensor) -> Tensor:
        """``W x + b`` of all gates, ``[B, T, 4 H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        h, c = states
        i, f, n, o = (given + functional.linear(keep(h), self.recurrent_weight)).chunk(4, dim=-1)
        if self.peepholes:
            p_i, p_f, p_o = self.peephole_bias.chunk(3)
            i, f = i + p_i * c, f + p_f * c
        c = self.gate(f) * c + self.gate(i) * self.activation(n)
        if self.peepholes:
            o = o + p_o * c
        h = self.gate(o) * self.activation(c)
        return h, h, c
