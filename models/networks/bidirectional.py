"""Bidirectional layers, for sequences that are there as a whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.models.networks.initialisers import KERAS_FORGET_BIAS, Initialiser, initialise
from ostinato.models.networks.ragged import run_ragged
from ostinato.models.networks.torch_layers import Nonlinearity, TorchCell, set_forget_bias
from ostinato.models.recipe import Count, Fraction, Section


class BidirectionalRecipe(Section):
    """A stack of layers that are run both ways; the members are as in ``LayersRecipe``."""

    cell: TorchCell = "lstm"
    hidden_size: Count = 64
    num_layers: Count = 1
    dropout: Fraction = 0.0
    forget_bias: float | None = None
    initialiser: Initialiser = "torch"
    activation: Nonlinearity = "tanh"


class Bidirectional(nn.Module):
    """Stacked layers, each of which reads what is below it forwards and backwards.

    Of Schuster and Paliwal (1997, "Bidirectional Recurrent Neural Networks"); the cells are those of
    ``ostinato.models.networks.torch_layers``, each direction with weights of its own::

        f_t = g(x_t, f_{t-1})       from the first step on
        b_t = g(x_t, b_{t+1})       from the last true step back
        y_t = [f_t; b_t]

    Attributes:
        output_size: ``2 H``.
    """

    def __init__(self, recipe: BidirectionalRecipe, input_size: int) -> None:
        super().__init__()
        self.output_size = 2 * recipe.hidden_size
        kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        more = {"nonlinearity": recipe.activation} if recipe.cell == "rnn" else {}
        self.layers = kinds[recipe.cell](
            input_size,
            recipe.hidden_size,
            recipe.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=recipe.dropout if recipe.num_layers > 1 else 0.0,
            **more,
        )
        initialise(self.layers, recipe.initialiser, recipe.hidden_size)
        forget_bias = KERAS_FORGET_BIAS if recipe.initialiser == "keras" else None
        forget_bias = forget_bias if recipe.forget_bias is None else recipe.forget_bias
        if forget_bias is not None:
            set_forget_bias(self.layers, forget_bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``x [B, S, F]`` to ``y [B, S, 2 H]``, 0 beyond the lengths, and ``last [B, 2 H]``: what each direction has
        come to, the forward one at the last true step and the backward one at the first.

        Args:
            lengths: int64 ``[B]``, from 1 to S.
        """
        y, last = run_ragged(self.layers, x, lengths)
        hidden = last[0] if isinstance(last, tuple) else last
        return y, torch.cat([hidden[-2], hidden[-1]], dim=-1)
