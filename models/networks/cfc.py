"""CfC: a closed-form continuous-time layer, which is told how long ago the step before was."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Keep, SteppedLayer


class CfC(SteppedLayer):
    """A layer whose state goes from one function of what it heard to another as time passes.

    Of Hasani et al. (2022, "Closed-form continuous-time neural networks"), in the form of its code, where f has a bias
    of its own. With d the time since the step before, and a shared first layer z::

        z   = tanh(W x_t + V d + U h_{t-1} + b)
        s   = sigmoid(-((W_f z + b_f) d + W_c z + b_c))
        h_t = s * tanh(W_g z + b_g) + (1 - s) * tanh(W_h z + b_h)

    How much changes in a second, and how much in an hour, is learned for each unit. Any straight scale of d does, as a
    forecaster's, whose amounts are centred: ``W_f`` and ``W_c`` take it in.

    Args:
        input_size: F; the layer is given ``[B, T, F + 1]``, d last.
    """

    reads_interval = True

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_dropout: float = 0.0) -> None:
        super().__init__(hidden_size, (hidden_size,), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(hidden_size, input_size + 1))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.recurrent_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        # Of f, c, g and h, behind each other.
        self.head_weight = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.head_bias = nn.Parameter(torch.empty(4 * hidden_size))

    def project(self, x: Tensor) -> Tensor:
        """``W x + V d + b``, and d, ``[B, T, H + 1]``."""
        return torch.cat([functional.linear(x, self.input_weight, self.bias), x[..., -1:]], dim=-1)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        given, interval = given[:, :-1], given[:, -1:]
        z = torch.tanh(given + functional.linear(keep(states[0]), self.recurrent_weight))
        f, c, g, h = functional.linear(z, self.head_weight, self.head_bias).chunk(4, dim=-1)
        s = torch.sigmoid(-(f * interval + c))
        h = s * torch.tanh(g) + (1 - s) * torch.tanh(h)
        return h, h
