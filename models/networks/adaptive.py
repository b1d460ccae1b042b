"""Adaptive widths: quantiles whose distances from the median follow the misses of the session that reads them.

The outer two of the quantiles ``q_1 .. q_P`` should hold the share ``q_P - q_1`` of what comes. Of a value ``y`` that
comes, ``m_h``, ``l_h`` and ``u_h`` are the median and the outer quantiles that the network forecast ``h`` steps before,
for each of the ``H`` steps ahead. A session keeps one factor ``f`` of a target, 1 at first::

    missed_h = [y < m_h - f (m_h - l_h)  or  y > m_h + f (u_h - m_h)]
    f <- min(max(f + rate (sum over h of (missed_h - (1 - q_P + q_1))) / H, 1/2), 2)
    q_j <- m + f (q_j - m)                                            what is answered of each forecast from now on

This is the update of adaptive conformal inference (Gibbs and Candès, 2021, "Adaptive Conformal Inference Under
Distribution Shift"), of the width as in "Conformal PID Control for Time Series Prediction" (Angelopoulos, Candès and
Tibshirani, 2023): in the long run the share of misses is what it should be, as long as ``f`` is within its bounds. A
value that is missing, and a step before any forecast of it, moves nothing. Medians stay what they were.

A value is held against forecasts as wide as they would be answered now. Of several steps ahead they were answered with
the factor of then, which differs little where the rate is low.

Misses are counted, and all else is done number by number, so it is the same alone and in any batch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ostinato.models.networks.ensemble import Ensemble, first_of
from ostinato.models.networks.recurrent import Forecaster, States

_LEAST_FACTOR, _MOST_FACTOR = 0.5, 2.0
# The widths of a forecast that was never made.
_NONE = -1.0


class AdaptiveForecaster(Ensemble):
    """A direct forecaster of quantiles, or several as one network, with widths that adapt to each session.

    States: the network's; ``pending [B, H, H, K, 3]``, of the last H steps, the newest last, each forecast's median and
    the distances of the outer quantiles from it; ``factor [B, K]``.

    Args:
        rate: by how much the factor grows where all forecasts of a value missed it, about.
    """

    def __init__(self, network: nn.Module, rate: float) -> None:
        super().__init__([network])
        told = cast(Forecaster, first_of(network))
        self.rate, self.forecasts, self.places = rate, told.forecasts, told.places
        self.state_names = (*network.state_names, "pending", "factor")  # type: ignore[misc]

    def initial_state(self, batch_size: int) -> States:
        """The network's, no forecast pending, and factors of 1."""
        states: States = self.members[0].initial_state(batch_size)  # type: ignore[operator]
        like, ahead, targets = states[0], self.forecasts.num_steps, len(self.places)
        median = like.new_zeros(batch_size, ahead, ahead, targets, 1)
        widths = like.new_full((batch_size, ahead, ahead, targets, 2), _NONE)
        return *states, torch.cat([median, widths], dim=-1), like.new_ones(batch_size, targets)

    def forward(self, x: Tensor, *given: Tensor) -> States:
        """As the network's; ``given``: what is known of a series as a whole, if anything is, and the states."""
        *own, pending, factor = given
        answers, *after = self.members[0](x, *own)
        values = self.forecasts.apart(answers, len(self.places))
        point = self.forecasts.point
        median, lowest, highest = (values[..., part : part + 1] for part in (point, 0, len(self.forecasts.parts) - 1))
        made = torch.cat([pending, torch.cat([median, median - lowest, highest - median], dim=-1)], dim=1)
        factors = []
        for value, due in zip(x[:, :, list(self.places)].unbind(1), self._due(made, x.shape[1]).unbind(1), strict=True):
            factor = self._moved(factor, value.unsqueeze(1), due)
            factors.append(factor)
        widened = median + torch.stack(factors, dim=1).unsqueeze(2).unsqueeze(-1) * (values - median)
        least = self.forecasts.least
        bounded = widened if least is None else widened.clamp(min=least)
        return bounded.flatten(-3), *after, made[:, x.shape[1] :], factor

    def _due(self, made: Tensor, num_steps: int) -> Tensor:
        """What was forecast of each step, ``[B, T, H, K, 3]``, the latest first."""
        last = self.forecasts.num_steps
        ahead = torch.arange(1, last + 1, device=made.device)
        steps = torch.arange(num_steps, device=made.device).unsqueeze(-1)
        # The forecast h steps ahead that was made h steps before, in a row of all steps and steps ahead.
        places = ((last - ahead + steps) * last + ahead - 1).flatten()
        due = made.flatten(1, 2).index_select(1, places)
        return due.reshape(-1, num_steps, last, *made.shape[3:])

    def _moved(self, factor: Tensor, value: Tensor, due: Tensor) -> Tensor:
        """The factor ``[B, K]`` after a value ``[B, 1, K]`` of which ``due [B, H, K, 3]`` was forecast."""
        median, below, above = due.unbind(-1)
        off, wide = value - median, factor.unsqueeze(1)
        is_known = ~torch.isnan(value) & (below >= 0.0)
        is_missed = is_known & ((off > wide * above) | (-off > wide * below))
        quantiles = self.forecasts.quantiles
        allowed = 1.0 - (quantiles[-1] - quantiles[0])
        excess = is_missed.sum(dim=1).to(factor.dtype) - allowed * is_known.sum(dim=1).to(factor.dtype)
        moved = factor + (self.rate / self.forecasts.num_steps) * excess
        return moved.clamp(_LEAST_FACTOR, _MOST_FACTOR)
