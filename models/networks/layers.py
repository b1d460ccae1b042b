"""Stacks of recurrent layers, of one cell or of several, as a recipe's ``[network]`` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from torch import Tensor, nn

from ostinato.models.networks.cells import build_stack
from ostinato.models.networks.initialisers import KERAS_FORGET_BIAS, initialise
from ostinato.models.networks.layer import Layer
from ostinato.models.networks.layers_recipe import LayersRecipe

__all__ = ["Layers", "LayersRecipe", "build_layers"]


class Layers(nn.Module):
    """Layers on top of each other, each reading what the one below gives.

    ``forward(x [B, T, F], *states) -> (y [B, T, O], *states)`` and ``initial_state(batch_size)``: the exporter's
    contract. Every state has the batch on its second axis.

    Args:
        layers: the first first.
        dropout: between them.

    Attributes:
        output_size: O.
        state_names: of all states; where there are several layers, with the layer's number behind: ``h_0``.
    """

    def __init__(self, layers: Sequence[Layer], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.output_size = layers[-1].output_size
        self.num_states = [len(layer.state_names) for layer in layers]
        self.state_names = tuple(
            name if len(layers) == 1 else f"{name}_{index}"
            for index, layer in enumerate(layers)
            for name in layer.state_names
        )

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """States of sequences that have not begun, each ``[L, B, ...]``."""
        return tuple(state for layer in self.layers for state in layer.initial_state(batch_size))  # type: ignore[operator]

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` to ``y [B, T, O]``, and the states after the last step."""
        after: list[Tensor] = []
        for index, (layer, num_states) in enumerate(zip(self.layers, self.num_states, strict=True)):
            own = states[len(after) : len(after) + num_states]
            x, *made = layer(self.dropout(x) if index > 0 else x, *own)
            after += made
        return (x, *after)


def build_layers(recipe: LayersRecipe, input_size: int) -> Layers:
    """The layers that a recipe asks for, untrained; layers of one cell that follow each other are one of torch's stacks
    where torch has the cell.

    Args:
        input_size: F.
    """
    layers: list[Layer] = []
    for cell, group in groupby(recipe.cells):
        layers += build_stack(cell, recipe, layers[-1].output_size if layers else input_size, len(list(group)))
    forget_bias = KERAS_FORGET_BIAS if recipe.initialiser == "keras" else None
    forget_bias = forget_bias if recipe.forget_bias is None else recipe.forget_bias
    for layer in layers:
        initialise(layer, recipe.initialiser, recipe.hidden_size)
        if forget_bias is not None:
            layer.set_forget_bias(forget_bias)
    return Layers(layers, recipe.dropout)
