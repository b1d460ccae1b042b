"""Encoders: a whole source becomes one output for each of its steps, and a summary of all of them.

What the recurrent layers compute, ``g``, where ``*`` is element by element and each gate has its own ``W, U, b``::

    LSTM    i, f, o = sigmoid(W x_t + U h_{t-1} + b)
            c_t = f * c_{t-1} + i * tanh(W x_t + U h_{t-1} + b)
            h_t = o * tanh(c_t)
    GRU     r, z = sigmoid(W x_t + U h_{t-1} + b)
            n = tanh(W x_t + b + r * (U h_{t-1} + b'))      as torch has it; Cho et al. have U (r * h_{t-1})
            h_t = (1 - z) * n + z * h_{t-1}

Of stacked layers each reads the outputs ``h_t`` of the one below.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from ostinato.models.networks.ragged import run_ragged

Cell: TypeAlias = Literal["lstm", "gru"]


def recurrent_layers(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> nn.LSTM | nn.GRU:
    """Stacked layers, batch first; ``dropout`` stands between them and does nothing where there is one."""
    kind = nn.LSTM if cell == "lstm" else nn.GRU
    return kind(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        # torch warns of a dropout that has no place between layers.
        dropout=dropout if num_layers > 1 else 0.0,
    )


class RecurrentEncoder(nn.Module):
    """Stacked LSTM (Hochreiter and Schmidhuber, 1997) or GRU (Cho et al., 2014), in one direction or both.

    ``h_k = g(x_k, h_{k-1})``, spelled out above; read in both directions (Schuster and Paliwal, 1997), ``h_k`` is the
    forward and the backward one side by side. The backward direction begins at the last true step, never at the
    padding: what stands at and beyond a source's length has no influence, and the outputs there are 0.

    ``output_size``: features ``M`` of ``h_k``, twice ``hidden_size`` in both directions.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = recurrent_layers(cell, input_size, hidden_size, num_layers, bidirectional, dropout)
        self.bidirectional = bidirectional
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``[B, S, M]`` and ``h_last [B, M]`` of ``embedded [B, S, E]``.

        ``h_last`` is the last layer's hidden state after the last true step; read in both directions, followed by that
        of the backward direction, which has come to the first step.

        Args:
            lengths: int64 ``[B]``, from 1 to S.
        """
        outputs, last = run_ragged(self.layers, embedded, lengths)
        hidden: Tensor = last[0] if isinstance(last, tuple) else last
        num_directions = 2 if self.bidirectional else 1
        # [L * directions, B, H]: the last layer's directions come last.
        h_last = hidden[-num_directions:].transpose(0, 1).flatten(1)
        return outputs, h_last
