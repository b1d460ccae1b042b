"""Features: what a forecaster must know of what it is given, and of what it forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ostinato.models.data.series import NOTHING, Dataset, Series, TrainingStatistics

# Changes of a target that are spread by less than this part of the largest are one, and its rounding errors.
_SAME_CHANGE = 1e-4


@dataclass(frozen=True)
class GivenColumns:
    """Some columns of a table. ``num_codes``: how many codes a categorical one has, 0 for an amount."""

    names: tuple[str, ...]
    num_codes: tuple[int, ...]
    statistics: TrainingStatistics

    def initial_values(self) -> list[float]:
        """What stands for a column that was never seen, ``[F]``: its mean; for a code, the nearest code to it."""
        means = zip(self.statistics.mean, self.num_codes, strict=True)
        return [float(round(mean)) if num_codes else mean for mean, num_codes in means]


@dataclass(frozen=True)
class Target:
    """What is forecast.

    ``place``: among the features; None = it is none of them.
    ``base``: what a network that has learned nothing forecasts where the target was not seen: its mean.
    ``unit``: of what is learned: the typical size of the target's change from one step to the next; of a target that is
    never seen, that of its distance to its mean.
    """

    name: str
    place: int | None
    base: float
    unit: float


NO_COLUMNS = GivenColumns((), (), NOTHING)


@dataclass(frozen=True)
class Features(GivenColumns):
    """The columns that come with each step, what is forecast of them, and those that come once, with a series."""

    targets: tuple[Target, ...] = ()
    static: GivenColumns = NO_COLUMNS

    def cycle_lengths(self, cycles: Sequence[str]) -> torch.Tensor:
        """Of each feature how many codes its cycle has, float32 ``[F]``; 0 = it is none of these cycles."""
        lengths = [num if name in cycles else 0 for name, num in zip(self.names, self.num_codes, strict=True)]
        return torch.tensor(lengths, dtype=torch.float32)

    @property
    def target_index(self) -> int:
        """Where the only target is among the features."""
        (target,) = self.targets
        assert target.place is not None
        return target.place

    @classmethod
    def of(cls, dataset: Dataset) -> Features:
        """As the training part of a dataset has them."""
        targets = zip(dataset.targets, dataset.target_places, strict=True)
        return cls(
            dataset.features,
            _num_codes(dataset, dataset.features),
            dataset.statistics,
            tuple(_target(dataset, index, name, place) for index, (name, place) in enumerate(targets)),
            GivenColumns(dataset.static, _num_codes(dataset, dataset.static), dataset.static_statistics),
        )

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Features:
        """As ``run.json`` has them, of which ``dataclasses.asdict`` made the content."""
        targets = tuple(Target(**target) for target in content["targets"])
        return cls(*_columns_of(content), targets, GivenColumns(*_columns_of(content["static"])))


def _columns_of(content: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...], TrainingStatistics]:
    statistics = TrainingStatistics(**{name: tuple(numbers) for name, numbers in content["statistics"].items()})
    return tuple(content["names"]), tuple(content["num_codes"]), statistics


def _num_codes(dataset: Dataset, names: Sequence[str]) -> tuple[int, ...]:
    return tuple(len(dataset.categories.get(name, ())) for name in names)


def _target(dataset: Dataset, index: int, name: str, place: int | None) -> Target:
    statistics = dataset.target_statistics
    if place is None:
        return Target(name, None, statistics.mean[index], statistics.std[index] or 1.0)
    changes = torch.cat([_changes(series, index) for series in dataset.series])
    largest = float(changes.abs().max()) if len(changes) else 0.0
    spread = float(changes.std(correction=0)) if len(changes) else 0.0
    # A target that always changes by the same has a spread of rounding errors, and no unit in it.
    unit = spread if spread > _SAME_CHANGE * largest else largest or 1.0
    return Target(name, place, dataset.statistics.mean[place], unit)


def _changes(series: Series, index: int) -> torch.Tensor:
    training = np.ascontiguousarray(series.truth[: series.validation_start, index])
    changes = torch.from_numpy(training).double().diff()
    return changes[~changes.isnan()]
