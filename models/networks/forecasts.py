"""Forecasts: what a forecaster answers at each step, and how the numbers of it come about.

Of each target and each step ahead it answers some numbers, its parts: a value; quantiles; a mean and a spread. With
``u`` what was learned, ``s`` the target's unit and ``b`` its last seen value (or mean, where it is never seen)::

    absolute, squared    b + s u
    pinball              the median b + s u_m, each other quantile a positive distance beyond the one before it
    gaussian             mean b + s u_1, spread s (squareplus(u_2) + 1/1000)
    counts               mean s squareplus(b / s + u_1), dispersion squareplus(u_2)

so what has learned nothing is the persistence forecast, or nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.models.networks.forecaster_recipe import Loss, Recipe

_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Forecasts:
    """What is answered, at each step the same.

    ``num_steps``: how many steps ahead. ``least``: what no forecast falls below.
    """

    loss: Loss = "absolute"
    quantiles: tuple[float, ...] = (0.5,)
    has_dispersion: bool = False
    num_steps: int = 1
    least: float | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> Forecasts:
        """As a recipe says; a forecast that is fed back, or decoded, is of one step."""
        training = recipe.training
        return cls(
            training.loss,
            recipe.network.quantiles if training.loss == "pinball" else (0.5,),
            training.loss == "counts" and training.counts == "negative_binomial",
            training.horizon_steps if recipe.network.forecast == "direct" else 1,
            recipe.data.least,
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """What is put behind the target's name in that of each number of one forecast."""
        if self.loss == "pinball":
            return tuple(f"_p{100 * quantile:g}" for quantile in self.quantiles)
        if self.loss == "gaussian":
            return ("_mean", "_std")
        if self.loss == "counts":
            return ("_mean", "_dispersion") if self.has_dispersion else ("_mean",)
        return ("",)

    @property
    def point(self) -> int:
        """Which of the parts is the forecast where one number is wanted, and is fed back."""
        return len(self.quantiles) // 2 if self.loss == "pinball" else 0

    def names(self, targets: Sequence[str]) -> tuple[str, ...]:
        """What each number of an answer is called: of several steps ahead, with which one behind."""
        ahead = [""] if self.num_steps == 1 else [f"_ahead_{step}" for step in range(1, self.num_steps + 1)]
        return tuple(f"{name}{part}{step}" for step in ahead for name in targets for part in self.parts)

    def apart(self, answers: Tensor, num_targets: int) -> Tensor:
        """Answers ``[..., O]`` as ``[..., H, K, P]``: by steps ahead, target, part."""
        return answers.reshape(*answers.shape[:-1], self.num_steps, num_targets, len(self.parts))

    def values(self, base: Tensor, learned: Tensor, unit: Tensor) -> Tensor:
        """The numbers answered, ``[..., H, K, P]``.

        Args:
            base: ``[..., 1, K, 1]``.
            learned: ``[..., H, K, P]``.
            unit: ``[K, 1]``.
        """
        if self.loss == "gaussian":
            mean = self._bounded(base + unit * learned[..., :1])
            return torch.cat([mean, unit * (squareplus(learned[..., 1:]) + _LEAST_SPREAD)], dim=-1)
        if self.loss == "counts":
            mean = unit * squareplus(base / unit + learned[..., :1])
            return torch.cat([mean, squareplus(learned[..., 1:])], dim=-1) if self.has_dispersion else mean
        if self.loss == "pinball":
            return self._bounded(quantiles_around(base, learned, unit))
        return self._bounded(base + unit * learned)

    def _bounded(self, values: Tensor) -> Tensor:
        return values if self.least is None else values.clamp(min=self.least)


def squareplus(x: Tensor) -> Tensor:
    """``(x + sqrt(x^2 + 1)) / 2``, positive everywhere (Barron, 2021, "Squareplus").

    Made of operations that are rounded correctly, so it is the same number alone and in any batch; softplus is not.
    """
    return 0.5 * (x + torch.sqrt(x * x + 1.0))


def quantiles_around(last: Tensor, learned: Tensor, unit: float | Tensor) -> Tensor:
    """What was learned in multiples of ``unit``, ``[..., O]``, as quantiles, ``[..., O]``, the lowest first.

    The middle one is ``last [..., 1]`` plus a change; each of the others lies a positive distance beyond the one next
    to it on the middle's side. With ``u`` what was learned, ``s`` the unit and ``m`` the middle::

        q_m = last + s u_m
        q_j = q_{j-1} + s squareplus(u_j)       j > m
        q_j = q_{j+1} - s squareplus(u_j)       j < m
    """
    centre = learned.shape[-1] // 2
    distances = unit * squareplus(learned)
    quantiles = [last + unit * learned[..., centre : centre + 1]]
    for index in range(centre, 0, -1):
        quantiles.insert(0, quantiles[0] - distances[..., index - 1 : index])
    for index in range(centre + 1, learned.shape[-1]):
        quantiles.append(quantiles[-1] + distances[..., index : index + 1])
    return torch.cat(quantiles, dim=-1)
