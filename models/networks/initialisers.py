"""Initialisers: what the weights of recurrent layers are before they have learned.

- ``torch``: ``uniform(-1 / sqrt(H), 1 / sqrt(H))`` for all of a layer with H hidden units, as torch's own layers have.
- ``orthogonal``: each gate's recurrent weights orthogonal (Saxe et al., 2014, "Exact solutions to the nonlinear
  dynamics of learning in deep linear neural networks"), each gate's input weights after Glorot and Bengio (2010,
  "Understanding the difficulty of training deep feedforward neural networks"), no biases.
- ``keras``: as Keras: the gates are one matrix, so Glorot's limit counts all their outputs, and the recurrent matrix
  ``[H, G H]`` is orthogonal as a whole; no biases, and an LSTM forgets nothing at first (forget bias 1).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Initialiser: TypeAlias = Literal["torch", "orthogonal", "keras"]
KERAS_FORGET_BIAS = 1.0
"""Of Jozefowicz et al. (2015, "An Empirical Exploration of Recurrent Network Architectures")."""


def initialise(module: nn.Module, initialiser: Initialiser, hidden_size: int) -> None:
    """Draw all parameters of a layer anew, from torch's generator.

    A matrix is recurrent if its name says so (``recurrent...``, ``weight_hh...``); whatever has one axis is a bias.

    Args:
        hidden_size: H; a recurrent matrix of ``G H`` rows has G gates.
    """
    for name, weight in module.named_parameters():
        if initialiser == "torch":
            nn.init.uniform_(weight, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
        elif weight.dim() == 1:
            nn.init.zeros_(weight)
        elif any(part.startswith(("recurrent", "weight_hh")) for part in name.split(".")):
            _make_orthogonal(weight, hidden_size, by_gate=initialiser == "orthogonal")
        else:
            _make_glorot(weight, hidden_size, by_gate=initialiser == "orthogonal")


def _make_orthogonal(weight: Tensor, hidden_size: int, *, by_gate: bool) -> None:
    """``[G H, H]``."""
    with torch.no_grad():
        for gate in torch.split(weight, hidden_size if by_gate else len(weight)):
            nn.init.orthogonal_(gate)


def _make_glorot(weight: Tensor, hidden_size: int, *, by_gate: bool) -> None:
    """``[G H, F]`` or, of a convolution, ``[G H, F, ...]``."""
    num_outputs = hidden_size if by_gate else weight.shape[0]
    field = math.prod(weight.shape[2:])
    limit = math.sqrt(6 / ((weight.shape[1] + num_outputs) * field))
    nn.init.uniform_(weight, -limit, limit)
