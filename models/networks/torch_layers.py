"""Stacks of torch's own layers, which ONNX has as operators: ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``.

``*`` is element by element, and each gate has its own ``W, U, b``::

    RNN     h_t = f(W x_t + U h_{t-1} + b)                  f = tanh or ReLU
    LSTM    i, f, o = sigmoid(W x_t + U h_{t-1} + b)
            c_t = f * c_{t-1} + i * tanh(W x_t + U h_{t-1} + b)
            h_t = o * tanh(c_t)
    GRU     r, z = sigmoid(W x_t + U h_{t-1} + b)
            n = tanh(W x_t + b + r * (U h_{t-1} + b'))
            h_t = (1 - z) * n + z * h_{t-1}

Elman (1990, "Finding Structure in Time"), with ReLU Le et al. (2015, "A Simple Way to Initialize Recurrent Networks of
Rectified Linear Units"); Hochreiter and Schmidhuber (1997, "Long Short-Term Memory") with the forget gate of Gers et
al. (2000, "Learning to Forget"); Cho et al. (2014, "Learning Phrase Representations using RNN Encoder-Decoder"), with
the reset gate behind the product, as in cuDNN.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Layer, one_mask_a_sequence

TorchCell: TypeAlias = Literal["rnn", "lstm", "gru"]
Nonlinearity: TypeAlias = Literal["tanh", "relu"]


class TorchLayers(Layer):
    """Stacked layers of one cell; states ``[L, B, H]``.

    Args:
        dropout: of what a layer gives to the next, never of what a step gives to the next.
        recurrent_dropout: one mask a sequence; training then goes through the steps in Python.
        nonlinearity: of ``rnn``.
    """

    def __init__(
        self,
        cell: TorchCell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        nonlinearity: Nonlinearity = "tanh",
    ) -> None:
        super().__init__()
        self.cell = cell
        self.output_size = hidden_size
        self.state_names = ("h", "c") if cell == "lstm" else ("h",)
        self.recurrent_dropout = recurrent_dropout
        # torch warns of a dropout that has no place between layers.
        between = dropout if num_layers > 1 else 0.0
        self.layers: nn.RNNBase
        if cell == "rnn":
            self.layers = nn.RNN(
                input_size, hidden_size, num_layers, nonlinearity=nonlinearity, batch_first=True, dropout=between
            )
        else:
            kind = nn.LSTM if cell == "lstm" else nn.GRU
            self.layers = kind(input_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.activation = torch.relu if nonlinearity == "relu" else torch.tanh

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros ``[L, B, H]``."""
        h = self.weight_like().new_zeros(self.layers.num_layers, batch_size, self.output_size)
        return tuple(h.clone() for _ in self.state_names)

    def set_forget_bias(self, value: float) -> None:
        """Of an LSTM."""
        set_forget_bias(self.layers, value)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As ``Layer`` says."""
        if self.training and self.recurrent_dropout > 0.0:
            return self._run_masked(x, states)
        hidden, after = self.layers(x, states if self.cell == "lstm" else states[0])
        return (hidden, *after) if self.cell == "lstm" else (hidden, after)

    def _run_masked(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        made = []
        for index in range(self.layers.num_layers):
            if index > 0:
                x = functional.dropout(x, self.layers.dropout)
            w, u, b, b_h = (getattr(self.layers, f"{name}_l{index}") for name in _WEIGHTS)
            after = tuple(state[index] for state in states)
            keep = one_mask_a_sequence(self.recurrent_dropout, after[0])
            outputs = []
            for given in functional.linear(x, w, b).unbind(1):
                after = self._step(given, after, functional.linear(keep(after[0]), u, b_h))
                outputs.append(after[0])
            x = torch.stack(outputs, dim=1)
            made.append(after)
        return (x, *(torch.stack(each) for each in zip(*made, strict=True)))

    def _step(self, given: Tensor, states: tuple[Tensor, ...], recurrent: Tensor) -> tuple[Tensor, ...]:
        """One step: ``given = W x + b`` and ``recurrent = U h + b'``, ``[B, G H]``."""
        if self.cell == "rnn":
            return (self.activation(given + recurrent),)
        if self.cell == "lstm":
            i, f, n, o = (given + recurrent).chunk(4, dim=-1)
            c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(n)
            return torch.sigmoid(o) * torch.tanh(c), c
        (r, z, n), (r_h, z_h, n_h) = given.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
        z = torch.sigmoid(z + z_h)
        n = torch.tanh(n + torch.sigmoid(r + r_h) * n_h)
        return ((1 - z) * n + z * states[0],)


def set_forget_bias(layers: nn.RNNBase, value: float) -> None:
    """Of an LSTM's forget gates; other layers have none. torch adds two biases, so one has it and the other is 0."""
    if not isinstance(layers, nn.LSTM):
        return
    gate = slice(layers.hidden_size, 2 * layers.hidden_size)
    with torch.no_grad():
        for name, weight in layers.named_parameters():
            if name.startswith("bias"):
                weight[gate] = value if name.startswith("bias_ih") else 0.0


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
