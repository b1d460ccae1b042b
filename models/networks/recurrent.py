"""Forecasters: recurrent layers of any cell, raw units in and out, holes in the input allowed.

They keep the exporter's contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``; where
something is known of a series as a whole, ``forward(x, static, *state)``.
The forecast is the last seen value of the target plus a learned change, so a network that has learned nothing is
the persistence forecast.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from ostinato.models.networks.features import Features, GivenColumns
from ostinato.models.networks.forecaster_recipe import ForecastHead
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.networks.steps_ahead import StepsAhead

# Beyond this an amount counts as this: a sensor's outlier must not drown what the layers have learned.
MAX_DEVIATIONS = 5.0
# Rows of so many sequences and steps go through their steps ahead at once, where nothing is learned.
_ROWS_AHEAD = 4096

States: TypeAlias = tuple[Tensor, ...]


def fill_last_seen(x: Tensor, last_seen: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Replace each NaN by the feature's last seen value; nothing but data movement, so exact for any cut of the steps.

    The valid values of a feature are packed into a table behind ``last_seen``; each step reads the row that counts
    the valid values up to it. Invalid ones are thrown into one more row that nothing reads.

    Args:
        x: ``[B, T, F]``, NaN where missing.
        last_seen: ``[B, F]``, what was last seen before the first step.
        seen: ``[B, T, F]`` (bool), which values count; None = all that are no NaN.

    Returns:
        filled ``[B, T, F]`` and seen ``[B, T, F]`` (bool), which values were there.
    """
    seen = ~torch.isnan(x) if seen is None else seen
    row = torch.cumsum(seen.to(torch.int64), dim=1)
    dump = torch.full_like(row, x.shape[1] + 1)
    table = torch.cat([last_seen.unsqueeze(1), torch.zeros_like(x), torch.zeros_like(x[:, :1])], dim=1)
    table = torch.scatter(table, 1, torch.where(seen, row, dump), x)
    return torch.gather(table, 1, row), seen


def fill_and_count_on(x: Tensor, last_seen: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As ``fill_last_seen``; codes of cycles move on by one for each step since they were seen: after hour 23 comes 0.

    A number that is no code of its cycle counts as missing, as an unknown word does, and between two codes the nearest
    one is meant. So all that is counted are whole numbers far below 2^24, and it is exact for any cut of the steps.

    Args:
        x, last_seen: as of ``fill_last_seen``.
        lengths: float32 ``[F]``, how many codes a cycle has; 0 = it is none, and left as it is.
    """
    is_cycle = lengths > 0
    lowest, highest = torch.where(is_cycle, 0.0, -torch.inf), torch.where(is_cycle, lengths - 1.0, torch.inf)
    filled, seen = fill_last_seen(x, last_seen, (x >= lowest) & (x <= highest))
    steps = torch.cumsum(torch.ones_like(filled), dim=1)
    last, _ = fill_last_seen(steps, torch.zeros_like(steps[:, 0]), seen)
    moved = torch.round(filled) + (steps - last)
    length = lengths.clamp(min=1.0)
    return torch.where(is_cycle, moved - length * torch.floor(moved / length), filled), seen | is_cycle


class InputEncoder(nn.Module):
    """Raw steps to numbers of one size: filled, normalised, codes one-hot, and a mask of what was seen."""

    mean: Tensor
    std: Tensor

    def __init__(self, columns: GivenColumns) -> None:
        super().__init__()
        amounts = [index for index, num_codes in enumerate(columns.num_codes) if not num_codes]
        self.amounts = amounts
        self.amount_names = [columns.names[index] for index in amounts]
        self.codes = [(index, num) for index, num in enumerate(columns.num_codes) if num]
        statistics = columns.statistics
        self.register_buffer("mean", torch.tensor([statistics.mean[index] for index in amounts]))
        self.register_buffer("std", torch.tensor([statistics.std[index] or 1.0 for index in amounts]))
        self.encoded_size = len(amounts) + sum(num for _, num in self.codes) + len(columns.names)

    def forward(self, filled: Tensor, seen: Tensor) -> Tensor:
        """``[..., F]`` and its mask to ``[..., encoded_size]``.

        A code that is none of the known ones becomes all zeros: a wrong number must not fail a batch.
        """
        parts = []
        if self.amounts:
            normal = (filled[..., self.amounts] - self.mean) / self.std
            parts.append(normal.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS))
        for index, num_codes in self.codes:
            codes = torch.arange(num_codes, device=filled.device)
            parts.append((filled[..., index : index + 1] == codes).to(filled.dtype))
        parts.append(seen.to(filled.dtype))
        return torch.cat(parts, dim=-1)


class Forecaster(nn.Module):
    """Filling, encoding, recurrent layers, and a linear head. States: ``last_seen [B, F]`` and the layers' own.

    Args:
        cycles: features whose codes count on by one at each step.
        head: what answers the steps ahead: weights of their own for each, or a recurrence (``StepsAhead``).
    """

    initial_values: Tensor
    cycle_lengths: Tensor
    bases: Tensor
    units: Tensor

    def __init__(
        self,
        features: Features,
        recipe: LayersRecipe,
        forecasts: Forecasts,
        cycles: tuple[str, ...] = (),
        head: ForecastHead = "linear",
    ) -> None:
        super().__init__()
        self.forecasts = forecasts
        self.places = tuple(target.place for target in features.targets)
        self.has_cycles = bool(cycles)
        self.register_buffer("cycle_lengths", features.cycle_lengths(cycles), persistent=False)
        self.register_buffer("initial_values", torch.tensor(features.initial_values()))
        self.register_buffer("bases", torch.tensor([target.base for target in features.targets]))
        self.register_buffer("units", torch.tensor([[target.unit] for target in features.targets]))
        self.encoder = InputEncoder(features)
        input_size = self.encoder.encoded_size + self._static_size(features)
        self.layers = build_layers(recipe, input_size, self.encoder.amount_names)
        self.state_names = ("last_seen", *self.layers.state_names)
        num_targets = len(features.targets)
        size, num_parts = self.layers.output_size, num_targets * len(forecasts.parts)
        self.steps_ahead: StepsAhead | None = None
        if head == "recurrent":
            self.steps_ahead = StepsAhead(size, forecasts.num_steps, recipe.dropout, self.cycle_lengths)
        self.head = nn.Linear(size, num_parts if head == "recurrent" else forecasts.num_steps * num_parts)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _static_size(self, _features: Features) -> int:
        """How many numbers tell of a series as a whole."""
        return 0

    def initial_state(self, batch_size: int) -> States:
        """last_seen ``[B, F]`` and the layers' states of sequences that have not begun."""
        return self.initial_values.expand(batch_size, -1).clone(), *self.layers.initial_state(batch_size)

    def forward(self, x: Tensor, *states: Tensor) -> States:
        """``x [B, T, F]`` in raw units, NaN where missing, to the forecasts at each step, ``[B, T, O]``."""
        return self._answered(*self.heard(x, *states))

    def heard(self, x: Tensor, *states: Tensor) -> States:
        """What the layers carry, ``[B, T, S]``; the steps without holes, ``[B, T, F]``; the states after them."""
        filled, encoded = self._encoded(x, states[0])
        return self._heard(filled, encoded, states[1:])

    def _encoded(self, x: Tensor, last_seen: Tensor) -> tuple[Tensor, Tensor]:
        if self.has_cycles:
            filled, seen = fill_and_count_on(x, last_seen, self.cycle_lengths)
        else:
            filled, seen = fill_last_seen(x, last_seen)
        return filled, self.encoder(filled, seen)

    def _heard(self, filled: Tensor, encoded: Tensor, states: States) -> States:
        hidden, *after = self.layers(encoded, *states)
        return hidden, filled, filled[:, -1], *after

    def base(self, filled: Tensor) -> Tensor:
        """What the answers start from at each step, ``[B, T, 1, K, 1]``: of each target the last value, or its mean."""
        last = [
            self.bases[index].expand_as(filled[..., :1]) if place is None else filled[..., place : place + 1]
            for index, place in enumerate(self.places)
        ]
        return torch.cat(last, dim=-1).unsqueeze(-2).unsqueeze(-1)

    def _answered(self, hidden: Tensor, filled: Tensor, *after: Tensor) -> States:
        learned = self.forecasts.apart(self._learned(hidden, filled), len(self.places))
        return self.forecasts.values(self.base(filled), learned, self.units).flatten(-3), *after

    def _learned(self, hidden: Tensor, filled: Tensor) -> Tensor:
        """What the head answers at each step, ``[B, T, O]``."""
        if self.steps_ahead is None:
            learned: Tensor = self.head(hidden)
            return learned
        if torch.compiler.is_exporting() or torch.is_grad_enabled():
            return self._learned_ahead(self.steps_ahead, hidden, filled)
        # Each row has all steps ahead in memory: of a whole series, or many, that is more than there may be.
        num_steps = max(1, _ROWS_AHEAD // len(hidden))
        parts = zip(torch.split(hidden, num_steps, dim=1), torch.split(filled, num_steps, dim=1), strict=True)
        return torch.cat([self._learned_ahead(self.steps_ahead, *part) for part in parts], dim=1)

    def _learned_ahead(self, steps_ahead: StepsAhead, hidden: Tensor, filled: Tensor) -> Tensor:
        learned: Tensor = self.head(steps_ahead(hidden, filled)).flatten(2)
        return learned


class StaticForecaster(Forecaster):
    """With something that is known of a series as a whole, next to each of its steps."""

    initial_static: Tensor

    def __init__(
        self,
        features: Features,
        recipe: LayersRecipe,
        forecasts: Forecasts,
        cycles: tuple[str, ...] = (),
        head: ForecastHead = "linear",
    ) -> None:
        super().__init__(features, recipe, forecasts, cycles, head)
        self.register_buffer("initial_static", torch.tensor(features.static.initial_values()))
        self.static_encoder = InputEncoder(features.static)

    def _static_size(self, features: Features) -> int:
        return InputEncoder(features.static).encoded_size

    def forward(self, x: Tensor, static: Tensor, *states: Tensor) -> States:  # type: ignore[override]
        """As ``Forecaster``, with ``static [B, S]``, NaN where missing."""
        return self._answered(*self.heard(x, static, *states))

    def heard(self, x: Tensor, static: Tensor, *states: Tensor) -> States:  # type: ignore[override]
        """As ``Forecaster``."""
        filled, encoded = self._encoded(x, states[0])
        known = ~torch.isnan(static)
        of_series = self.static_encoder(torch.where(known, static, self.initial_static), known)
        of_steps = of_series.unsqueeze(1).expand(-1, x.shape[1], -1)
        return self._heard(filled, torch.cat([encoded, of_steps], dim=-1), states[1:])


def build_forecaster(
    features: Features,
    recipe: LayersRecipe,
    forecasts: Forecasts | None = None,
    cycles: tuple[str, ...] = (),
    head: ForecastHead = "linear",
) -> Forecaster:
    """The network that a recipe asks for, untrained: it forecasts persistence until it has learned."""
    kind = StaticForecaster if features.static.names else Forecaster
    return kind(features, recipe, forecasts or Forecasts(), cycles, head)
