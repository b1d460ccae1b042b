"""Activations by the names that recipes have for them, Keras' among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Activation: TypeAlias = Literal["tanh", "relu", "linear"]
GateActivation: TypeAlias = Literal["sigmoid", "hard_sigmoid", "keras2_hard_sigmoid"]
Function: TypeAlias = Callable[[Tensor], Tensor]


def _linear(x: Tensor) -> Tensor:
    return x


def _keras2_hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0.0, 1.0)


ACTIVATIONS: Mapping[Activation, Function] = {"tanh": torch.tanh, "relu": torch.relu, "linear": _linear}
GATE_ACTIVATIONS: Mapping[GateActivation, Function] = {
    "sigmoid": torch.sigmoid,
    # Keras 3: relu6(x + 3) / 6.
    "hard_sigmoid": functional.hardsigmoid,
    # Keras 1 and 2, and Theano: clip(0.2 x + 0.5, 0, 1).
    "keras2_hard_sigmoid": _keras2_hard_sigmoid,
}
