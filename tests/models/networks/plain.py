"""Layers in plain numpy: what the tests of networks compare with; it knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.models.networks.activations import GateActivation
from ostinato.models.networks.initialisers import initialise
from ostinato.models.networks.layer import Layer

Floats = NDArray[np.float64]
AnyLayer = TypeVar("AnyLayer", bound=Layer)

GATES: Mapping[GateActivation, Callable[[Floats], Floats]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    # Keras 3: 0 below -3, 1 above 3, and x / 6 + 1 / 2 between.
    "hard_sigmoid": lambda x: np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, x / 6 + 0.5)),
    # Keras 2: 0 below -2.5, 1 above 2.5, and 0.2 x + 0.5 between.
    "keras2_hard_sigmoid": lambda x: np.where(x < -2.5, 0.0, np.where(x > 2.5, 1.0, 0.2 * x + 0.5)),
}


def weights_of(layer: Layer) -> dict[str, Any]:
    """Its parameters by their names, as float64."""
    return {name: weight.detach().double().numpy() for name, weight in layer.named_parameters()}


def drawn(layer: AnyLayer) -> AnyLayer:
    """The same, its weights drawn as a recipe's are."""
    initialise(layer, "torch", 4)
    layer.set_time_scales()
    return layer


def run_both_ways(layer: Layer, x: Floats) -> list[Floats]:
    """The same as ``run_layer`` by the form of training, and by the one that is served."""
    return [run_layer(layer.train(), x), run_layer(layer.eval(), x)]


def run_layer(layer: Layer, x: Floats) -> Floats:
    """One sequence ``[T, F]`` from the initial state to ``[T, O]``."""
    with torch.no_grad():
        made = layer(torch.from_numpy(x[None]).float(), *layer.initial_state(1))
    outputs: Floats = made[0][0].double().numpy()
    return outputs
