"""Forecasters: stacked LSTM or GRU, raw units in and out, holes in the input allowed.

They keep the exporter's contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``.
The forecast is the last seen value of the target plus a learned change, so a network that has learned nothing is
the persistence forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ostinato.models.data.series import Dataset, TrainingStatistics
from ostinato.models.data.series_recipe import NetworkRecipe
from ostinato.models.networks.encoders import recurrent_layers

# Beyond this an amount counts as this: a sensor's outlier must not drown what the layers have learned.
MAX_DEVIATIONS = 5.0
# Changes of the target that are spread by less than this part of the largest are one, and its rounding errors.
_SAME_CHANGE = 1e-4

States: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Features:
    """What the network must know of its input.

    ``num_codes``: how many codes a categorical feature has, 0 for an amount.
    ``change_std``: the typical size of the target's change from one step to the next; the unit of the linear head.
    """

    names: tuple[str, ...]
    num_codes: tuple[int, ...]
    target_index: int
    statistics: TrainingStatistics
    change_std: float

    @classmethod
    def of(cls, dataset: Dataset) -> Features:
        """As the training part of a dataset has them."""
        training = torch.from_numpy(dataset.values[: dataset.validation_start, dataset.target_index]).double()
        changes = training.diff()
        changes = changes[~changes.isnan()]
        largest = float(changes.abs().max()) if len(changes) else 0.0
        spread = float(changes.std(correction=0)) if len(changes) else 0.0
        return cls(
            names=dataset.features,
            num_codes=tuple(len(dataset.categories.get(name, ())) for name in dataset.features),
            target_index=dataset.target_index,
            statistics=dataset.statistics,
            # A target that always changes by the same has a spread of rounding errors, and no unit in it.
            change_std=spread if spread > _SAME_CHANGE * largest else largest or 1.0,
        )

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Features:
        """As ``run.json`` has them, of which ``dataclasses.asdict`` made the content."""
        return cls(
            names=tuple(content["names"]),
            num_codes=tuple(content["num_codes"]),
            target_index=content["target_index"],
            statistics=TrainingStatistics(**{name: tuple(numbers) for name, numbers in content["statistics"].items()}),
            change_std=content["change_std"],
        )

    def initial_values(self) -> list[float]:
        """What stands for a feature that was never seen, ``[F]``: its mean; for a code, the nearest code to it."""
        means = zip(self.statistics.mean, self.num_codes, strict=True)
        return [float(round(mean)) if num_codes else mean for mean, num_codes in means]


def fill_last_seen(x: Tensor, last_seen: Tensor) -> tuple[Tensor, Tensor]:
    """Replace each NaN by the feature's last seen value; nothing but data movement, so exact for any cut of the steps.

    The valid values of a feature are packed into a table behind ``last_seen``; each step reads the row that counts
    the valid values up to it. Invalid ones are thrown into one more row that nothing reads.

    Args:
        x: ``[B, T, F]``, NaN where missing.
        last_seen: ``[B, F]``, what was last seen before the first step.

    Returns:
        filled ``[B, T, F]`` and seen ``[B, T, F]`` (bool), which values were there.
    """
    seen = ~torch.isnan(x)
    row = torch.cumsum(seen.to(torch.int64), dim=1)
    dump = torch.full_like(row, x.shape[1] + 1)
    table = torch.cat([last_seen.unsqueeze(1), torch.zeros_like(x), torch.zeros_like(x[:, :1])], dim=1)
    table = torch.scatter(table, 1, torch.where(seen, row, dump), x)
    return torch.gather(table, 1, row), seen


class InputEncoder(nn.Module):
    """Raw steps to numbers of one size: filled, normalised, codes one-hot, and a mask of what was seen."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: Features) -> None:
        super().__init__()
        amounts = [index for index, num_codes in enumerate(features.num_codes) if not num_codes]
        self.amounts = amounts
        self.codes = [(index, num) for index, num in enumerate(features.num_codes) if num]
        statistics = features.statistics
        self.register_buffer("mean", torch.tensor([statistics.mean[index] for index in amounts]))
        self.register_buffer("std", torch.tensor([statistics.std[index] or 1.0 for index in amounts]))
        self.encoded_size = len(amounts) + sum(num for _, num in self.codes) + len(features.names)

    def forward(self, filled: Tensor, seen: Tensor) -> Tensor:
        """``[B, T, F]`` and its mask to ``[B, T, encoded_size]``.

        A code that is none of the known ones becomes all zeros: a wrong number must not fail a batch.
        """
        parts = [((filled[..., self.amounts] - self.mean) / self.std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)]
        for index, num_codes in self.codes:
            parts.append((filled[..., index : index + 1] == torch.arange(num_codes)).to(filled.dtype))
        parts.append(seen.to(filled.dtype))
        return torch.cat(parts, dim=-1)


class Forecaster(nn.Module):
    """What both cells share: the filling, the encoding and the linear head; subclasses bring the recurrent layers."""

    initial_values: Tensor
    layers: nn.LSTM | nn.GRU

    def __init__(self, features: Features, recipe: NetworkRecipe) -> None:
        super().__init__()
        self.target_index = features.target_index
        self.change_std = features.change_std
        self.register_buffer("initial_values", torch.tensor(features.initial_values()))
        self.encoder = InputEncoder(features)
        self.layers = recurrent_layers(
            recipe.cell, self.encoder.encoded_size, recipe.hidden_size, recipe.num_layers, dropout=recipe.dropout
        )
        self.head = nn.Linear(recipe.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _initial_hidden(self, batch_size: int) -> Tensor:
        return self.head.weight.new_zeros(self.layers.num_layers, batch_size, self.layers.hidden_size)

    def _initial_last_seen(self, batch_size: int) -> Tensor:
        return self.initial_values.expand(batch_size, -1).clone()

    def _forecast(self, filled: Tensor, hidden: Tensor) -> Tensor:
        last_target = filled[..., self.target_index : self.target_index + 1]
        change: Tensor = self.head(hidden)
        return last_target + self.change_std * change


class LSTMForecaster(Forecaster):
    """Stacked LSTM (Hochreiter and Schmidhuber, 1997; with the forget gate of Gers et al., 2000)."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """last_seen ``[B, F]``, h and c ``[L, B, H]`` of a sequence that has not begun."""
        hidden = self._initial_hidden(batch_size)
        return self._initial_last_seen(batch_size), hidden, hidden.clone()

    def forward(self, x: Tensor, last_seen: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``x [B, T, F]`` in raw units, NaN where missing, to the target one step ahead of each, ``[B, T, 1]``."""
        filled, seen = fill_last_seen(x, last_seen)
        hidden, (h_next, c_next) = self.layers(self.encoder(filled, seen), (h, c))
        return self._forecast(filled, hidden), filled[:, -1], h_next, c_next


class GRUForecaster(Forecaster):
    """Stacked GRU (Cho et al., 2014)."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """last_seen ``[B, F]`` and h ``[L, B, H]`` of a sequence that has not begun."""
        return self._initial_last_seen(batch_size), self._initial_hidden(batch_size)

    def forward(self, x: Tensor, last_seen: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``x [B, T, F]`` in raw units, NaN where missing, to the target one step ahead of each, ``[B, T, 1]``."""
        filled, seen = fill_last_seen(x, last_seen)
        hidden, h_next = self.layers(self.encoder(filled, seen), h)
        return self._forecast(filled, hidden), filled[:, -1], h_next


AnyForecaster: TypeAlias = LSTMForecaster | GRUForecaster


def build_forecaster(features: Features, recipe: NetworkRecipe) -> AnyForecaster:
    """The network that a recipe asks for, untrained: it forecasts persistence until it has learned."""
    return LSTMForecaster(features, recipe) if recipe.cell == "lstm" else GRUForecaster(features, recipe)
