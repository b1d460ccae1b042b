"""Gated-feedback RNN: stacked layers, each of which hears all layers of the step before, through gates."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Keep, SteppedLayer

FeedbackCell: TypeAlias = Literal["rnn", "lstm", "gru"]
_NUM_GATES: dict[FeedbackCell, int] = {"rnn": 0, "lstm": 3, "gru": 2}


class GatedFeedback(SteppedLayer):
    """L layers, each of which hears all layers of the step before, through gates.

    Of Chung et al. (2015, "Gated Feedback Recurrent Neural Networks"). With ``h*`` the layers' states side by side,
    ``h_t^0 = x_t``, and a number ``g`` from each layer i to each layer j::

        g^ij  = sigmoid(w^j h_t^{j-1} + u^ij h*_{t-1})
        m^j   = sum over i of g^ij U^ij h_{t-1}^i               what layer j is told

        rnn     h_t^j = tanh(W^j h_t^{j-1} + m^j + b^j)
        lstm    i, f, o = sigmoid(W^j h_t^{j-1} + V^j h_{t-1}^j + b^j)
                c_t^j = f * c_{t-1}^j + i * tanh(W^j h_t^{j-1} + m^j + b^j)
                h_t^j = o * tanh(c_t^j)
        gru     r, z = sigmoid(W^j h_t^{j-1} + V^j h_{t-1}^j + b^j)
                h_t^j = (1 - z) * h_{t-1}^j + z * tanh(W^j h_t^{j-1} + r * m^j + b^j)

    What it gives is ``h_t^L``. States are ``[1, B, L H]``: h, and c of an LSTM.

    Args:
        hidden_size: H, of each layer.
        dropout: of what a layer gives to the next.
    """

    def __init__(
        self,
        cell: FeedbackCell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        all_sizes = num_layers * hidden_size
        super().__init__(hidden_size, (all_sizes,) * (2 if cell == "lstm" else 1), recurrent_dropout)
        self.cell, self.num_layers, self.dropout = cell, num_layers, dropout
        self.state_names = ("h", "c") if cell == "lstm" else ("h",)
        num_gates = _NUM_GATES[cell]
        below = [input_size, *[hidden_size] * (num_layers - 1)]
        # Of each layer: the gates and the candidate, w, V of the gates, U of all layers, u.
        self.input_weights = _matrices((num_gates + 1) * hidden_size, below)
        self.gate_weights = _matrices(1, below)
        self.recurrent_gates = _matrices(num_gates * hidden_size, [hidden_size] * num_layers if num_gates else [])
        self.recurrent_weights = _matrices(hidden_size, [all_sizes] * num_layers)
        self.feedback_weights = _matrices(num_layers, [all_sizes] * num_layers)
        self.biases = nn.ParameterList(torch.empty((num_gates + 1) * hidden_size) for _ in below)

    def set_forget_bias(self, value: float) -> None:
        """Of the gate f of each layer."""
        if self.cell == "lstm":
            with torch.no_grad():
                for bias in self.biases:
                    bias[self.output_size : 2 * self.output_size] = value

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        kept, size = keep(states[0]), self.output_size
        own = [torch.split(state, size, dim=-1) for state in states]
        made: list[tuple[Tensor, ...]] = []
        below = given
        for layer in range(self.num_layers):
            if layer > 0:
                below = functional.dropout(below, self.dropout, self.training)
            gates = functional.linear(below, self.gate_weights[layer])
            gates = torch.sigmoid(gates + functional.linear(kept, self.feedback_weights[layer]))
            heard = kept.reshape(-1, self.num_layers, size) * gates.unsqueeze(-1)
            told = functional.linear(heard.flatten(-2), self.recurrent_weights[layer])
            read = functional.linear(below, self.input_weights[layer], self.biases[layer])
            if self.cell != "rnn":
                kept_own = kept[:, layer * size : (layer + 1) * size]
                gate = torch.sigmoid(read[:, :-size] + functional.linear(kept_own, self.recurrent_gates[layer]))
                made.append(self._gated(gate, read[:, -size:], told, tuple(state[layer] for state in own)))
            else:
                made.append((torch.tanh(read + told),))
            below = made[-1][0]
        return (below, *(torch.cat(each, dim=-1) for each in zip(*made, strict=True)))

    def _gated(self, gate: Tensor, candidate: Tensor, told: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One layer's states from its gates ``[B, G H]``, which lie in the order i f o and r z."""
        if self.cell == "lstm":
            i, f, o = gate.chunk(3, dim=-1)
            c = f * states[1] + i * torch.tanh(candidate + told)
            return o * torch.tanh(c), c
        r, z = gate.chunk(2, dim=-1)
        return ((1 - z) * states[0] + z * torch.tanh(candidate + r * told),)


def _matrices(num_rows: int, sizes: list[int]) -> nn.ParameterList:
    return nn.ParameterList(torch.empty(num_rows, size) for size in sizes)
