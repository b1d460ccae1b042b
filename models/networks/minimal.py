"""Minimal recurrent layers: a linear one, as Keras' pages build theirs, and one with a single gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Keep, SteppedLayer


class MinimalRNN(SteppedLayer):
    """The least that recurs, ``MinimalRNNCell`` of Keras' page on ``keras.layers.RNN``.

    ::

        h_t = W x_t + U h_{t-1}

    Linear, without biases. With constants (``ostinato.models.networks.context``) it is ``W x_t + V k + U h_{t-1}``.
    """

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_dropout: float = 0.0) -> None:
        super().__init__(hidden_size, (hidden_size,), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(hidden_size, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))

    def project(self, x: Tensor) -> Tensor:
        """``W x``, ``[B, T, H]``."""
        return functional.linear(x, self.input_weight)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        h = given + functional.linear(keep(states[0]), self.recurrent_weight)
        return h, h


class MinimalGatedRNN(SteppedLayer):
    """A layer with one gate, between what it knows and what is new.

    Of Chen (2017, "MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural Networks")::

        n_t = tanh(W x_t + b)
        u   = sigmoid(U h_{t-1} + V n_t + c)
        h_t = u * h_{t-1} + (1 - u) * n_t
    """

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_dropout: float = 0.0) -> None:
        super().__init__(hidden_size, (hidden_size,), recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.recurrent_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.new_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.gate_bias = nn.Parameter(torch.empty(hidden_size))

    def project(self, x: Tensor) -> Tensor:
        """``n`` of all steps, ``[B, T, H]``."""
        return torch.tanh(functional.linear(x, self.input_weight, self.bias))

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        (h,) = states
        told = functional.linear(keep(h), self.recurrent_weight)
        u = torch.sigmoid(told + functional.linear(given, self.new_weight, self.gate_bias))
        h = u * h + (1 - u) * given
        return h, h
