"""Cells by their names: the layer that a recipe means by each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostinato.models.networks.cfc import CfC
from ostinato.models.networks.clockwork import Clockwork
from ostinato.models.networks.delays import NARX, TimeDelay
from ostinato.models.networks.echo_state import EchoStateRecipe, Reservoir
from ostinato.models.networks.gated_feedback import GatedFeedback
from ostinato.models.networks.gru import ResetGRU
from ostinato.models.networks.jordan import Jordan
from ostinato.models.networks.layer import Layer
from ostinato.models.networks.layers_recipe import CellName, LayersRecipe
from ostinato.models.networks.lru import LRU
from ostinato.models.networks.lstm import PeepholeLSTM
from ostinato.models.networks.mamba import Mamba
from ostinato.models.networks.min_gates import MinGRU, MinLSTM
from ostinato.models.networks.minimal import MinimalGatedRNN, MinimalRNN
from ostinato.models.networks.rg_lru import RGLRU
from ostinato.models.networks.rwkv7 import RWKV7
from ostinato.models.networks.s5 import S5
from ostinato.models.networks.torch_layers import Nonlinearity, TorchCell, TorchLayers
from ostinato.models.networks.xlstm import MLSTM, SLSTM


def build_stack(cell: CellName, recipe: LayersRecipe, input_size: int, num_layers: int) -> list[Layer]:
    """Layers of one cell on top of each other: one module for all of them where torch has the cell, else one each."""
    torchs = _torchs(cell, recipe)
    if torchs is not None:
        return [_torch_layers(torchs, recipe, input_size, num_layers)]
    if cell == "gated_feedback":
        return [_gated_feedback(recipe, input_size, num_layers)]
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


def _gated_feedback(recipe: LayersRecipe, input_size: int, num_layers: int) -> Layer:
    return GatedFeedback(
        recipe.feedback_cell,
        input_size,
        recipe.hidden_size,
        num_layers,
        dropout=recipe.dropout,
        recurrent_dropout=recipe.recurrent_dropout,
    )


def _clockwork(recipe: LayersRecipe, input_size: int) -> Layer:
    return Clockwork(
        input_size,
        recipe.hidden_size,
        recipe.periods,
        activation=recipe.activation,
        recurrent_dropout=recipe.recurrent_dropout,
    )


def _time_delay(recipe: LayersRecipe, input_size: int) -> Layer:
    return TimeDelay(input_size, recipe.hidden_size, recipe.taps, recipe.delay, activation=recipe.activation)


def _narx(recipe: LayersRecipe, input_size: int) -> Layer:
    return NARX(
        input_size,
        recipe.hidden_size,
        recipe.fed_back_size,
        taps=recipe.taps,
        output_taps=recipe.output_taps,
        activation=recipe.activation,
        recurrent_dropout=recipe.recurrent_dropout,
    )


def _minimal(recipe: LayersRecipe, input_size: int) -> Layer:
    return MinimalRNN(input_size, recipe.hidden_size, recurrent_dropout=recipe.recurrent_dropout)


def _minimal_gated(recipe: LayersRecipe, input_size: int) -> Layer:
    return MinimalGatedRNN(input_size, recipe.hidden_size, recurrent_dropout=recipe.recurrent_dropout)


def _echo_state(recipe: LayersRecipe, input_size: int) -> Layer:
    reservoir = EchoStateRecipe(
        reservoir_size=recipe.hidden_size,
        spectral_radius=recipe.spectral_radius,
        sparsity=recipe.sparsity,
        input_scaling=recipe.input_scaling,
        leak=recipe.leak,
    )
    return Reservoir(reservoir, input_size)


def _min_gru(recipe: LayersRecipe, input_size: int) -> Layer:
    return MinGRU(input_size, recipe.hidden_size)


def _min_lstm(recipe: LayersRecipe, input_size: int) -> Layer:
    return MinLSTM(input_size, recipe.hidden_size)


def _slstm(recipe: LayersRecipe, input_size: int) -> Layer:
    return SLSTM(input_size, recipe.hidden_size, recurrent_dropout=recipe.recurrent_dropout)


def _mlstm(recipe: LayersRecipe, input_size: int) -> Layer:
    return MLSTM(input_size, recipe.hidden_size, recipe.num_heads)


def _rg_lru(recipe: LayersRecipe, input_size: int) -> Layer:
    return RGLRU(input_size, recipe.hidden_size)


def _lru(recipe: LayersRecipe, input_size: int) -> Layer:
    return LRU(input_size, recipe.hidden_size, recipe.state_size)


def _s5(recipe: LayersRecipe, input_size: int) -> Layer:
    return S5(input_size, recipe.hidden_size, recipe.state_size)


def _mamba(recipe: LayersRecipe, input_size: int) -> Layer:
    return Mamba(input_size, recipe.hidden_size, recipe.state_size)


def _rwkv7(recipe: LayersRecipe, input_size: int) -> Layer:
    return RWKV7(input_size, recipe.hidden_size, recipe.num_heads)


def _cfc(recipe: LayersRecipe, input_size: int) -> Layer:
    return CfC(input_size, recipe.hidden_size, recurrent_dropout=recipe.recurrent_dropout)


_OWN: Mapping[CellName, Callable[[LayersRecipe, int], Layer]] = {
    "jordan": _jordan,
    "lstm": _lstm,
    "gru": _gru,
    "clockwork": _clockwork,
    "time_delay": _time_delay,
    "narx": _narx,
    "minimal": _minimal,
    "minimal_gated": _minimal_gated,
    "echo_state": _echo_state,
    "min_gru": _min_gru,
    "min_lstm": _min_lstm,
    "slstm": _slstm,
    "mlstm": _mlstm,
    "rg_lru": _rg_lru,
    "lru": _lru,
    "s5": _s5,
    "mamba": _mamba,
    "rwkv7": _rwkv7,
    "cfc": _cfc,
}
