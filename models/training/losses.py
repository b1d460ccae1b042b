"""Losses of forecasts: what is learned by each, over the values that are known.

::

    absolute    |y - f|
    squared     (y - f)^2
    pinball     max(q e, (q - 1) e) with e = y - f_q, summed over the quantiles q
    gaussian    ((y - f) / s)^2 / 2 + log s
    counts      f - y log f                                                 (Poisson)
                -log C(y + r - 1, y) - r log(r / (r + f)) - y log(f / (r + f)),  r = 1 / dispersion

Koenker and Bassett (1978, "Regression Quantiles"); Salinas et al. (2020, "DeepAR") for the last two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.models.networks.forecasts import Forecasts


def pinball(forecasts: Tensor, truth: Tensor, quantiles: Tensor) -> Tensor:
    """Of quantiles ``[..., Q]`` and ``truth [..., 1]``, summed over the quantiles, ``[...]``."""
    error = truth - forecasts
    return torch.maximum(quantiles * error, (quantiles - 1.0) * error).sum(-1)


class ForecastLoss:
    """The loss of forecasts, each target at each step ahead in a unit of its own.

    Args:
        scale: the units, ``[H, K]``, so that the far steps do not drown the near ones, nor one target another.
    """

    def __init__(self, forecasts: Forecasts, scale: Tensor) -> None:
        self._forecasts = forecasts
        self._scale = scale
        self._quantiles = torch.tensor(forecasts.quantiles, device=scale.device)

    def __call__(self, answers: Tensor, truth: Tensor) -> Tensor:
        """The mean of ``answers [..., H, K, P]`` over the values of ``truth [..., H, K]`` that are not NaN; 0 for none.

        A missing value has no part in the loss and none in the gradient. H may be less than the units have, which are
        then those of the first steps ahead.
        """
        known = ~torch.isnan(truth)
        losses = self._losses(answers, torch.nan_to_num(truth), self._scale[: truth.shape[-2]])
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def _losses(self, answers: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
        point = answers[..., 0]
        match self._forecasts.loss:
            case "absolute":
                return (point - truth).abs() / scale
            case "squared":
                return ((point - truth) / scale).square()
            case "pinball":
                return pinball(answers, truth.unsqueeze(-1), self._quantiles) / scale
            case "gaussian":
                spread = answers[..., 1]
                return 0.5 * ((truth - point) / spread).square() + torch.log(spread / scale)
            case "counts":
                return self._negative_log_likelihood(point, answers, truth)

    def _negative_log_likelihood(self, mean: Tensor, answers: Tensor, truth: Tensor) -> Tensor:
        if not self._forecasts.has_dispersion:
            return mean - truth * torch.log(mean)
        r = 1.0 / answers[..., 1].clamp(min=1e-6)
        ways = torch.lgamma(truth + r) - torch.lgamma(truth + 1.0) - torch.lgamma(r)
        return -ways - r * torch.log(r / (r + mean)) - truth * torch.log(mean / (r + mean))
