"""Multi-horizon forecasters: a causal encoder that a session keeps running, and a decoder that begins from its states.

They keep the exporter's contract, ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``, and in
addition ``decode``: one step of a forecast. The encoder's last ``M`` outputs, made ``R`` numbers each, are a state, the
memory that the decoder attends to: a new step costs one step of the encoder, and a forecast reads nothing again
(Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks"; attention by what the layers carry:
Bahdanau et al., 2015).

A forecast is some quantiles, of which the median is the last value plus a learned change, and is fed back: a network
that has learned nothing is the persistence forecast. The others lie a learned positive distance away, each beyond the
one before, so they never cross; what the target cannot fall below holds for all of them.

One head turns what the layers carry into the next step's quantiles, the encoder's (the answer to each step, learned
from all of them) and the decoder's; the decoder adds a correction out of what it attends to, 0 until it is learned.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ostinato.models.networks.attention import Attention
from ostinato.models.networks.encoders import Cell, recurrent_layers
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork
from ostinato.models.networks.forecasts import quantiles_around
from ostinato.models.networks.recurrent import InputEncoder, States, fill_last_seen


def remember(memory: Tensor, outputs: Tensor) -> Tensor:
    """Put the outputs ``[B, T, R]`` of new steps before what is remembered, ``[B, M, R]``; the oldest are forgotten.

    The newest stands first, so a place is an age, whatever the number of steps. Nothing but data movement, so exact for
    any cut of the steps.
    """
    return torch.cat([outputs.flip(1), memory], dim=1)[:, : memory.shape[1]]


class MultiHorizonForecaster(nn.Module):
    """What both cells share; subclasses bring the recurrent layers and name their states.

    Session states: ``last_seen [B, F]``, the encoder's, ``memory [B, M, R]`` and ``num_remembered`` int64 ``[B]``, how
    many of the M places are filled. The decoder's: ``values [B, F]``, which begins with ``last_seen`` and in which each
    step puts its median and moves the cycles on, and its layers' own, which begin with the encoder's.
    """

    decoder_begins: ClassVar[dict[str, str]]
    decoder_memory: ClassVar[dict[str, str]] = {"attended": "memory"}
    decoder_lengths: ClassVar[str] = "num_remembered"

    initial_values: Tensor
    is_target: Tensor
    known_ahead: Tensor
    cycle_lengths: Tensor

    def __init__(
        self, features: Features, recipe: ForecasterNetwork, cycles: tuple[str, ...], least: float | None
    ) -> None:
        super().__init__()
        self.target_index = features.target_index
        self.least = least
        self.memory_steps = recipe.memory_steps
        self.register_buffer("initial_values", torch.tensor(features.initial_values()))
        is_target = [index == features.target_index for index in range(len(features.names))]
        self.register_buffer("is_target", torch.tensor(is_target))
        lengths = [num if name in cycles else 0 for name, num in zip(features.names, features.num_codes, strict=True)]
        self.register_buffer("cycle_lengths", torch.tensor(lengths, dtype=torch.float32))
        self.register_buffer("known_ahead", self.is_target | (self.cycle_lengths > 0))
        self.inputs = InputEncoder(features)
        hidden_size = recipe.hidden_size
        sizes = (self.inputs.encoded_size, hidden_size, recipe.num_layers)
        cell: Cell = "lstm" if recipe.cell == "lstm" else "gru"
        self.encoder = recurrent_layers(cell, *sizes, dropout=recipe.dropout)
        self.decoder = recurrent_layers(cell, *sizes, dropout=recipe.dropout)
        memory_size = recipe.memory_size
        self.remembered = nn.Linear(hidden_size, memory_size)
        self.query = nn.Linear(hidden_size, memory_size)
        self.ages = nn.Linear(memory_size, recipe.memory_steps)
        self.attention = Attention("dot", memory_size, memory_size)
        self.joined = nn.Linear(hidden_size + memory_size, hidden_size)
        self.dropout = nn.Dropout(recipe.dropout)
        self.median = len(recipe.quantiles) // 2
        self.change_std = features.targets[0].unit
        self.head = _zeroed(nn.Linear(hidden_size, len(recipe.quantiles)))
        self.correction = _zeroed(nn.Linear(hidden_size, len(recipe.quantiles)))

    def _initial(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        layers, empty = self.encoder, self.initial_values.new_zeros
        hidden = empty(layers.num_layers, batch_size, layers.hidden_size)
        memory = empty(batch_size, self.memory_steps, self.remembered.out_features)
        last_seen = self.initial_values.expand(batch_size, -1).clone()
        return last_seen, hidden, memory, empty(batch_size, dtype=torch.int64)

    def _encode(
        self, x: Tensor, last_seen: Tensor, hidden: States, memory: Tensor, num_remembered: Tensor
    ) -> tuple[Tensor, Tensor, States, Tensor, Tensor]:
        filled, seen = fill_last_seen(x, last_seen)
        outputs, hidden = _run(self.encoder, self.inputs(filled, seen), hidden)
        y = self._quantiles(filled, self.head(self.dropout(outputs)))
        num_remembered = (num_remembered + x.shape[1]).clamp(max=self.memory_steps)
        return y, filled[:, -1], hidden, remember(memory, self.remembered(outputs)), num_remembered

    def decoder_start(self, states: States) -> tuple[States, States, Tensor]:
        """From a session's states what its decoder begins with: states, memory, lengths."""
        last_seen, *hidden, memory, num_remembered = states
        return (last_seen, *hidden), (memory,), num_remembered

    def decode(
        self,
        previous: None,  # noqa: ARG002 - the contract has it
        states: States,
        memory: States,
        lengths: Tensor,
    ) -> tuple[Tensor, States, Tensor]:
        """One step of a forecast.

        Args:
            previous: None; the median is carried in ``values``.
            states: values ``[B, F]`` and the layers' ``[L, B, H]``.
            memory: one, ``[B, M, R]``, the newest first.
            lengths: int64 ``[B]``, how many of the M are filled, at least 1.

        Returns:
            quantiles ``[B, O]`` in raw units, the states, attention ``[B, M]``.
        """
        values, *hidden = states
        (attended,) = memory
        # What the layers carry has read all steps up to here, so the forecast comes before they read it.
        output = hidden[0][-1]
        query = self.query(output)
        context, weights = self.attention(query, attended, attended, lengths, bias=self.ages(query))
        joined = torch.relu(self.joined(torch.cat([output, context], dim=-1)))
        quantiles = self._quantiles(values, self.head(self.dropout(output)) + self.correction(self.dropout(joined)))
        values = self._next_values(values, quantiles)
        seen = self.known_ahead.expand_as(values)
        _, after = _run(self.decoder, self.inputs(values, seen).unsqueeze(1), tuple(hidden))
        return quantiles, (values, *after), weights

    def _quantiles(self, values: Tensor, learned: Tensor) -> Tensor:
        """Around the target in ``values [..., F]``."""
        last = values[..., self.target_index : self.target_index + 1]
        quantiles = quantiles_around(last, learned, self.change_std)
        return quantiles if self.least is None else quantiles.clamp(min=self.least)

    def _next_values(self, values: Tensor, quantiles: Tensor) -> Tensor:
        """What the next step begins with: the median in the target's place, cyclic codes moved on by one."""
        moved = torch.where(values + 1.0 >= self.cycle_lengths, 0.0, values + 1.0)
        values = torch.where(self.cycle_lengths > 0, moved, values)
        return torch.where(self.is_target, quantiles[:, self.median : self.median + 1], values)


class LSTMMultiHorizon(MultiHorizonForecaster):
    """With LSTM layers (Hochreiter and Schmidhuber, 1997)."""

    state_names: ClassVar[tuple[str, ...]] = ("last_seen", "h", "c", "memory", "num_remembered")
    decoder_begins: ClassVar[dict[str, str]] = {"values": "last_seen", "decoder_h": "h", "decoder_c": "c"}

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """last_seen ``[B, F]``, h and c ``[L, B, H]``, memory ``[B, M, R]``, num_remembered ``[B]``: a new sequence."""
        last_seen, hidden, memory, num_remembered = self._initial(batch_size)
        return last_seen, hidden, hidden.clone(), memory, num_remembered

    def forward(
        self, x: Tensor, last_seen: Tensor, h: Tensor, c: Tensor, memory: Tensor, num_remembered: Tensor
    ) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` in raw units, NaN where missing, to quantiles one step ahead of each, ``[B, T, O]``."""
        y, last_seen, hidden, memory, num_remembered = self._encode(x, last_seen, (h, c), memory, num_remembered)
        return y, last_seen, *hidden, memory, num_remembered


class GRUMultiHorizon(MultiHorizonForecaster):
    """With GRU layers (Cho et al., 2014)."""

    state_names: ClassVar[tuple[str, ...]] = ("last_seen", "h", "memory", "num_remembered")
    decoder_begins: ClassVar[dict[str, str]] = {"values": "last_seen", "decoder_h": "h"}

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """last_seen ``[B, F]``, h ``[L, B, H]``, memory ``[B, M, R]`` and num_remembered ``[B]`` of a new sequence."""
        return self._initial(batch_size)

    def forward(
        self, x: Tensor, last_seen: Tensor, h: Tensor, memory: Tensor, num_remembered: Tensor
    ) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` in raw units, NaN where missing, to quantiles one step ahead of each, ``[B, T, O]``."""
        y, last_seen, hidden, memory, num_remembered = self._encode(x, last_seen, (h,), memory, num_remembered)
        return y, last_seen, *hidden, memory, num_remembered


AnyMultiHorizon: TypeAlias = LSTMMultiHorizon | GRUMultiHorizon


def build_multi_horizon(
    features: Features, recipe: ForecasterNetwork, cycles: tuple[str, ...] = (), least: float | None = None
) -> AnyMultiHorizon:
    """The network that a recipe asks for, untrained; ``cycles`` and ``least`` are as in ``DataRecipe``."""
    kind = LSTMMultiHorizon if recipe.cell == "lstm" else GRUMultiHorizon
    return kind(features, recipe, cycles, least)


def forecast(network: MultiHorizonForecaster, states: States, num_steps: int) -> Tensor:
    """Quantiles of the next ``num_steps`` steps from a session's states, ``[B, num_steps, O]``."""
    carried, memory, lengths = network.decoder_start(states)
    steps = []
    for _ in range(num_steps):
        quantiles, carried, _ = network.decode(None, carried, memory, lengths)
        steps.append(quantiles)
    return torch.stack(steps, dim=1)


def _zeroed(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _run(layers: nn.LSTM | nn.GRU, inputs: Tensor, hidden: States) -> tuple[Tensor, States]:
    """Run recurrent layers, whose states are ``(h, c)`` or ``(h,)``."""
    # By what is carried: an exporter may have put layers of its own in the place of torch's.
    if len(hidden) == 2:
        outputs, after = layers(inputs, hidden)
        return outputs, tuple(after)
    outputs, h = layers(inputs, hidden[0])
    return outputs, (h,)
