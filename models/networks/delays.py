"""Delay lines: layers that read what was some steps ago, of their input and of their own output."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import ACTIVATIONS, Activation
from ostinato.models.networks.layer import Keep, Layer, SteppedLayer


class TimeDelay(Layer):
    """A time-delay layer: the same weights at every step, over a few steps that lie equally far apart.

    Of Waibel et al. (1989, "Phoneme Recognition Using Time-Delay Neural Networks"), with K taps and the delay d; it is
    a causal convolution over the steps, so below an LSTM it makes a CNN-LSTM::

        y_t = a(sum over k < K of W_k x_{t - k d} + b)

    Steps before the first are zeros. The state is the ``(K - 1) d`` inputs before, ``[1, B, (K - 1) d, F]``.
    """

    state_names = ("past",)

    def __init__(
        self, input_size: int, hidden_size: int, taps: int = 3, delay: int = 1, *, activation: Activation = "tanh"
    ) -> None:
        super().__init__()
        self.output_size, self.input_size = hidden_size, input_size
        self.taps, self.delay = taps, delay
        # One tap reads x_t alone, and a state has a number at least.
        self.num_past = max((taps - 1) * delay, 1)
        # [W_{K-1} ... W_0]: the oldest first.
        self.input_weight = nn.Parameter(torch.empty(hidden_size, taps * input_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.activation = ACTIVATIONS[activation]

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros."""
        return (self.bias.new_zeros(1, batch_size, self.num_past, self.input_size),)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As ``Layer`` says."""
        seen = torch.cat([states[0][0], x], dim=1)
        firsts = [self.num_past - tap * self.delay for tap in reversed(range(self.taps))]
        shifted = [seen[:, first : first + x.shape[1]] for first in firsts]
        y = self.activation(functional.linear(torch.cat(shifted, dim=-1), self.input_weight, self.bias))
        return y, seen[:, x.shape[1] :].unsqueeze(0)


class NARX(SteppedLayer):
    """A layer that reads its last outputs and the last inputs: nonlinear, autoregressive, with exogenous inputs.

    Of Leontaritis and Billings (1985, "Input-output parametric models for non-linear systems"), as a network Lin et al.
    (1996, "Learning long-term dependencies in NARX recurrent neural networks"); K taps of the input, M of the output::

        y_t = V a(W [x_t; ...; x_{t-K+1}; y_{t-1}; ...; y_{t-M}] + b) + c

    Args:
        output_size: O, features of ``y``; as many as hidden units where it is None.
        taps, output_taps: K and M.
    """

    state_names = ("past_y", "past_x")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        taps: int = 3,
        output_taps: int = 3,
        activation: Activation = "tanh",
        recurrent_dropout: float = 0.0,
    ) -> None:
        output_size = output_size or hidden_size
        # One tap reads x_t alone, and a state has a number at least.
        past_size = max(taps - 1, 1) * input_size
        super().__init__(output_size, (output_taps * output_size, past_size), recurrent_dropout)
        self.read_size = (taps - 1) * input_size
        self.input_weight = nn.Parameter(torch.empty(hidden_size, taps * input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(hidden_size, output_taps * output_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.output_weight = nn.Parameter(torch.empty(output_size, hidden_size))
        self.output_bias = nn.Parameter(torch.empty(output_size))
        self.activation = ACTIVATIONS[activation]

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above; the newest stands first in what is past."""
        past_y, past_x = states
        seen = torch.cat([given, past_x[:, : self.read_size]], dim=-1)
        read = functional.linear(seen, self.input_weight, self.bias)
        hidden = self.activation(read + functional.linear(keep(past_y), self.recurrent_weight))
        y = functional.linear(hidden, self.output_weight, self.output_bias)
        past_y = torch.cat([y, past_y], dim=-1)[:, : past_y.shape[-1]]
        return y, past_y, torch.cat([given, past_x], dim=-1)[:, : past_x.shape[-1]]
