"""Stacks of recurrent layers, of one cell or of several, as a recipe's ``[network]`` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from ostinato.models.errors import RecipeError
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
        interval_place: which number of x is the time since the step before, for layers that read it; None = steps are
            even, and it is 1.

    Attributes:
        output_size: O.
        state_names: of all states; where there are several layers, with the layer's number behind: ``h_0``.
    """

    def __init__(self, layers: Sequence[Layer], dropout: float = 0.0, interval_place: int | None = None) -> None:
        super().__init__()
        self.interval_place = interval_place
        self.reads_interval = [layer.reads_interval for layer in layers]
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
        interval = self._interval(x) if any(self.reads_interval) else x
        for index, (layer, num_states) in enumerate(zip(self.layers, self.num_states, strict=True)):
            own = states[len(after) : len(after) + num_states]
            x = self.dropout(x) if index > 0 else x
            x, *made = layer(torch.cat([x, interval], dim=-1) if self.reads_interval[index] else x, *own)
            after += made
        return (x, *after)

    def _interval(self, x: Tensor) -> Tensor:
        place = self.interval_place
        return torch.ones_like(x[..., :1]) if place is None else x[..., place : place + 1]


def build_layers(recipe: LayersRecipe, input_size: int, amounts: Sequence[str] = ()) -> Layers:
    """The layers that a recipe asks for, untrained; layers of one cell that follow each other are one of torch's stacks
    where torch has the cell.

    Args:
        input_size: F.
        amounts: what the first numbers of the input are called, where one may be the recipe's ``interval``.

    Raises:
        RecipeError: the interval is none of them.
    """
    if recipe.interval is not None and recipe.interval not in amounts:
        known = ", ".join(amounts) or "there is none"
        raise RecipeError(f"network.interval: {recipe.interval!r} is no feature that is an amount: {known}")
    layers: list[Layer] = []
    for cell, group in groupby(recipe.cells):
        layers += build_stack(cell, recipe, layers[-1].output_size if layers else input_size, len(list(group)))
    forget_bias = KERAS_FORGET_BIAS if recipe.initialiser == "keras" else None
    forget_bias = forget_bias if recipe.forget_bias is None else recipe.forget_bias
    for layer in layers:
        initialise(layer, recipe.initialiser, recipe.hidden_size)
        layer.set_time_scales()
        if forget_bias is not None:
            layer.set_forget_bias(forget_bias)
    place = None if recipe.interval is None else amounts.index(recipe.interval)
    return Layers(layers, recipe.dropout, place)
