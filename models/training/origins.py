"""Origins: the steps after which forecasts are made, and what a network carries there, as a session would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ostinato.models.data.series import Series
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.recurrent import Forecaster, States
from ostinato.models.training.forecasting import WARM_UP_STEPS, run


class Recurrent(Protocol):
    """A network that keeps the exporter's contract."""

    def __call__(self, x: Tensor, /, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, F]`` and the states to ``y [B, T, O]`` and the states."""

    def initial_state(self, batch_size: int) -> States:
        """The states of sequences that have not begun."""


class OfSeries:
    """A forecaster that has been told which series it is about."""

    def __init__(self, network: Forecaster, series: Series) -> None:
        self._network = network
        self._static = torch.from_numpy(series.static)

    def __call__(self, x: Tensor, /, *states: Tensor) -> tuple[Tensor, ...]:
        """As ``Recurrent`` says."""
        return run(self._network, x, self._static.expand(len(x), -1), states)

    def initial_state(self, batch_size: int) -> States:
        """The states of sequences that have not begun."""
        return self._network.initial_state(batch_size)


def states_at(network: Recurrent, values: Tensor, origins: Sequence[int]) -> Iterator[tuple[Tensor, States]]:
    """At each origin the answer ``[1, O]`` to its step and the states after it.

    Args:
        values: a series ``[N, F]``.
        origins: rising; the first has a warm-up on the steps before it.
    """
    states = network.initial_state(1)
    start = max(0, origins[0] - WARM_UP_STEPS)
    for origin in origins:
        y, *after = network(values[start : origin + 1].unsqueeze(0), *states)
        states, start = tuple(after), origin + 1
        yield y[:, -1], states


def join_rows(network: Recurrent, rows: Sequence[States]) -> States:
    """The states of several batches as those of one, in their order."""
    axes = [
        next(axis for axis, (one, two) in enumerate(zip(alone.shape, pair.shape, strict=True)) if one != two)
        for alone, pair in zip(network.initial_state(1), network.initial_state(2), strict=True)
    ]
    return tuple(torch.cat(parts, dim=axis) for axis, parts in zip(axes, zip(*rows, strict=True), strict=True))


@torch.no_grad()
def feed_back(
    network: Forecaster, features: Sequence[str], series: Series, origins: range, num_steps: int, known: Sequence[str]
) -> Tensor:
    """Forecasts of a network of one step that reads its own as the targets' next values, ``[n, num_steps, K, P]``.

    Args:
        known: features whose future is known; of all others it is missing.
    """
    network.eval()
    told = OfSeries(network, series)
    values = torch.from_numpy(series.values)
    along = list(states_at(told, values, origins))
    y = torch.cat([answer for answer, _ in along])
    states = join_rows(told, [states for _, states in along])
    forecasts, places = first_of(network).forecasts, first_of(network).places
    made = [forecasts.apart(y, len(places))[:, 0]]
    at = torch.tensor(list(origins))
    for ahead in range(1, num_steps):
        step = torch.full((len(y), len(features)), float("nan"))
        for name in known:
            step[:, features.index(name)] = values[at + ahead, features.index(name)]
        for place, answer in zip(places, made[-1].unbind(1), strict=True):
            if place is not None:
                step[:, place] = answer[:, forecasts.point]
        answer, *after = told(step.unsqueeze(1), *states)
        states = tuple(after)
        made.append(forecasts.apart(answer[:, -1], len(places))[:, 0])
    return torch.stack(made, dim=1)
