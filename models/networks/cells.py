"""Cells by their names: the layer that a recipe means by each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostinato.models.networks.gru import ResetGRU
from ostinato.models.networks.jordan import Jordan
from ostinato.models.networks.layer import Layer
from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.networks.lstm import PeepholeLSTM
from ostinato.models.networks.torch_layers import Nonlinearity, TorchCell, TorchLayers


def build_stack(cell: CellName, recipe: LayersRecipe, input_size: int, num_layers: int) -> list[Layer]:
    """Layers of one cell on top of each other: one module for all of them where torch has the cell, else one each."""
    torchs = _torchs(cell, recipe)
    if torchs is not None:
        return [_torch_layers(torchs, recipe, input_size, num_layers)]
    layers: list[Layer] = []
    for _ in range(num_layers):
        layers.append(_OWN[cell](recipe, layers[-1].output_size if layers else input_size))
    return layers


def _torchs(cell: CellName, recipe: LayersRecipe) -> TorchCell | None:
    """The cell as torch has it; None where the recipe asks for what torch does not have."""
    is_plain = recipe.activation == "tanh" and recipe.gate_activation == "sigmoid"
    if cell == "rnn":
        return "rnn"
    if cell == "lstm" and is_plain and not recipe.peepholes:
        return "lstm"
    return "gru" if cell == "gru" and is_plain and recipe.reset_after else None


def _torch_layers(cell: TorchCell, recipe: LayersRecipe, input_size: int, num_layers: int) -> TorchLayers:
    nonlinearity: Nonlinearity = "relu" if recipe.activation == "relu" else "tanh"
    return TorchLayers(
        cell,
        input_size,
        recipe.hidden_size,
        num_layers,
        dropout=recipe.dropout,
        recurrent_dropout=recipe.recurrent_dropout,
        nonlinearity=nonlinearity,
    )


def _jordan(recipe: LayersRecipe, input_size: int) -> Layer:
    return Jordan(
        input_size,
        recipe.hidden_size,
        recipe.fed_back_size,
        activation=recipe.activation,
        recurrent_dropout=recipe.recurrent_dropout,
    )


def _lstm(recipe: LayersRecipe, input_size: int) -> Layer:
    return PeepholeLSTM(
        input_size,
        recipe.hidden_size,
        peepholes=recipe.peepholes,
        activation=recipe.activation,
        gate_activation=recipe.gate_activation,
        recurrent_dropout=recipe.recurrent_dropout,
    )


def _gru(recipe: LayersRecipe, input_size: int) -> Layer:
    return ResetGRU(
        input_size,
        recipe.hidden_size,
        reset_after=recipe.reset_after,
        activation=recipe.activation,
        gate_activation=recipe.gate_activation,
        recurrent_dropout=recipe.recurrent_dropout,
    )


_OWN: Mapping[CellName, Callable[[LayersRecipe, int], Layer]] = {"jordan": _jordan, "lstm": _lstm, "gru": _gru}
